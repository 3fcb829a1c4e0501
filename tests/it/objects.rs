//! Objects of both paths and their manifests, and what the server's log says of one of them.

use std::fmt::Write as _;

use s3haul::job::manifest::key::encode;
use s3haul_sandbox::{LogEntry, ObjectProperties, ObjectView, Operation};

use crate::support::{DESTINATION, SOURCE, World};

/// Size of an object that goes in three parts under [`IN_PARTS`]: above 16 MiB a part's digests cost the sandbox
/// nothing.
pub(crate) const LARGE: u64 = 51 << 20;
/// The parts of an object of [`LARGE`] bytes.
pub(crate) const PARTS: usize = 3;
/// Flags under which objects of [`LARGE`] bytes go in three parts, for manifests of [`sized_manifest`].
pub(crate) const IN_PARTS: [&str; 6] = [
    "--multipart-threshold",
    "17MiB",
    "--part-size",
    "17MiB",
    "--manifest-fields",
    "Bucket,Key,Size",
];

/// Writes a manifest of objects of the source bucket with their sizes.
pub(crate) fn sized_manifest<S: AsRef<str>>(world: &World, keys: impl IntoIterator<Item = S>) {
    let mut rows = String::new();
    for key in keys {
        let key = key.as_ref();
        let size = world
            .store()
            .object(SOURCE, key)
            .map_or(0, |object| object.size());
        writeln!(rows, "{SOURCE},{},{size}", encode(key)).unwrap();
    }
    world.manifest(rows);
}

/// The requests of an operation for a key, of whichever bucket.
pub(crate) fn sent(world: &World, operation: Operation, key: &str) -> Vec<LogEntry> {
    let mut entries = world.sandbox.log().of(operation);
    entries.retain(|entry| entry.key == key);
    entries
}

/// The HEADs of a key of the destination.
pub(crate) fn looks(world: &World, key: &str) -> usize {
    let heads = sent(world, Operation::HeadObject, key);
    heads
        .iter()
        .filter(|head| head.bucket == DESTINATION)
        .count()
}

/// The lists of uploads of a key.
pub(crate) fn lists(world: &World, key: &str) -> usize {
    let lists = world.sandbox.log().of(Operation::ListMultipartUploads);
    lists
        .iter()
        .filter(|list| list.parameter("prefix") == Some(key))
        .count()
}

/// What can be seen of an object but its bytes and what follows from how they were sent: ETag, parts, the type of
/// the checksum, dates, version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// The ACL among them; no layout.
    pub(crate) properties: ObjectProperties,
    /// Grants, in their order.
    pub(crate) grants: Vec<(&'static str, String)>,
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub(crate) encryption: String,
}

impl Seen {
    /// Of what an object was declared to be, in a bucket that gives SSE-S3.
    pub(crate) fn of(properties: ObjectProperties) -> Self {
        let kms = properties.kms_key_id.is_some();
        let default = || Some("binary/octet-stream".to_owned());
        let mut properties = ObjectProperties {
            content_type: properties.content_type.or_else(default),
            part_bytes: None,
            part_sizes: Vec::new(),
            checksum_type: None,
            ..properties
        };
        properties.tags.sort();
        Self {
            properties,
            grants: Vec::new(),
            encryption: if kms { "aws:kms" } else { "AES256" }.to_owned(),
        }
    }
}

/// Looks at an object.
pub(crate) fn seen(world: &World, bucket: &str, key: &str) -> Seen {
    let object = world.store().object(bucket, key);
    let object = object.unwrap_or_else(|| panic!("no {key:?} in {bucket}"));
    seen_of(&object)
}

/// What is seen of a version.
pub(crate) fn seen_of(object: &ObjectView) -> Seen {
    let acl = object.acl().map(str::to_owned);
    Seen {
        grants: object.grants().to_vec(),
        encryption: object.server_side_encryption().to_owned(),
        ..Seen::of(ObjectProperties {
            acl,
            ..object.properties()
        })
    }
}
