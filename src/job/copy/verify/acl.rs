//! Canned ACLs, and whether an object's ACL is one.

use std::fmt;

use s3haul_s3::{AccessControl, Grantee};
use serde::{Deserialize, Serialize};

const EVERYBODY: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
const FULL_CONTROL: &str = "FULL_CONTROL";

/// A canned ACL that can be told from the grants that S3 makes of it.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#canned-acl>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CannedAcl {
    /// The bucket's owner has full control, as the object's owner or beside it.
    BucketOwnerFullControl,
    /// The bucket's owner may read.
    BucketOwnerRead,
    /// The owner alone.
    Private,
    /// Whoever has an account may read.
    AuthenticatedRead,
    /// Everybody may read.
    PublicRead,
    /// Everybody may read and write.
    PublicReadWrite,
}

impl fmt::Display for CannedAcl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::Private => "private",
            Self::AuthenticatedRead => "authenticated-read",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
        })
    }
}

impl CannedAcl {
    /// Whether it takes to know who owns the bucket.
    pub fn needs_bucket_owner(self) -> bool {
        matches!(self, Self::BucketOwnerFullControl | Self::BucketOwnerRead)
    }

    /// What it grants beside the owner's full control.
    fn grants(self, bucket_owner: Option<&str>) -> Vec<(Grantee, &'static str)> {
        let group = |uri: &str| Grantee::Group(uri.to_owned());
        let owner = |permission| {
            let id = Grantee::CanonicalUser(bucket_owner?.to_owned());
            Some((id, permission))
        };
        match self {
            Self::BucketOwnerFullControl => owner(FULL_CONTROL).into_iter().collect(),
            Self::BucketOwnerRead => owner("READ").into_iter().collect(),
            Self::Private => Vec::new(),
            Self::AuthenticatedRead => vec![(group(AUTHENTICATED), "READ")],
            Self::PublicRead => vec![(group(EVERYBODY), "READ")],
            Self::PublicReadWrite => {
                vec![(group(EVERYBODY), "READ"), (group(EVERYBODY), "WRITE")]
            }
        }
    }
}

/// In what an object's ACL is not the wanted one: the first grant that is missing, or too many.
///
/// `bucket_owner`: the canonical user ID of the bucket's owner, where it is needed.
pub fn difference(
    found: &AccessControl,
    wanted: CannedAcl,
    bucket_owner: Option<&str>,
) -> Option<String> {
    let is_owner = |grantee: &Grantee| matches!((grantee, &found.owner_id), (Grantee::CanonicalUser(id), Some(owner)) if id == owner);
    // To its owner an object is as good as granted: only the owner can take that away, and give it back.
    let wanted: Vec<_> = wanted
        .grants(bucket_owner)
        .into_iter()
        .filter(|(grantee, _)| !is_owner(grantee))
        .collect();
    let missing = wanted.iter().find(|(grantee, permission)| {
        !found
            .grants
            .iter()
            .any(|grant| grant.grantee == *grantee && grant.permission == *permission)
    });
    if let Some((grantee, permission)) = missing {
        let grantee = name(grantee, bucket_owner);
        return Some(format!("the ACL does not grant {permission} to {grantee}"));
    }
    let further = found.grants.iter().find(|grant| {
        let is_wanted = wanted.iter().any(|(grantee, permission)| {
            grant.grantee == *grantee && grant.permission == *permission
        });
        !is_wanted && !is_owner(&grant.grantee)
    });
    further.map(|grant| {
        let grantee = name(&grant.grantee, bucket_owner);
        format!("the ACL grants {} to {grantee}", grant.permission)
    })
}

fn name(grantee: &Grantee, bucket_owner: Option<&str>) -> String {
    match grantee {
        Grantee::CanonicalUser(id) if bucket_owner == Some(id) => "the bucket's owner".to_owned(),
        Grantee::CanonicalUser(id) => format!("the account of the canonical ID {id}"),
        Grantee::Group(uri) if uri == EVERYBODY => "everybody".to_owned(),
        Grantee::Group(uri) if uri == AUTHENTICATED => "everybody with an account".to_owned(),
        Grantee::Group(other) | Grantee::Other(other) => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3haul_s3::Grant;

    fn acl(owner: &str, grants: &[(Grantee, &str)]) -> AccessControl {
        let grants = grants.iter().map(|(grantee, permission)| Grant {
            grantee: grantee.clone(),
            permission: (*permission).to_owned(),
        });
        AccessControl {
            owner_id: Some(owner.to_owned()),
            grants: grants.collect(),
        }
    }

    #[test]
    fn an_acl_is_told_by_its_grants() {
        use CannedAcl::{
            AuthenticatedRead, BucketOwnerFullControl, BucketOwnerRead, Private, PublicRead,
            PublicReadWrite,
        };
        let user = |id: &str| Grantee::CanonicalUser(id.to_owned());
        let group = |uri: &str| Grantee::Group(uri.to_owned());
        let own = |owner: &str| (user(owner), FULL_CONTROL);
        let everybody = |permission| (group(EVERYBODY), permission);
        let (of_bucket, of_writer) = ([own("bucket")], [own("writer")]);
        let both = [own("writer"), own("bucket")];
        let read = [own("writer"), (user("bucket"), "READ")];
        let public = [own("bucket"), everybody("READ")];
        for (owner, grants, wanted, said) in [
            ("bucket", &of_bucket[..], BucketOwnerFullControl, None),
            ("writer", &both, BucketOwnerFullControl, None),
            (
                "writer",
                &of_writer,
                BucketOwnerFullControl,
                Some("does not grant FULL_CONTROL to the bucket's owner"),
            ),
            (
                "writer",
                &read,
                BucketOwnerFullControl,
                Some("does not grant FULL_CONTROL to the bucket's owner"),
            ),
            (
                "bucket",
                &public,
                BucketOwnerFullControl,
                Some("the ACL grants READ to everybody"),
            ),
            ("writer", &read, BucketOwnerRead, None),
            ("bucket", &of_bucket, BucketOwnerRead, None),
            (
                "writer",
                &both,
                BucketOwnerRead,
                Some("does not grant READ"),
            ),
            ("bucket", &of_bucket, Private, None),
            ("writer", &of_writer, Private, None),
            (
                "writer",
                &both,
                Private,
                Some("FULL_CONTROL to the bucket's owner"),
            ),
            ("bucket", &public, Private, Some("READ to everybody")),
            ("bucket", &public, PublicRead, None),
            (
                "bucket",
                &of_bucket,
                PublicRead,
                Some("does not grant READ to everybody"),
            ),
            (
                "bucket",
                &public,
                PublicReadWrite,
                Some("does not grant WRITE to everybody"),
            ),
            (
                "bucket",
                &[own("bucket"), everybody("READ"), everybody("WRITE")],
                PublicReadWrite,
                None,
            ),
            (
                "bucket",
                &[own("bucket"), (group(AUTHENTICATED), "READ")],
                AuthenticatedRead,
                None,
            ),
            (
                "bucket",
                &public,
                AuthenticatedRead,
                Some("does not grant READ to everybody with an account"),
            ),
        ] {
            let found = difference(&acl(owner, grants), wanted, Some("bucket"));
            match said {
                None => assert_eq!(found, None, "{owner} {grants:?} {wanted}"),
                Some(said) => assert!(
                    found.as_ref().is_some_and(|found| found.contains(said)),
                    "{owner} {grants:?} {wanted}: {found:?}"
                ),
            }
        }
    }
}
