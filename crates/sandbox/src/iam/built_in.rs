//! The accounts of a sandbox that is given none: a source, a destination, a stranger.

use super::accounts::{Account, AccountsFile, Role, User};
use super::condition::Condition;
use super::document::{Policy, PrincipalBlock, Statement};
use super::{account_arn, role_arn, user_arn};

/// The account that owns the source bucket; its user `source-admin` may do everything in S3.
pub const SOURCE_ACCOUNT: &str = "111111111111";
/// The account that owns the destination bucket and the role that copies; its user `operator` may assume that role and no more, `destination-admin` may do everything in S3.
pub const DESTINATION_ACCOUNT: &str = "222222222222";
/// An account with no part in the copy; its user `stranger` may do everything in S3, so that only the other accounts' policies keep it out.
pub const STRANGER_ACCOUNT: &str = "333333333333";

/// The name of the role that copies, in [`DESTINATION_ACCOUNT`].
pub const COPY_ROLE: &str = "s3haul-copy";
/// What [`COPY_ROLE`]'s trust policy wants as `ExternalId`.
pub const EXTERNAL_ID: &str = "s3haul-demo";

// Made-up keys: AWS gives out none that end in EXAMPLE.

/// The access key of `source-admin`.
pub const SOURCE_ADMIN_ACCESS_KEY_ID: &str = "AKIASOURCEAD1EXAMPLE";
/// The secret of `source-admin`.
pub const SOURCE_ADMIN_SECRET_ACCESS_KEY: &str = "source/admin/MADE/UP/FOR/TESTS/EXAMPLEKE";
/// The access key of `operator`.
pub const OPERATOR_ACCESS_KEY_ID: &str = "AKIAOPERATOR2EXAMPLE";
/// The secret of `operator`.
pub const OPERATOR_SECRET_ACCESS_KEY: &str = "operator/MADE/UP/FOR/TESTS/ONLYEXAMPLEKE";
/// The access key of `destination-admin`.
pub const DESTINATION_ADMIN_ACCESS_KEY_ID: &str = "AKIADESTINAD2EXAMPLE";
/// The secret of `destination-admin`.
pub const DESTINATION_ADMIN_SECRET_ACCESS_KEY: &str = "destination/admin/MADE/UP/4/TESTS/EXAMPL";
/// The access key of `stranger`.
pub const STRANGER_ACCESS_KEY_ID: &str = "AKIASTRANGER3EXAMPLE";
/// The secret of `stranger`.
pub const STRANGER_SECRET_ACCESS_KEY: &str = "stranger/MADE/UP/FOR/TESTS/ONLYEXAMPLEKE";

impl AccountsFile {
    /// Gives the accounts of a sandbox that is given none.
    ///
    /// The buckets are whoever's creates them, and the source's policy must let the role in as on AWS: the role's own policy is not enough.
    pub fn built_in() -> Self {
        let everything_in_s3 = || vec![Policy::new(vec![Statement::allow(&["s3:*"], &["*"])])];
        Self {
            accounts: vec![
                Account {
                    id: SOURCE_ACCOUNT.to_owned(),
                    users: vec![user(
                        "source-admin",
                        SOURCE_ADMIN_ACCESS_KEY_ID,
                        SOURCE_ADMIN_SECRET_ACCESS_KEY,
                        everything_in_s3(),
                    )],
                    roles: Vec::new(),
                    keys: Vec::new(),
                },
                Account {
                    id: DESTINATION_ACCOUNT.to_owned(),
                    users: vec![
                        user(
                            "operator",
                            OPERATOR_ACCESS_KEY_ID,
                            OPERATOR_SECRET_ACCESS_KEY,
                            vec![operator_policy()],
                        ),
                        user(
                            "destination-admin",
                            DESTINATION_ADMIN_ACCESS_KEY_ID,
                            DESTINATION_ADMIN_SECRET_ACCESS_KEY,
                            everything_in_s3(),
                        ),
                    ],
                    roles: vec![Role {
                        name: COPY_ROLE.to_owned(),
                        trust_policy: trust_policy(),
                        policies: vec![copy_policy()],
                        max_session_seconds: 3600,
                    }],
                    keys: Vec::new(),
                },
                Account {
                    id: STRANGER_ACCOUNT.to_owned(),
                    users: vec![user(
                        "stranger",
                        STRANGER_ACCESS_KEY_ID,
                        STRANGER_SECRET_ACCESS_KEY,
                        everything_in_s3(),
                    )],
                    roles: Vec::new(),
                    keys: Vec::new(),
                },
            ],
        }
    }
}

fn user(name: &str, access_key_id: &str, secret_access_key: &str, policies: Vec<Policy>) -> User {
    User {
        name: name.to_owned(),
        access_key_id: access_key_id.to_owned(),
        secret_access_key: secret_access_key.to_owned(),
        policies,
    }
}

fn operator_policy() -> Policy {
    Policy::new(vec![
        Statement::allow(
            &["sts:AssumeRole"],
            &[&role_arn(DESTINATION_ACCOUNT, COPY_ROLE)],
        ),
        Statement::allow(&["sts:GetSessionToken", "sts:GetCallerIdentity"], &["*"]),
    ])
}

fn trust_policy() -> Policy {
    let trusted = PrincipalBlock::aws(&[
        &user_arn(DESTINATION_ACCOUNT, "operator"),
        &account_arn(DESTINATION_ACCOUNT),
    ]);
    Policy::new(vec![
        Statement::trust(trusted).when(Condition::string_equals("sts:ExternalId", EXTERNAL_ID)),
    ])
}

/// Allows what a copy job sends, on any bucket: tests make their own, and the source's policy decides on the source.
fn copy_policy() -> Policy {
    let objects = &["arn:aws:s3:::*/*"];
    let buckets = &["arn:aws:s3:::*"];
    Policy::new(vec![
        Statement::allow(
            &[
                "s3:GetObject",
                "s3:GetObjectVersion",
                "s3:GetObjectAcl",
                "s3:GetObjectVersionAcl",
                "s3:GetObjectTagging",
                "s3:GetObjectVersionTagging",
                "s3:GetObjectAttributes",
                "s3:GetObjectVersionAttributes",
                "s3:GetObjectAnnotation",
                "s3:GetObjectVersionAnnotation",
                "s3:ListObjectAnnotations",
                "s3:GetObjectRetention",
                "s3:GetObjectLegalHold",
            ],
            objects,
        )
        .named("ReadObjects"),
        Statement::allow(
            &[
                "s3:PutObject",
                "s3:PutObjectAcl",
                "s3:PutObjectTagging",
                "s3:PutObjectVersionTagging",
                "s3:PutObjectAnnotation",
                "s3:PutObjectVersionAnnotation",
                "s3:PutObjectRetention",
                "s3:PutObjectLegalHold",
                "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts",
            ],
            objects,
        )
        .named("WriteObjects"),
        Statement::allow(
            &[
                "s3:ListBucket",
                "s3:ListBucketVersions",
                "s3:ListBucketMultipartUploads",
                "s3:GetBucketLocation",
                "s3:GetBucketAcl",
                "s3:GetBucketVersioning",
                "s3:GetBucketRequestPayment",
                "s3:GetBucketOwnershipControls",
                "s3:GetEncryptionConfiguration",
                "s3:GetBucketObjectLockConfiguration",
                "s3:GetLifecycleConfiguration",
            ],
            buckets,
        )
        .named("ReadBuckets"),
        // Only with `--archived restore`.
        Statement::allow(&["s3:RestoreObject"], objects).named("RestoreSource"),
        // Only with `--delete-markers replay`, which adds markers; no version is ever deleted.
        Statement::allow(&["s3:DeleteObject"], objects).named("AddDeleteMarkers"),
    ])
}

#[cfg(test)]
mod tests {
    use super::{AccountsFile, COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID, STRANGER_ACCOUNT};
    use crate::iam::actions::table;
    use crate::iam::{Context, Principal, Request, Resource, evaluate, may_assume, role_arn};

    #[test]
    fn they_are_a_good_file() {
        let built_in = AccountsFile::built_in();
        let json = serde_json::to_string(&built_in).unwrap();
        assert_eq!(AccountsFile::parse(&json).unwrap(), built_in);
    }

    #[test]
    fn keys_have_the_shape_of_awss() {
        for account in AccountsFile::built_in().accounts {
            for user in account.users {
                assert_eq!(user.access_key_id.len(), 20, "{}", user.name);
                assert!(user.access_key_id.starts_with("AKIA"), "{}", user.name);
                assert!(user.access_key_id.ends_with("EXAMPLE"), "{}", user.name);
                assert_eq!(user.secret_access_key.len(), 40, "{}", user.name);
            }
        }
    }

    #[test]
    fn the_operator_may_assume_the_role_with_the_external_id() {
        let built_in = AccountsFile::built_in();
        let arn = role_arn(DESTINATION_ACCOUNT, COPY_ROLE);
        let (_, role) = built_in.role_by_arn(&arn).unwrap();
        for (account, name, external_id, expected) in [
            (DESTINATION_ACCOUNT, "operator", Some(EXTERNAL_ID), true),
            (DESTINATION_ACCOUNT, "operator", Some("other"), false),
            (DESTINATION_ACCOUNT, "operator", None, false),
            (
                DESTINATION_ACCOUNT,
                "destination-admin",
                Some(EXTERNAL_ID),
                false,
            ),
            (STRANGER_ACCOUNT, "stranger", Some(EXTERNAL_ID), false),
        ] {
            let user = built_in
                .account(account)
                .and_then(|account| account.users.iter().find(|user| user.name == name))
                .unwrap();
            let mut context = Context::new();
            if let Some(id) = external_id {
                context.insert("sts:ExternalId", id);
            }
            let caller = Principal::user(account, name);
            let decision = may_assume(role, &arn, &caller, &user.policies, &context);
            assert_eq!(
                decision.is_allowed(),
                expected,
                "{name} {external_id:?} {decision:?}"
            );
        }
    }

    #[test]
    fn the_role_may_send_what_a_copy_sends_and_delete_no_version() {
        let built_in = AccountsFile::built_in();
        let arn = role_arn(DESTINATION_ACCOUNT, COPY_ROLE);
        let (account, role) = built_in.role_by_arn(&arn).unwrap();
        let sent = [
            "CopyObject",
            "UploadPartCopy",
            "CreateMultipartUpload",
            "UploadPart",
            "CompleteMultipartUpload",
            "AbortMultipartUpload",
            "ListParts",
            "ListMultipartUploads",
            "PutObject",
            "PutObjectTagging",
            "HeadObject",
            "GetObject",
            "GetObjectAcl",
            "GetObjectTagging",
            "GetObjectAttributes",
            "HeadBucket",
            "ListObjectsV2",
            "ListObjectVersions",
            "GetBucketLocation",
            "GetBucketAcl",
            "GetBucketVersioning",
            "GetBucketOwnershipControls",
            "GetBucketRequestPayment",
            "GetBucketEncryption",
            "GetObjectLockConfiguration",
            "GetBucketLifecycleConfiguration",
            "RestoreObject",
        ];
        let may = |action, resource: &str| {
            evaluate(&Request {
                principal: &Principal::role_session(&account.id, &role.name, "job"),
                action,
                resource,
                resource_account: &account.id,
                context: &Context::new(),
                identity_policies: &role.policies,
                session_policy: None,
                resource_policy: None,
            })
            .is_allowed()
        };
        // Without declared keys nobody asks for the actions of KMS.
        for row in table()
            .iter()
            .filter(|row| sent.contains(&row.operation) && row.resource != Resource::Key)
        {
            assert!(may(row.action, &row.resource.arn("b", "k", "")), "{row:?}");
        }
        assert!(!may("s3:DeleteObjectVersion", "arn:aws:s3:::b/k"));
        assert!(!may("s3:DeleteBucket", "arn:aws:s3:::b"));
        assert!(!may("s3:PutBucketPolicy", "arn:aws:s3:::b"));
    }
}
