//! A refusal taken apart: what S3's own message names, and the statement that grants it.
//!
//! Within an account or an organization S3 says which action on which resource is refused, and by which kind
//! of policy; across accounts it says `Access Denied` and no more.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html>

use s3haul_s3::{Caller, S3Error};

use super::finding::Finding;
use crate::policy::document::{Statement, bucket_arn, objects_arn};

/// What a message of S3's or KMS's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) action: String,
    pub(super) resource: Option<String>,
    pub(super) policy: Option<Policy>,
    pub(super) explicit: bool,
}

/// The kind of policy that refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Identity,
    Resource,
    /// One that takes away, in whose hands a user mostly is not: by its name.
    Other(&'static str),
}

const POLICIES: [(&str, Policy); 9] = [
    ("identity-based polic", Policy::Identity),
    ("resource-based polic", Policy::Resource),
    (
        "service control polic",
        Policy::Other("service control policy"),
    ),
    (
        "resource control polic",
        Policy::Other("resource control policy"),
    ),
    ("permissions boundar", Policy::Other("permissions boundary")),
    ("session polic", Policy::Other("session policy")),
    ("VPC endpoint polic", Policy::Other("VPC endpoint policy")),
    ("assume role trust polic", Policy::Resource),
    ("role trust polic", Policy::Resource),
];

impl Denial {
    /// Reads `… is not authorized to perform: ACTION on resource: "ARN" because no KIND policy allows …`, or
    /// `… with an explicit deny in a KIND policy`.
    pub(super) fn of(message: &str) -> Option<Self> {
        let (_, rest) = message.split_once("is not authorized to perform: ")?;
        let action = rest.split_whitespace().next()?;
        let resource = rest.split_once("on resource: ").and_then(|(_, resource)| {
            let resource = resource.split_whitespace().next()?;
            Some(resource.trim_matches('"').to_owned())
        });
        // The resource itself may be called anything.
        let why = match rest.find(" because ") {
            Some(at) => rest.get(at..).unwrap_or_default(),
            None => rest
                .find(" with an explicit deny")
                .and_then(|at| rest.get(at..))
                .unwrap_or_default(),
        };
        let policy = POLICIES.iter().find(|(words, _)| why.contains(words));
        Some(Self {
            action: action.to_owned(),
            resource,
            policy: policy.map(|(_, policy)| *policy),
            explicit: why.contains("explicit deny") && !why.contains("no resource-based policies"),
        })
    }

    /// Whether the bucket itself is what may not be used, and none of its objects.
    fn is_of_bucket(&self) -> bool {
        let name = self
            .resource
            .as_ref()
            .and_then(|arn| arn.strip_prefix("arn:"));
        let name = name.and_then(|arn| arn.splitn(5, ':').nth(4));
        name.is_some_and(|name| !name.contains('/'))
    }

    /// Whether it is the right to know what is there: the object is missing, and that may not be told.
    pub(super) fn is_of_listing(&self) -> bool {
        self.action == "s3:ListBucket"
    }
}

/// Who is to be let in.
#[derive(Debug, Clone, Default)]
pub(super) struct Who {
    /// The ARN that policies name: of the role or the user, not of a session. Unknown where STS would not say.
    pub(super) principal: Option<String>,
    /// Its account.
    pub(super) account: Option<String>,
    /// Of the ARNs of what it works on.
    pub(super) partition: String,
}

impl Who {
    pub(super) fn new(role_arn: Option<&str>, caller: Option<&Caller>) -> Self {
        let principal = role_arn.map(str::to_owned);
        let principal = principal.or_else(|| caller.map(|caller| principal_of(&caller.arn)));
        let field = |number: usize| principal.as_ref()?.split(':').nth(number);
        Self {
            account: field(4).map(str::to_owned),
            partition: field(1).unwrap_or("aws").to_owned(),
            principal,
        }
    }

    /// How it is named to the user.
    fn name(&self) -> &str {
        self.principal.as_deref().unwrap_or("who copies")
    }

    /// The ARN of a bucket, which may be named by an access point's.
    pub(super) fn bucket_arn(&self, bucket: &str) -> String {
        if bucket.starts_with("arn:") {
            return bucket.to_owned();
        }
        bucket_arn(&self.partition, bucket)
    }

    /// The ARN of a bucket's objects.
    pub(super) fn objects_arn(&self, bucket: &str, prefix: &str) -> String {
        if bucket.starts_with("arn:") {
            return format!("{bucket}/object/{prefix}*");
        }
        objects_arn(&self.partition, bucket, prefix)
    }
}

/// The ARN by which policies name whoever has a session of a role.
pub(super) fn principal_of(arn: &str) -> String {
    let fields: Vec<_> = arn.splitn(6, ':').collect();
    let [_, partition, "sts", _, account, session] = fields[..] else {
        return arn.to_owned();
    };
    match session.split('/').collect::<Vec<_>>()[..] {
        ["assumed-role", role, ..] => format!("arn:{partition}:iam::{account}:role/{role}"),
        _ => arn.to_owned(),
    }
}

/// A statement that allows; with a principal for a resource's policy, without for an identity's.
pub(super) fn statement(principal: Option<&str>, actions: &[&str], resource: &str) -> Statement {
    let names = actions.iter().flat_map(|action| action.chars());
    let sid: String = names.filter(char::is_ascii_alphanumeric).collect();
    let action = actions.iter().map(|action| (*action).to_owned()).collect();
    let statement = Statement::allow(&sid, action, vec![resource.to_owned()]);
    match principal {
        Some(principal) => statement.to_principal(principal),
        None => statement,
    }
}

/// What a request takes, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needed<'a> {
    pub(super) actions: &'a [&'a str],
    pub(super) resource: &'a str,
    /// The bucket that is named to the user.
    pub(super) bucket: &'a str,
    /// Its account, where that is known.
    pub(super) account: Option<&'a str>,
    /// The KMS key that it takes, where that is known: KMS does not name it to another account.
    pub(super) kms_key: Option<&'a str>,
}

/// Says of a refusal what mends it, and in which account.
pub(super) fn explain(
    finding: Finding,
    error: &S3Error,
    who: &Who,
    needed: &Needed<'_>,
) -> Finding {
    let finding = finding.answered(error);
    match Denial::of(&error.message) {
        Some(denial) => named(finding, &denial, who, needed),
        None => unnamed(finding, who, needed),
    }
}

/// As S3 has named it.
fn named(finding: Finding, denial: &Denial, who: &Who, needed: &Needed<'_>) -> Finding {
    let action = denial.action.as_str();
    let own = who.account.as_deref();
    let of_kms = action.starts_with("kms:");
    // What was asked for is one key, and a job writes many.
    let resource = if of_kms {
        denial.resource.as_deref().or(needed.kms_key)
    } else if denial.is_of_bucket() {
        denial.resource.as_deref()
    } else {
        Some(needed.resource)
    };
    let resource = resource.unwrap_or("(the key that S3 does not name)");
    let there = if of_kms {
        resource.split(':').nth(4).filter(|id| !id.is_empty())
    } else {
        needed.account
    };
    let what = if of_kms {
        format!("of the key {resource}")
    } else {
        format!("of the bucket {}", needed.bucket)
    };
    let (whose, account) = match denial.policy {
        Some(Policy::Identity) => (format!("the policy of {}", who.name()), own),
        Some(Policy::Other(name)) => (format!("a {name}"), None),
        Some(Policy::Resource) => (format!("the policy {what}"), there),
        None => (format!("a policy, of {} or {what}", who.name()), None),
    };
    let finding = finding.in_account(account);
    if denial.explicit {
        return finding.remedy(format!(
            "{action} is denied by name in {whose}: change or remove that statement"
        ));
    }
    if let Some(Policy::Other(name)) = denial.policy {
        return finding.remedy(format!(
            "no {name} allows {action}: whoever is in charge of it must allow it there"
        ));
    }
    let of_resource = denial.policy == Some(Policy::Resource);
    // In a key's policy `*` is that key.
    let resource = if of_kms && of_resource { "*" } else { resource };
    let principal = who.principal.as_deref().filter(|_| of_resource);
    let both = if of_kms && there != own {
        "; across accounts the key's policy and the identity's must both allow it, and the managed key \
         aws/s3 lets in no other account"
    } else {
        ""
    };
    finding
        .granted_by(statement(principal, &[action], resource))
        .remedy(format!("add this statement to {whose}{both}"))
}

/// S3 has said no more than that it refuses: both accounts must allow it.
fn unnamed(finding: Finding, who: &Who, needed: &Needed<'_>) -> Finding {
    let Needed {
        actions,
        resource,
        bucket,
        account,
        ..
    } = *needed;
    let own = who.account.as_deref();
    if own.is_some() && own == account {
        return finding
            .in_account(own)
            .granted_by(statement(None, actions, resource))
            .remedy(format!(
                "likely: the policy of {} lacks this statement, or the bucket's policy denies it",
                who.name()
            ));
    }
    finding
        .in_account(account)
        .granted_by(statement(who.principal.as_deref(), actions, resource))
        .remedy(format!(
            "likely: the policy of the bucket {bucket} lacks this statement, or that of {} lacks the same \
             without Principal: across accounts both must allow it, and S3 does not say which does not",
            who.name()
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str =
        "User: arn:aws:sts::222222222222:assumed-role/copy/s is not authorized to perform: ";

    #[test]
    fn messages_are_read() {
        let denial = |action: &str, resource: Option<&str>, policy, explicit| {
            Some(Denial {
                action: action.to_owned(),
                resource: resource.map(str::to_owned),
                policy,
                explicit,
            })
        };
        let object = Some("arn:aws:s3:::b/a-session-policy");
        let table = [
            (
                "s3:PutObject on resource: \"arn:aws:s3:::b/a-session-policy\" because no identity-based policy \
                 allows the s3:PutObject action",
                denial("s3:PutObject", object, Some(Policy::Identity), false),
            ),
            (
                "s3:GetObject on resource: \"arn:aws:s3:::b/a-session-policy\" because no resource-based policy \
                 allows the s3:GetObject action",
                denial("s3:GetObject", object, Some(Policy::Resource), false),
            ),
            (
                "s3:GetObject on resource: \"arn:aws:s3:::b/a-session-policy\" with an explicit deny in a \
                 resource-based policy",
                denial("s3:GetObject", object, Some(Policy::Resource), true),
            ),
            (
                "s3:PutObject on resource: \"arn:aws:s3:::b/a-session-policy\" with an explicit deny in a service \
                 control policy",
                denial(
                    "s3:PutObject",
                    object,
                    Some(Policy::Other("service control policy")),
                    true,
                ),
            ),
            (
                "kms:Decrypt on resource: arn:aws:kms:eu-west-1:111111111111:key/k because the resource does not \
                 exist in this Region, no resource-based policies allow access, or a resource-based policy \
                 explicitly denies access",
                denial(
                    "kms:Decrypt",
                    Some("arn:aws:kms:eu-west-1:111111111111:key/k"),
                    Some(Policy::Resource),
                    false,
                ),
            ),
            (
                "kms:Decrypt on the resource associated with this ciphertext because the resource does not exist in \
                 this Region, no resource-based policies allow access, or a resource-based policy explicitly denies \
                 access",
                denial("kms:Decrypt", None, Some(Policy::Resource), false),
            ),
            (
                "sts:AssumeRole on resource: arn:aws:iam::222222222222:role/copy",
                denial(
                    "sts:AssumeRole",
                    Some("arn:aws:iam::222222222222:role/copy"),
                    None,
                    false,
                ),
            ),
        ];
        for (message, expected) in table {
            assert_eq!(
                Denial::of(&format!("{USER}{message}")),
                expected,
                "{message}"
            );
        }
        assert_eq!(Denial::of("Access Denied"), None);
    }

    #[test]
    fn sessions_are_named_by_their_role() {
        for (arn, principal) in [
            (
                "arn:aws:sts::1:assumed-role/copy/session",
                "arn:aws:iam::1:role/copy",
            ),
            ("arn:aws:iam::1:user/me", "arn:aws:iam::1:user/me"),
            (
                "arn:aws-cn:sts::1:assumed-role/copy/a/b",
                "arn:aws-cn:iam::1:role/copy",
            ),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(principal_of(arn), principal);
        }
    }

    #[test]
    fn a_statement_has_a_principal_only_for_a_resource() {
        let of_bucket = statement(Some("arn:p"), &["s3:GetObject"], "arn:b/*");
        let expected = r#"{"Sid":"s3GetObject","Effect":"Allow","Principal":{"AWS":"arn:p"},"Action":["s3:GetObject"],"Resource":["arn:b/*"]}"#;
        let of_bucket = serde_json::to_string(&of_bucket).unwrap();
        assert_eq!(of_bucket, expected);
        assert_eq!(statement(None, &["a", "b"], "r").principal, None);
    }
}
