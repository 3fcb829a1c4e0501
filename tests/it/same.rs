//! Same at every size: what an object has besides its bytes lands the same on both paths.

use std::fmt::Write as _;

use s3haul::job::manifest::key::encode;
use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::{
    BucketSettings, ChecksumAlgorithm, ChecksumType, Fault, FaultKind, LogEntry, ObjectOwnership,
    ObjectProperties, Operation, SandboxOptions, Versioning,
};

use crate::objects::{IN_PARTS, LARGE, sent, sized_manifest};
use crate::support::{DESTINATION, Run, SOURCE, World, message};

pub(crate) const PATHS: [&str; 2] = ["small", "large"];

pub(crate) fn put_both(world: &World, which: &str, properties: &ObjectProperties) {
    let store = world.store();
    let (small, large) = (format!("small-{which}"), format!("large-{which}"));
    store
        .put_object(SOURCE, &small, "content", properties)
        .unwrap();
    store
        .declare_object(SOURCE, &large, LARGE, 1, properties)
        .unwrap();
}

/// Copies both of each, and checks that all went, each on its path.
pub(crate) async fn copy_both(world: &World, which: &[&str], flags: &[&str]) {
    let keys: Vec<_> = PATHS
        .iter()
        .flat_map(|path| which.iter().map(move |which| format!("{path}-{which}")))
        .collect();
    sized_manifest(world, &keys);
    world.copy(&[&IN_PARTS, flags].concat()).await.expect(0);
    for (key, row) in world.rows_by_key() {
        assert_eq!(row.status, TaskStatus::Succeeded, "{row:?}");
        let by = if key.starts_with("large") {
            "multipart"
        } else {
            "copy"
        };
        assert_eq!(message(&row, "by"), by);
        world.assert_copied(&key);
    }
    world.assert_no_uploads();
}

/// What is at the destination, without what follows from the path or from who copies.
fn carried(world: &World, bucket: &str, key: &str) -> ObjectProperties {
    let properties = world.store().object(bucket, key).unwrap().properties();
    let default = || Some("binary/octet-stream".to_owned());
    ObjectProperties {
        content_type: properties.content_type.or_else(default),
        owner: None,
        part_bytes: None,
        ..properties
    }
}

pub(crate) fn tags(count: usize, length: usize) -> Vec<(String, String)> {
    let tag = |n: usize| (format!("tag {n}"), format!("{n}{}", "é".repeat(length)));
    (0..count).map(tag).collect()
}

pub(crate) fn everything() -> ObjectProperties {
    let metadata = [
        ("plain", "a value"),
        ("with-dash", "100 %, a+b & c=d"),
        ("n", "1"),
    ];
    ObjectProperties {
        content_type: Some("text/html; charset=utf-8".to_owned()),
        cache_control: Some("max-age=60, public".to_owned()),
        content_disposition: Some("attachment; filename=\"a b.txt\"".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        content_language: Some("de-CH".to_owned()),
        expires: Some("Thu, 01 Dec 2033 16:00:00 GMT".to_owned()),
        metadata: metadata
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        tags: tags(3, 5),
        checksum_algorithm: Some(ChecksumAlgorithm::Crc32),
        ..ObjectProperties::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_tags_land_on_both_paths() {
    let world = World::new();
    let bare = ObjectProperties::default();
    let long = ObjectProperties {
        tags: tags(10, 120),
        ..ObjectProperties::default()
    };
    let all = [("all", everything()), ("bare", bare), ("long", long)];
    for (which, properties) in &all {
        put_both(&world, which, properties);
    }
    copy_both(&world, &["all", "bare", "long"], &[]).await;
    for (which, properties) in all {
        for path in PATHS {
            let key = format!("{path}-{which}");
            let there = carried(&world, DESTINATION, &key);
            assert_eq!(there, carried(&world, SOURCE, &key), "{key}");
            assert_eq!(there.tags, properties.tags);
            assert_eq!(there.metadata, properties.metadata);
        }
    }
    // Tags go with the object where they fit into its header, and behind it where they do not.
    let create = |key| sent(&world, Operation::CreateMultipartUpload, key).remove(0);
    assert!(create("large-all").header("x-amz-tagging").is_some());
    assert_eq!(create("large-long").header("x-amz-tagging"), None);
    assert_eq!(create("large-bare").header("x-amz-tagging"), None);
    assert_eq!(
        sent(&world, Operation::PutObjectTagging, "large-long").len(),
        1
    );
    assert_eq!(world.sandbox.log().count(Operation::PutObjectTagging), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checksum_algorithm_lands_on_both_paths() {
    let world = World::new();
    let names: Vec<_> = ChecksumAlgorithm::ALL
        .iter()
        .map(|algorithm| algorithm.as_str())
        .collect();
    for (algorithm, name) in ChecksumAlgorithm::ALL.into_iter().zip(&names) {
        let checksum_algorithm = Some(algorithm);
        put_both(
            &world,
            name,
            &ObjectProperties {
                checksum_algorithm,
                ..everything()
            },
        );
    }
    copy_both(&world, &names, &[]).await;
    for (algorithm, name) in ChecksumAlgorithm::ALL.into_iter().zip(&names) {
        for path in PATHS {
            let there = world
                .store()
                .object(DESTINATION, &format!("{path}-{name}"))
                .unwrap();
            assert_eq!(there.checksum_algorithm(), algorithm);
            let sha = matches!(
                algorithm,
                ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256
            );
            // The one thing that follows from the path: SHA sums of parts cannot be joined.
            let composite = sha && path == "large";
            let kind = if composite {
                ChecksumType::Composite
            } else {
                ChecksumType::FullObject
            };
            assert_eq!(there.checksum_type(), kind, "{path}-{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_acl_goes_with_the_requests_that_make_objects() {
    for (flags, acl) in [
        (&[][..], Some("bucket-owner-full-control")),
        (&["--acl", "private"], Some("private")),
        (&["--acl", "none"], None),
    ] {
        let ownership = Some(ObjectOwnership::ObjectWriter);
        let with_acls = BucketSettings {
            ownership,
            ..BucketSettings::default()
        };
        let world = World::with(SandboxOptions::default(), with_acls);
        put_both(&world, "acl", &ObjectProperties::default());
        copy_both(&world, &["acl"], flags).await;
        for entry in world.sandbox.log().entries() {
            let makes = matches!(
                entry.operation,
                Operation::CopyObject | Operation::CreateMultipartUpload
            );
            let expected = acl.filter(|_| makes);
            assert_eq!(entry.header("x-amz-acl"), expected, "{entry:?}");
        }
        for path in PATHS {
            let there = world
                .store()
                .object(DESTINATION, &format!("{path}-acl"))
                .unwrap();
            assert_eq!(there.acl(), acl);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_named_to_every_request_of_their_side() {
    use s3haul_sandbox::iam::{DESTINATION_ACCOUNT, SOURCE_ACCOUNT};
    let world = World::new();
    put_both(&world, "owned", &everything());
    let long = ObjectProperties {
        tags: tags(10, 120),
        ..ObjectProperties::default()
    };
    put_both(&world, "long", &long);
    copy_both(
        &world,
        &["owned", "long"],
        &["--source-account", SOURCE_ACCOUNT],
    )
    .await;
    let of_objects = |entry: &LogEntry| !entry.key.is_empty();
    for entry in world.sandbox.log().entries().into_iter().filter(of_objects) {
        let owner = if entry.bucket == SOURCE {
            SOURCE_ACCOUNT
        } else {
            DESTINATION_ACCOUNT
        };
        let expected = entry.header("x-amz-expected-bucket-owner");
        assert_eq!(expected, Some(owner), "{entry:?}");
        let of_copy = entry.header("x-amz-copy-source").map(|_| SOURCE_ACCOUNT);
        assert_eq!(
            entry.header("x-amz-source-expected-bucket-owner"),
            of_copy,
            "{entry:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sources_part_size_gives_its_e_tag() {
    let world = World::new();
    let store = world.store();
    let mib = 1 << 20;
    // Key, size, part size of the source.
    let objects = [
        ("equal-parts", 51 * mib, Some(17 * mib)),
        ("a-rest", 60 * mib + 1, Some(17 * mib)),
        ("odd-parts", 70 * mib, Some(17 * mib + 12_345)),
        ("one-part", 3 * mib, Some(5 * mib)),
        ("two-parts", 12 * mib, Some(6 * mib)),
        ("whole", 3 * mib, None),
    ];
    let mut rows = String::new();
    for (key, size, part_bytes) in objects {
        let properties = ObjectProperties {
            part_bytes,
            ..everything()
        };
        store
            .declare_object(SOURCE, key, size, 3, properties)
            .unwrap();
        let e_tag = store.object(SOURCE, key).unwrap().e_tag();
        writeln!(rows, "{SOURCE},{},{size},{e_tag}", encode(key)).unwrap();
    }
    world.manifest(rows);
    let flags = [
        "--part-size",
        "match-source",
        "--manifest-fields",
        "Bucket,Key,Size,ETag",
    ];
    world.copy(&flags).await.expect(0);
    for (key, _, part_bytes) in objects {
        world.assert_copied(key);
        let (source, there) = (store.object(SOURCE, key), store.object(DESTINATION, key));
        let (source, there) = (source.unwrap(), there.unwrap());
        assert_eq!(there.e_tag(), source.e_tag(), "{key}");
        assert_eq!(there.part_sizes(), source.part_sizes(), "{key}");
        let row = &world.rows_by_key()[key];
        assert_eq!(message(row, "e_tag"), source.e_tag());
        let by = if part_bytes.is_some() {
            "multipart"
        } else {
            "copy"
        };
        assert_eq!(message(row, "by"), by);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_cannot_be_read_fail_the_row() {
    let world = World::new();
    put_both(&world, "k", &everything());
    sized_manifest(&world, ["small-k", "large-k"]);
    let refused = FaultKind::Error {
        status: 403,
        code: "AccessDenied".to_owned(),
        message: String::new(),
        retry_after: None,
    };
    let refused = Fault::on(Operation::GetObjectTagging, refused);
    world.sandbox.faults().add(refused);
    world.copy(&IN_PARTS).await.expect(1);
    let row = &world.rows_by_key()["large-k"];
    assert_eq!(
        (row.status, row.error_code.as_str()),
        (TaskStatus::Failed, "AccessDenied")
    );
    assert_eq!(message(row, "operation"), "GetObjectTagging");
    assert!(sent(&world, Operation::CreateMultipartUpload, "large-k").is_empty());
}

/// A versioned world with a large object of long tags, and how its job is begun.
fn long_tags() -> World {
    let versioning = Versioning::Enabled;
    let versioned = BucketSettings {
        versioning,
        ..BucketSettings::default()
    };
    let world = World::with(SandboxOptions::default(), versioned);
    let properties = ObjectProperties {
        tags: tags(10, 120),
        ..everything()
    };
    world
        .store()
        .declare_object(SOURCE, "large", LARGE, 1, properties)
        .unwrap();
    world.put("small", "content");
    sized_manifest(&world, ["small", "large"]);
    world
}

fn assert_tagged(world: &World) {
    let versions = world.store().versions(DESTINATION);
    let large: Vec<_> = versions
        .iter()
        .filter(|version| version.key == "large")
        .collect();
    let objects: Vec<_> = large
        .iter()
        .filter_map(|version| version.object.as_ref())
        .collect();
    assert_eq!(objects[0].tags(), tags(10, 120));
    assert_eq!(world.rows_by_key()["large"].status, TaskStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_tags_are_not_lost_by_a_crash() {
    for overwrite in ["always", "never"] {
        let world = long_tags();
        let hang = Fault::on(Operation::PutObjectTagging, FaultKind::Hang);
        world.sandbox.faults().add(hang);
        let mut command = world.copy_command();
        command.args(IN_PARTS).args(["--overwrite", overwrite]);
        let mut child = command.spawn().unwrap();
        let hung = |entry: &LogEntry| entry.operation == Operation::PutObjectTagging;
        world
            .sandbox
            .log()
            .wait_until(|entries| entries.iter().any(hung))
            .await;
        child.kill().await.unwrap();
        world.sandbox.faults().clear();
        world.resume(&[]).await.expect(0);
        assert_tagged(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_tags_are_not_lost_by_a_failure() {
    for overwrite in ["always", "never", "if-different"] {
        let world = long_tags();
        let failing = Fault::on(Operation::PutObjectTagging, FaultKind::internal_error());
        let failing = world.sandbox.faults().add(failing);
        let mut command = world.copy_command();
        command
            .args(IN_PARTS)
            .args(["--overwrite", overwrite, "--max-attempts", "2"]);
        Run::of(command).await.expect(1);
        let row = &world.rows_by_key()["large"];
        assert_eq!(
            (row.status, row.error_code.as_str()),
            (TaskStatus::Failed, "InternalError")
        );
        assert!(message(row, "hint").as_str().unwrap().contains("tags"));
        failing.remove();
        world.resume(&[]).await.expect(0);
        assert_tagged(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_cannot_be_read_fails_the_row() {
    let world = World::new();
    let properties = ObjectProperties {
        missing_metadata: 2,
        ..everything()
    };
    put_both(&world, "k", &properties);
    sized_manifest(&world, ["small-k", "large-k"]);
    world.copy(&IN_PARTS).await.expect(1);
    let rows = world.rows_by_key();
    assert_eq!(rows["small-k"].status, TaskStatus::Succeeded);
    assert_eq!(rows["large-k"].error_code, "MetadataNotReadable");
    assert!(sent(&world, Operation::CreateMultipartUpload, "large-k").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lock_is_asked_for_that_no_flag_names() {
    let world = World::new();
    put_both(&world, "k", &everything());
    copy_both(&world, &["k"], &[]).await;
    let makes = [Operation::CopyObject, Operation::CreateMultipartUpload];
    let entries = world.sandbox.log().entries();
    let made: Vec<_> = entries
        .iter()
        .filter(|entry| makes.contains(&entry.operation))
        .collect();
    assert_eq!(made.len(), 2);
    for entry in made {
        for name in [
            "mode",
            "retain-until-date",
            "legal-hold",
            "event-hold",
            "event-hold-duration-days",
        ] {
            let header = format!("x-amz-object-lock-{name}");
            assert_eq!(entry.header(&header), None, "{entry:?}");
        }
    }
}
