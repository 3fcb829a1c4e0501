//! What an attempt left undone is made up for: a copy that stands without its tags, an upload that was
//! begun for an object which looks different by now.

use s3haul_sandbox::{Fault, FaultKind, LogEntry, ObjectProperties, Operation};

use crate::both::{allow_source, assert_succeeded, fail, key, keys, notes, put};
use crate::objects::{IN_PARTS, LARGE, sent, sized_manifest};
use crate::support::{DESTINATION, SOURCE, World};

fn tags(count: usize, length: usize) -> Vec<(String, String)> {
    let tag = |n| (format!("tag {n}"), "é".repeat(length));
    (0..count).map(tag).collect()
}

fn declare(world: &World, key: &str, properties: ObjectProperties) {
    let store = world.store();
    store
        .declare_object(SOURCE, key, LARGE, 1, properties)
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_begun_again_for_an_object_that_looks_different_by_now() {
    let looks = |length, count, note: &str| ObjectProperties {
        tags: tags(count, length),
        metadata: [("note".to_owned(), note.to_owned())].into(),
        ..ObjectProperties::default()
    };
    // Longer than a header takes, and short; and back; other metadata; the same.
    for (before, after, again) in [
        (looks(120, 10, "a"), looks(1, 1, "a"), true),
        (looks(1, 1, "a"), looks(120, 10, "a"), true),
        (looks(1, 2, "a"), looks(1, 1, "a"), true),
        (looks(1, 1, "a"), looks(1, 1, "b"), true),
        (looks(120, 10, "a"), looks(120, 9, "a"), false),
        (looks(1, 1, "a"), looks(1, 1, "a"), false),
    ] {
        let world = World::new();
        declare(&world, "k", before);
        sized_manifest(&world, ["k"]);
        let complete = Operation::CompleteMultipartUpload;
        let hang = world
            .sandbox
            .faults()
            .add(Fault::on(complete, FaultKind::Hang));
        let mut command = world.copy_command();
        command.args(IN_PARTS);
        let mut child = command.spawn().unwrap();
        let hung = |entry: &LogEntry| entry.operation == complete;
        let log = world.sandbox.log();
        log.wait_until(|entries| entries.iter().any(hung)).await;
        child.kill().await.unwrap();
        hang.remove();
        // The same bytes and the same ETag.
        declare(&world, "k", after.clone());
        world.resume(&[]).await.expect(0);
        let creates = sent(&world, Operation::CreateMultipartUpload, "k").len();
        assert_eq!(creates, 1 + usize::from(again));
        let there = world.store().object(DESTINATION, "k").unwrap();
        assert_eq!(there.tags(), after.tags);
        assert_eq!(there.properties().metadata, after.metadata);
        world.assert_copied("k");
        world.assert_no_uploads();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_parts_that_the_other_lane_finds_gets_its_tags() {
    let world = World::new();
    let properties = ObjectProperties {
        tags: tags(10, 120),
        annotations: [("a".to_owned(), "b".to_owned())].into(),
        part_bytes: Some(17 << 20),
        ..ObjectProperties::default()
    };
    declare(&world, "k", properties.clone());
    // Neither size nor ETag are listed: the row begins in the lane of small ones.
    world.manifest_of(["k"]);
    let refused = |operation| {
        let kind = FaultKind::Error {
            status: 403,
            code: "AccessDenied".to_owned(),
            message: String::new(),
            retry_after: None,
        };
        world.sandbox.faults().add(Fault::on(operation, kind))
    };
    let refused = refused(Operation::PutObjectTagging);
    let flags = ["--part-size", "match-source", "--overwrite", "if-different"];
    world.copy(&flags).await.expect(1);
    refused.remove();
    world.resume(&[]).await.expect(0);
    let there = world.store().object(DESTINATION, "k").unwrap();
    assert_eq!(there.tags(), properties.tags);
    assert_eq!(there.annotations(), properties.annotations);
    assert_eq!(sent(&world, Operation::CreateMultipartUpload, "k").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_archived_stands_though_it_cannot_be_read() {
    use s3haul_sandbox::{RestoreState, StorageClass};
    for fate in ["fail", "skip", "restore"] {
        let world = World::new();
        allow_source(&world, &["s3:RestoreObject"]);
        let restored = ObjectProperties {
            storage_class: StorageClass::Glacier,
            restore: RestoreState::Done { days: 3 },
            ..ObjectProperties::default()
        };
        put(&world, "k", &restored);
        sized_manifest(&world, keys(&["k"]));
        let flags = [
            "--storage-class",
            "preserve",
            "--verify",
            "full",
            "--archived",
            fate,
        ];
        world
            .copy(&[&IN_PARTS[..], &flags].concat())
            .await
            .expect(0);
        let rows = world.rows_by_key();
        for path in ["small", "large"] {
            let row = &rows[&key(path, "k")];
            // The HEAD that tells the class shows the checksum of S3's answer.
            assert_succeeded(row, "checksum");
            assert!(notes(row, "the copy is archived"), "{row:?}");
            world.assert_copied(&key(path, "k"));
        }
        assert_eq!(world.sandbox.log().count(Operation::RestoreObject), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compared_under_a_customers_key_is_copied() {
    let world = World::new();
    put(&world, "k", &ObjectProperties::default());
    let store = world.store();
    for path in ["small", "large"] {
        let (name, plain) = (key(path, "k"), ObjectProperties::default());
        store
            .put_object(DESTINATION, &name, "other", plain)
            .unwrap();
    }
    sized_manifest(&world, keys(&["k"]));
    let file = world.path("key");
    std::fs::write(&file, [7; 32]).unwrap();
    let file = file.to_str().unwrap();
    let flags = ["--sse-c-key-file", file, "--overwrite", "if-different"];
    world
        .copy(&[&IN_PARTS[..], &flags].concat())
        .await
        .expect(0);
    for (name, row) in world.rows_by_key() {
        assert!(notes(&row, "could not be compared"), "{row:?}");
        world.assert_copied(&name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_of_what_goes_behind_a_copy_does_not_say_that_nothing_was_copied() {
    let world = World::new();
    declare(
        &world,
        "k",
        ObjectProperties {
            tags: tags(10, 120),
            ..ObjectProperties::default()
        },
    );
    sized_manifest(&world, ["k"]);
    fail(&world, Operation::PutObjectTagging, "k", 404, "NoSuchKey");
    world.copy(&IN_PARTS).await.expect(1);
    let row = &world.rows_by_key()["k"];
    let hint = crate::support::message(row, "hint");
    let hint = hint.as_str().unwrap();
    assert!(hint.contains("without its tags"), "{hint}");
    assert!(!hint.contains("nothing was copied"), "{hint}");
}
