//! Rows of both paths: of each object one that goes by CopyObject, and one that goes in parts.

use std::fmt::Write as _;

use s3haul::job::manifest::key::encode;
use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::iam::{COPY_ROLE, Policy, Role, Statement};
use s3haul_sandbox::{
    AccountsFile, BucketSettings, Fault, FaultKind, ObjectProperties, Operation, SandboxOptions,
};
use serde_json::Value;

use crate::objects::{IN_PARTS, LARGE, sized_manifest};
use crate::support::{DESTINATION, Run, SOURCE, World, message, source_policy};

pub(crate) const PATHS: [&str; 2] = ["small", "large"];

pub(crate) fn key(path: &str, which: &str) -> String {
    format!("{path}-{which}")
}

/// The keys of both paths.
pub(crate) fn keys(which: &[&str]) -> Vec<String> {
    let of = |which: &&str| PATHS.map(|path| key(path, which));
    which.iter().flat_map(of).collect()
}

/// Puts an object for each path into the source bucket.
pub(crate) fn put(world: &World, which: &str, properties: &ObjectProperties) {
    let store = world.store();
    store
        .put_object(SOURCE, &key("small", which), "content", properties)
        .unwrap();
    store
        .declare_object(SOURCE, &key("large", which), LARGE, 1, properties)
        .unwrap();
}

/// Writes a manifest of keys with sizes and ETags.
pub(crate) fn listed(world: &World, keys: &[String]) {
    let mut rows = String::new();
    for key in keys {
        let object = world.store().object(SOURCE, key).unwrap();
        let (size, e_tag) = (object.size(), object.e_tag());
        writeln!(rows, "{SOURCE},{},{size},{e_tag}", encode(key)).unwrap();
    }
    world.manifest(rows);
}

/// Copies objects of these names by both paths.
pub(crate) async fn copy(world: &World, which: &[&str], flags: &[&str]) -> Run {
    sized_manifest(world, keys(which));
    world.copy(&[&IN_PARTS, flags].concat()).await
}

/// The requests for a key in the order of their ends, as `operation bucket`.
pub(crate) fn course(world: &World, key: &str) -> Vec<String> {
    let entries = world.sandbox.log().entries();
    let of_key = entries.into_iter().filter(|entry| entry.key == key);
    of_key
        .map(|entry| format!("{} {}", entry.operation.as_str(), entry.bucket))
        .collect()
}

/// How many requests of an operation for a key one bucket got.
pub(crate) fn asked(world: &World, operation: Operation, bucket: &str, key: &str) -> usize {
    let entries = world.sandbox.log().of(operation);
    entries
        .iter()
        .filter(|entry| entry.bucket == bucket && entry.key == key)
        .count()
}

/// The source's policy with further actions for the role.
pub(crate) fn allow_source(world: &World, actions: &[&str]) {
    let actions: Vec<_> = actions
        .iter()
        .map(|action| format!("\"{action}\", "))
        .collect();
    let first = "\"s3:GetObject\",";
    let more = format!("{}{first}", actions.concat());
    let policy = source_policy().replace(first, &more);
    world
        .store()
        .set_bucket_policy(SOURCE, Some(&policy))
        .unwrap();
}

/// A world whose role is refused some actions on a bucket's objects.
pub(crate) fn refused_role(actions: &[&str], bucket: &str) -> World {
    let mut accounts = AccountsFile::built_in();
    let roles = accounts
        .accounts
        .iter_mut()
        .flat_map(|account| &mut account.roles);
    let deny = Statement::deny(actions, &[&format!("arn:aws:s3:::{bucket}/*")]);
    for role in roles.filter(|role: &&mut Role| role.name == COPY_ROLE) {
        role.policies.push(Policy::new(vec![deny.clone()]));
    }
    let options = SandboxOptions {
        accounts,
        ..SandboxOptions::default()
    };
    World::with(options, BucketSettings::default())
}

/// Has requests of an operation for a key answered with an error.
pub(crate) fn fail(world: &World, operation: Operation, key: &str, status: u16, code: &str) {
    let kind = FaultKind::Error {
        status,
        code: code.to_owned(),
        message: String::new(),
        retry_after: None,
    };
    world
        .sandbox
        .faults()
        .add(Fault::on(operation, kind).key(key));
}

#[track_caller]
pub(crate) fn assert_succeeded(row: &ReportRow, evidence: &str) {
    assert_eq!(row.status, TaskStatus::Succeeded, "{row:?}");
    assert_eq!(message(row, "evidence"), evidence, "{row:?}");
}

/// The row failed with this code, and its hint has all of these words.
#[track_caller]
pub(crate) fn assert_failed(row: &ReportRow, code: &str, words: &[&str]) {
    let ended = (row.status, row.error_code.as_str());
    assert_eq!(ended, (TaskStatus::Failed, code), "{row:?}");
    let hint = message(row, "hint");
    for word in words {
        let said = hint.as_str().is_some_and(|hint| hint.contains(word));
        assert!(said, "{word:?}: {row:?}");
    }
}

#[track_caller]
pub(crate) fn assert_skipped(row: &ReportRow, code: &str) {
    let ended = (row.status, row.error_code.as_str());
    assert_eq!(ended, (TaskStatus::Skipped, code), "{row:?}");
}

/// Whether one of the row's notes has these words.
pub(crate) fn notes(row: &ReportRow, words: &str) -> bool {
    match message(row, "notes") {
        Value::Array(notes) => notes
            .iter()
            .any(|note| note.as_str().is_some_and(|note| note.contains(words))),
        _ => false,
    }
}

/// All of them are at the destination with the source's bytes, and no upload is left.
#[track_caller]
pub(crate) fn assert_all_copied(world: &World, keys: &[String]) {
    for key in keys {
        world.assert_copied(key);
    }
    assert_eq!(world.store().uploads(DESTINATION), []);
}
