//! What an object's ACL grants to whom.
//!
//! `https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html`

use super::object::{Object, canonical_user_id};

/// The group of everybody, signed or not.
pub(crate) const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
/// The group of whoever has an account.
pub(crate) const AUTHENTICATED_USERS: &str =
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
/// The account that reads with `aws-exec-read`: that of Amazon EC2.
const EC2: &str = "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c";

/// Whom a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grantee {
    /// An account, by its canonical user ID.
    User(String),
    /// A group, by its URI.
    Group(String),
}

impl Grantee {
    pub(crate) fn account(account: &str) -> Self {
        Self::User(canonical_user_id(account))
    }

    /// Reads a grantee as the `x-amz-grant-*` headers spell it: `id="…"` or `uri="…"`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, value) = text.split_once('=')?;
        let value = value.trim().trim_matches('"').to_owned();
        match kind.trim() {
            _ if value.is_empty() => None,
            "id" => Some(Self::User(value)),
            "uri" => Some(Self::Group(value)),
            _ => None,
        }
    }

    fn is(&self, account: &str) -> bool {
        match self {
            Self::User(id) => *id == canonical_user_id(account),
            // Whoever asks has an account.
            Self::Group(uri) => uri == ALL_USERS || uri == AUTHENTICATED_USERS,
        }
    }
}

/// All grants of an object in a bucket where ACLs count, a permission and its grantee each.
///
/// Explicit grants replace the owner's full control, as every canned ACL has it.
pub(crate) fn grants(object: &Object, bucket_account: &str) -> Vec<(&'static str, Grantee)> {
    let acl = &object.settings.acl;
    if !acl.grants.is_empty() {
        return acl
            .grants
            .iter()
            .filter_map(|(permission, text)| Some((*permission, Grantee::parse(text)?)))
            .collect();
    }
    let group = |uri: &str| Grantee::Group(uri.to_owned());
    let is_bucket_owners = *object.owner == *bucket_account;
    let mut grants = vec![("FULL_CONTROL", Grantee::account(&object.owner))];
    match acl.canned.as_deref() {
        Some("public-read") => grants.push(("READ", group(ALL_USERS))),
        Some("public-read-write") => {
            grants.extend([("READ", group(ALL_USERS)), ("WRITE", group(ALL_USERS))]);
        }
        Some("authenticated-read") => grants.push(("READ", group(AUTHENTICATED_USERS))),
        Some("aws-exec-read") => grants.push(("READ", Grantee::User(EC2.to_owned()))),
        Some("bucket-owner-read") if !is_bucket_owners => {
            grants.push(("READ", Grantee::account(bucket_account)));
        }
        Some("bucket-owner-full-control") if !is_bucket_owners => {
            grants.push(("FULL_CONTROL", Grantee::account(bucket_account)));
        }
        _ => {}
    }
    grants
}

/// Whether an object's owner or its ACL lets an account do an IAM action, the bucket's policy aside.
///
/// What each permission of an ACL stands for: the page above, "Mapping of ACL permissions and access policy
/// permissions". What none stands for, such as tags, full control is taken to cover.
pub(crate) fn lets(object: &Object, bucket_account: &str, account: &str, action: &str) -> bool {
    if *object.owner == *account {
        return true;
    }
    let permission = match action {
        "s3:GetObject"
        | "s3:GetObjectVersion"
        | "s3:GetObjectAttributes"
        | "s3:GetObjectVersionAttributes" => "READ",
        "s3:GetObjectAcl" | "s3:GetObjectVersionAcl" => "READ_ACP",
        _ => "FULL_CONTROL",
    };
    grants(object, bucket_account)
        .iter()
        .any(|(granted, grantee)| {
            (*granted == permission || *granted == "FULL_CONTROL") && grantee.is(account)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::content::Content;
    use crate::store::object::{Acl, Settings, shared};
    use crate::store::view::ObjectProperties;

    const BUCKET: &str = "111111111111";
    const READER: &str = "222222222222";
    const WRITER: &str = "333333333333";

    fn object(owner: &str, canned: Option<&str>, grants: &[(&'static str, &str)]) -> Object {
        let properties = ObjectProperties {
            owner: Some(owner.to_owned()),
            ..ObjectProperties::default()
        };
        let acl = Acl {
            canned: canned.map(str::to_owned),
            grants: grants
                .iter()
                .map(|(permission, grantee)| (*permission, (*grantee).to_owned()))
                .collect(),
        };
        Object {
            settings: shared(Settings {
                acl,
                ..Settings::default()
            }),
            ..properties.object(Content::declared(1, 1), &BUCKET.into())
        }
    }

    #[test]
    fn canned_acls_grant_what_the_guide_says() {
        let (bucket, writer) = (Grantee::account(BUCKET), Grantee::account(WRITER));
        let owners = ("FULL_CONTROL", writer);
        let everybody = |permission| (permission, Grantee::Group(ALL_USERS.to_owned()));
        for (canned, further) in [
            (None, vec![]),
            (Some("private"), vec![]),
            (Some("public-read"), vec![everybody("READ")]),
            (
                Some("public-read-write"),
                vec![everybody("READ"), everybody("WRITE")],
            ),
            (
                Some("authenticated-read"),
                vec![("READ", Grantee::Group(AUTHENTICATED_USERS.to_owned()))],
            ),
            (
                Some("aws-exec-read"),
                vec![("READ", Grantee::User(EC2.to_owned()))],
            ),
            (Some("bucket-owner-read"), vec![("READ", bucket.clone())]),
            (
                Some("bucket-owner-full-control"),
                vec![("FULL_CONTROL", bucket.clone())],
            ),
        ] {
            let expected: Vec<_> = [owners.clone()].into_iter().chain(further).collect();
            assert_eq!(grants(&object(WRITER, canned, &[]), BUCKET), expected);
        }
        for canned in ["bucket-owner-read", "bucket-owner-full-control"] {
            assert_eq!(
                grants(&object(BUCKET, Some(canned), &[]), BUCKET),
                [("FULL_CONTROL", bucket.clone())]
            );
        }
    }

    #[test]
    fn explicit_grants_are_all_there_is() {
        let id = canonical_user_id(READER);
        let quoted = format!("id=\"{id}\"");
        let object = object(WRITER, None, &[("READ", &quoted), ("READ_ACP", &quoted)]);
        let reader = Grantee::User(id);
        assert_eq!(
            grants(&object, BUCKET),
            [("READ", reader.clone()), ("READ_ACP", reader)]
        );
        for text in ["", "id", "id=", "account=1", "emailAddress=a@b"] {
            assert_eq!(Grantee::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_owner_and_whom_the_acl_names_are_let_in() {
        let id = format!("id={}", canonical_user_id(READER));
        for (canned, grants, account, action, expected) in [
            (None, &[][..], WRITER, "s3:GetObjectTagging", true),
            (None, &[], BUCKET, "s3:GetObject", false),
            (
                Some("public-read"),
                &[],
                READER,
                "s3:GetObjectVersion",
                true,
            ),
            (
                Some("public-read"),
                &[],
                READER,
                "s3:GetObjectTagging",
                false,
            ),
            (Some("bucket-owner-read"), &[], BUCKET, "s3:GetObject", true),
            (
                Some("bucket-owner-read"),
                &[],
                BUCKET,
                "s3:GetObjectAcl",
                false,
            ),
            (
                Some("bucket-owner-full-control"),
                &[],
                BUCKET,
                "s3:GetObjectTagging",
                true,
            ),
            (
                Some("bucket-owner-full-control"),
                &[],
                READER,
                "s3:GetObject",
                false,
            ),
            (None, &[("READ", id.as_str())], READER, "s3:GetObject", true),
            (None, &[("READ", id.as_str())], WRITER, "s3:GetObject", true),
            (
                None,
                &[("READ_ACP", id.as_str())],
                READER,
                "s3:GetObject",
                false,
            ),
        ] {
            assert_eq!(
                lets(&object(WRITER, canned, grants), BUCKET, account, action),
                expected,
                "{canned:?} {grants:?} {account} {action}"
            );
        }
    }
}
