//! Which IAM actions an S3 request is, from `actions.csv`, whose first lines say what its fields mean.

use std::str::FromStr;
use std::sync::LazyLock;

use super::{bucket_arn, object_arn};

const TABLE: &str = include_str!("../../actions.csv");

const HEADER: &str = "operation,when,side,action,resource";

/// Says that a request needs an IAM action: one row of `actions.csv`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActionRow {
    /// S3's name of the request, such as `CopyObject`.
    pub operation: &'static str,
    /// What must be true of the request: none for `always`.
    pub when: Vec<Fact>,
    /// Which of the request's buckets.
    pub side: Side,
    /// The IAM action, such as `s3:GetObject` or `kms:Decrypt`.
    pub action: &'static str,
    /// What the action is asked on.
    pub resource: Resource,
}

/// Names something that must be true of a request, or must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    /// The token of `actions.csv`, such as `versionId` or `x-amz-acl`.
    pub token: &'static str,
    /// False for `!versionId`.
    pub holds: bool,
}

/// Says which of a request's buckets an action is asked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The bucket in `x-amz-copy-source`.
    Source,
    /// The bucket in the URL, of a request that writes what a copy writes.
    Destination,
    /// The bucket in the URL, of any other request.
    Bucket,
}

/// Says what an action is asked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The object: the ARN of bucket and key.
    Object,
    /// The bucket.
    Bucket,
    /// The KMS key that the object is under.
    Key,
    /// None of them: `*`.
    Any,
}

impl Resource {
    /// Gives the ARN, of what the row's side has: a bucket, an object's key, the ARN of a KMS key.
    pub fn arn(self, bucket: &str, key: &str, kms_key: &str) -> String {
        match self {
            Self::Object => object_arn(bucket, key),
            Self::Bucket => bucket_arn(bucket),
            Self::Key => kms_key.to_owned(),
            Self::Any => "*".to_owned(),
        }
    }
}

/// Reports a line of `actions.csv` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of actions.csv cannot be read")]
struct BadLine {
    line: usize,
}

/// Gives all rows of `actions.csv`, in its order.
pub fn table() -> &'static [ActionRow] {
    static ROWS: LazyLock<Vec<ActionRow>> = LazyLock::new(|| {
        #[expect(
            clippy::expect_used,
            reason = "the table is part of the program and a test reads it"
        )]
        parse(TABLE).expect("actions.csv can be read")
    });
    &ROWS
}

/// Finds the actions that a request needs, each on its side.
///
/// `facts` says of each token of the `when` field, `!` and `always` aside, whether it is true of the request. An action that two headers ask for is there twice. No row at all means an operation that the table does not have.
pub fn actions_for(operation: &str, facts: &dyn Fn(&str) -> bool) -> Vec<&'static ActionRow> {
    table()
        .iter()
        .filter(|row| {
            row.operation == operation
                && row.when.iter().all(|fact| facts(fact.token) == fact.holds)
        })
        .collect()
}

fn parse(text: &'static str) -> Result<Vec<ActionRow>, BadLine> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with('#') && *line != HEADER)
        .map(|(index, line)| row(line).ok_or(BadLine { line: index + 1 }))
        .collect()
}

fn row(line: &'static str) -> Option<ActionRow> {
    let fields: Vec<&'static str> = line.split(',').collect();
    let &[operation, when, side, action, resource] = fields.as_slice() else {
        return None;
    };
    let resource: Resource = resource.parse().ok()?;
    let service = if resource == Resource::Key {
        "kms:"
    } else {
        "s3:"
    };
    Some(ActionRow {
        operation: Some(operation).filter(|name| !name.is_empty())?,
        when: facts_of(when)?,
        side: side.parse().ok()?,
        action: Some(action).filter(|name| name.starts_with(service))?,
        resource,
    })
}

fn facts_of(when: &'static str) -> Option<Vec<Fact>> {
    if when == "always" {
        return Some(Vec::new());
    }
    when.split('&')
        .map(|fact| {
            let (token, holds) = match fact.strip_prefix('!') {
                Some(token) => (token, false),
                None => (fact, true),
            };
            (!token.is_empty() && token != "always").then_some(Fact { token, holds })
        })
        .collect()
}

impl FromStr for Side {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "source" => Ok(Self::Source),
            "destination" => Ok(Self::Destination),
            "bucket" => Ok(Self::Bucket),
            _ => Err(()),
        }
    }
}

impl FromStr for Resource {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "object" => Ok(Self::Object),
            "bucket" => Ok(Self::Bucket),
            "key" => Ok(Self::Key),
            "*" => Ok(Self::Any),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::{Resource, Side, actions_for, parse, table};

    /// Operations of which a version has another action, so that no action is needed always.
    const BY_VERSION: [&str; 11] = [
        "DeleteObject",
        "DeleteObjectTagging",
        "GetObject",
        "GetObjectAcl",
        "GetObjectAnnotation",
        "GetObjectAttributes",
        "GetObjectTagging",
        "HeadObject",
        "PutObjectAcl",
        "PutObjectAnnotation",
        "PutObjectTagging",
    ];

    fn names(operation: &str, facts: &[&str]) -> Vec<(Side, &'static str)> {
        actions_for(operation, &|token| facts.contains(&token))
            .into_iter()
            .map(|row| (row.side, row.action))
            .collect()
    }

    #[test]
    fn the_table_can_be_read_and_holds_no_row_twice() {
        let mut seen = HashSet::new();
        for row in table() {
            assert!(seen.insert(row), "{row:?}");
        }
    }

    #[test]
    fn bad_lines_are_found() {
        for text in [
            "GetObject,always,bucket,s3:GetObject",
            "GetObject,always,bucket,s3:GetObject,object,x",
            ",always,bucket,s3:GetObject,object",
            "GetObject,,bucket,s3:GetObject,object",
            "GetObject,a&,bucket,s3:GetObject,object",
            "GetObject,!always,bucket,s3:GetObject,object",
            "GetObject,always,target,s3:GetObject,object",
            "GetObject,always,bucket,GetObject,object",
            "GetObject,always,bucket,s3:GetObject,key",
            "GetObject,always,bucket,kms:Decrypt,object",
            "GetObject,always,bucket,s3:GetObject,version",
        ] {
            assert_eq!(parse(text).unwrap_err().line, 1, "{text}");
        }
    }

    #[test]
    fn each_operation_always_needs_something() {
        let operations: BTreeSet<&str> = table().iter().map(|row| row.operation).collect();
        for operation in operations {
            let always = table()
                .iter()
                .any(|row| row.operation == operation && row.when.is_empty());
            assert_ne!(always, BY_VERSION.contains(&operation), "{operation}");
            // Either way no request goes through unasked.
            for facts in [&[][..], &["versionId"]] {
                assert!(!names(operation, facts).is_empty(), "{operation} {facts:?}");
            }
        }
    }

    #[test]
    fn only_copies_have_a_source() {
        for row in table() {
            let copies = ["CopyObject", "UploadPartCopy"].contains(&row.operation);
            assert!(copies || row.side != Side::Source, "{row:?}");
            assert!(!copies || row.side != Side::Bucket, "{row:?}");
        }
    }

    #[test]
    fn tokens_are_those_that_the_table_explains() {
        let known = [
            "versionId",
            "source-tagged",
            "source-annotated",
            "source-kms",
            "destination-kms",
            "object-kms",
            "missing-object",
            "shows-tag-count",
            "shows-retention",
            "shows-legal-hold",
            "If-Match",
        ];
        for row in table() {
            for fact in &row.when {
                assert!(
                    known.contains(&fact.token) || fact.token.starts_with("x-amz-"),
                    "{row:?}"
                );
            }
        }
    }

    #[test]
    fn what_a_copy_needs() {
        use Side::{Destination, Source};
        assert_eq!(
            names("CopyObject", &[]),
            [(Source, "s3:GetObject"), (Destination, "s3:PutObject")]
        );
        assert_eq!(
            names("CopyObject", &["versionId", "source-tagged", "x-amz-acl"]),
            [
                (Source, "s3:GetObjectVersion"),
                (Source, "s3:GetObjectVersionTagging"),
                (Destination, "s3:PutObject"),
                (Destination, "s3:PutObjectTagging"),
                (Destination, "s3:PutObjectAcl"),
            ]
        );
        assert_eq!(
            names("UploadPartCopy", &["versionId", "x-amz-acl"]),
            [
                (Source, "s3:GetObjectVersion"),
                (Destination, "s3:PutObject")
            ]
        );
        assert_eq!(
            names("CompleteMultipartUpload", &["If-Match"]),
            [(Destination, "s3:PutObject"), (Destination, "s3:GetObject")]
        );
        assert_eq!(
            names("UploadPartCopy", &["source-kms", "destination-kms"]),
            [
                (Source, "s3:GetObject"),
                (Destination, "s3:PutObject"),
                (Source, "kms:Decrypt"),
                (Destination, "kms:GenerateDataKey"),
                (Destination, "kms:Decrypt"),
            ]
        );
        assert!(names("NoSuchOperation", &[]).is_empty());
    }

    #[test]
    fn resources() {
        let arn = |resource: Resource| resource.arn("b", "a/b c", "arn:aws:kms:r:1:key/k");
        assert_eq!(arn(Resource::Object), "arn:aws:s3:::b/a/b c");
        assert_eq!(arn(Resource::Bucket), "arn:aws:s3:::b");
        assert_eq!(arn(Resource::Key), "arn:aws:kms:r:1:key/k");
        assert_eq!(arn(Resource::Any), "*");
    }
}
