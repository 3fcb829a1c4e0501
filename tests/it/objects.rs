//! Objects of both paths and their manifests, and what the server's log says of one of them.

use std::fmt::Write as _;

use s3haul::job::manifest::key::encode;
use s3haul_sandbox::{LogEntry, Operation};

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
