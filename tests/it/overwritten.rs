//! A source that is written again while it is copied in parts: what lands is one object or the other, with its own
//! metadata, tags and annotations, whenever that happens.

use std::time::Duration;

use futures::future::join_all;
use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::{
    BucketSettings, Fault, FaultKind, ObjectProperties, ObjectView, Operation, Versioning, When,
};
use serde_json::json;

use crate::objects::{IN_PARTS, LARGE, sent, sized_manifest};
use crate::resume::{hung, kill, logged};
use crate::support::{DESTINATION, Run, SOURCE, World, message};

const MATCH_SOURCE: [&str; 4] = [
    "--part-size",
    "match-source",
    "--manifest-fields",
    "Bucket,Key,Size,ETag",
];

/// An object that names itself in all that it has. The names of annotations are the same in each.
fn put(world: &World, which: &str, seed: u64, part_bytes: Option<u64>) -> ObjectView {
    let named = || which.to_owned();
    let properties = ObjectProperties {
        content_type: Some(format!("text/{which}")),
        metadata: [("which".to_owned(), named())].into(),
        // Over what a header takes.
        tags: vec![
            ("which".to_owned(), named()),
            ("long".to_owned(), "é".repeat(250)),
        ],
        annotations: ["a", "b"].map(|name| (name.to_owned(), named())).into(),
        part_bytes,
        ..ObjectProperties::default()
    };
    let mut long = properties;
    long.tags
        .extend((0..3).map(|n| (format!("{which} {n}"), "é".repeat(120))));
    let store = world.store();
    store
        .declare_object(SOURCE, "large", LARGE, seed, long)
        .unwrap();
    store.object(SOURCE, "large").unwrap()
}

fn world(versioning: Versioning) -> World {
    let world = World::new();
    let settings = world.store().settings(SOURCE).unwrap();
    let settings = BucketSettings {
        versioning,
        ..settings
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
    world
}

/// Whether the destination has this object, with all that it has.
fn has(world: &World, object: &ObjectView) -> bool {
    let there = world.store().object(DESTINATION, "large").unwrap();
    there.same_content(object)
        && there.content_type() == object.content_type()
        && there.metadata() == object.metadata()
        && there.tags() == object.tags()
        && there.annotations() == object.annotations()
}

/// Runs a job, and writes the source again when a request of this kind has arrived and nothing of it is done: it is
/// held back for longer than that takes on a busy machine, so these jobs run beside each other.
async fn overwritten_at(
    world: &World,
    operation: Operation,
    nth: u64,
    flags: &[&str],
    overwrite: impl FnOnce() -> ObjectView,
) -> (Run, ObjectView) {
    let late = Fault::on(operation, FaultKind::Latency(1500))
        .key("large")
        .when(When::Nth(nth));
    let late = world.sandbox.faults().add(late);
    let mut command = world.copy_command();
    command.args(flags);
    let child = command.spawn().unwrap();
    while late.hits() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let new = overwrite();
    (Run::end_of(child).await, new)
}

const FIRST_HEAD: (Operation, u64) = (Operation::HeadObject, 1);

/// The requests of a copy in parts in their order, and whether the new object lands; else the row fails: the old one's
/// annotations are gone, and those of the new one are not its own.
const MOMENTS: [(Operation, u64, bool); 10] = [
    (Operation::HeadObject, 1, true),
    (Operation::GetObjectTagging, 1, true),
    (Operation::ListObjectAnnotations, 1, true),
    // Whether they may be read; the others are behind the object.
    (Operation::GetObjectAnnotation, 1, true),
    (Operation::CreateMultipartUpload, 1, true),
    (Operation::UploadPartCopy, 1, true),
    (Operation::UploadPartCopy, 3, true),
    (Operation::CompleteMultipartUpload, 1, false),
    (Operation::GetObjectAnnotation, 2, false),
    (Operation::GetObjectAnnotation, 3, false),
];

/// Of a source that is overwritten in place.
async fn overwritten_in_place(versioning: Versioning, moment: (Operation, u64, bool)) {
    let (operation, nth, lands) = moment;
    let world = world(versioning);
    put(&world, "old", 1, None);
    sized_manifest(&world, ["large"]);
    let overwrite = || put(&world, "new", 2, None);
    let (run, new) = overwritten_at(&world, operation, nth, &IN_PARTS, overwrite).await;
    world.assert_no_uploads();
    let row = world.row();
    let told = format!("{versioning:?} {operation:?} {nth}: {row:?}");
    if lands {
        run.expect(0);
    } else {
        run.expect(1);
        assert_eq!(
            (row.status, &*row.error_code),
            (TaskStatus::Failed, "SourceChanged"),
            "{told}"
        );
        world.resume(&[]).await.expect(0);
    }
    assert!(has(&world, &new), "{told}");
    assert_eq!(message(&world.row(), "source_e_tag"), new.e_tag(), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_overwritten_is_never_mixed_with_the_new_one() {
    for versioning in [Versioning::Unversioned, Versioning::Suspended] {
        join_all(MOMENTS.map(|moment| overwritten_in_place(versioning, moment))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_overwritten_lands_as_it_was() {
    let at = |(operation, nth, _)| async move {
        let world = world(Versioning::Enabled);
        let old = put(&world, "old", 1, None);
        sized_manifest(&world, ["large"]);
        let overwrite = || put(&world, "new", 2, None);
        let (run, new) = overwritten_at(&world, operation, nth, &IN_PARTS, overwrite).await;
        run.expect(0);
        let row = world.row();
        // What the HEAD has seen: all that follows names its version.
        let seen = if operation == Operation::HeadObject {
            new
        } else {
            old
        };
        assert!(has(&world, &seen), "{operation:?} {nth}: {row:?}");
        assert_eq!(message(&row, "source_version_id"), seen.version_id);
        assert_eq!(
            sent(&world, Operation::CreateMultipartUpload, "large").len(),
            1
        );
    };
    join_all(MOMENTS.map(at)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_overwritten_lands_in_the_parts_of_the_new_one() {
    let at = |(operation, nth, part_bytes, versioning)| async move {
        let world = world(versioning);
        let old = put(&world, "old", 1, Some(17 << 20));
        // A listed ETag of parts: the row is known to go in parts.
        world.manifest(format!("{SOURCE},large,{LARGE},{}\n", old.e_tag()));
        let overwrite = || put(&world, "new", 2, part_bytes);
        let (run, new) = overwritten_at(&world, operation, nth, &MATCH_SOURCE, overwrite).await;
        run.expect(0);
        let pinned = versioning == Versioning::Enabled && (operation, nth) != FIRST_HEAD;
        let expected = if pinned { old } else { new };
        let told = format!(
            "{operation:?} {nth} {part_bytes:?} {versioning:?}: {:?}",
            world.row()
        );
        assert!(has(&world, &expected), "{told}");
        let there = world.store().object(DESTINATION, "large").unwrap();
        assert_eq!(there.e_tag(), expected.e_tag(), "{told}");
        assert_eq!(there.part_sizes(), expected.part_sizes(), "{told}");
        world.assert_no_uploads();
    };
    // The second HEAD is that of the first part.
    let moments = [
        FIRST_HEAD,
        (Operation::HeadObject, 2),
        (Operation::CreateMultipartUpload, 1),
        (Operation::UploadPartCopy, 3),
    ];
    // In two parts, or whole.
    for part_bytes in [Some(34 << 20), None] {
        for versioning in [Versioning::Unversioned, Versioning::Enabled] {
            join_all(moments.map(|(operation, nth)| at((operation, nth, part_bytes, versioning))))
                .await;
        }
    }
}

/// Kills a job that has all parts but one, writes the source again, and resumes.
async fn resumed(versioning: Versioning, part_bytes: Option<u64>, flags: &[&str]) {
    let world = world(versioning);
    let old = put(&world, "old", 1, part_bytes);
    world.manifest(format!("{SOURCE},large,{LARGE},{}\n", old.e_tag()));
    let last = Fault::on(Operation::UploadPartCopy, FaultKind::Hang).when(When::Nth(3));
    let last = world.sandbox.faults().add(last);
    let mut command = world.copy_command();
    command.args(flags);
    let child = command.spawn().unwrap();
    let part = |entry: &s3haul_sandbox::LogEntry| entry.operation == Operation::UploadPartCopy;
    logged(&world, 3, part).await;
    assert_eq!(
        world
            .sandbox
            .log()
            .entries()
            .iter()
            .filter(|entry| hung(entry))
            .count(),
        1
    );
    kill(child).await;
    last.remove();
    let new = put(&world, "new", 2, part_bytes);
    world.resume(&[]).await.expect(0);
    assert!(has(&world, &new), "{versioning:?} {flags:?}");
    let row = world.row();
    assert_eq!(message(&row, "source_e_tag"), new.e_tag());
    assert_eq!(message(&row, "notes"), json!(null));
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_overwritten_before_a_resume_is_copied_anew() {
    for versioning in [Versioning::Unversioned, Versioning::Enabled] {
        resumed(
            versioning,
            None,
            &[&IN_PARTS[..4], &MATCH_SOURCE[2..]].concat(),
        )
        .await;
        resumed(versioning, Some(17 << 20), &MATCH_SOURCE).await;
    }
}

/// What may be lost is said of the object that was copied, once.
#[tokio::test(flavor = "multi_thread")]
async fn notes_are_of_the_object_that_was_copied() {
    let world = world(Versioning::Unversioned);
    let unreadable = |missing_metadata, seed| {
        let properties = ObjectProperties {
            missing_metadata,
            ..ObjectProperties::default()
        };
        let store = world.store();
        store
            .declare_object(SOURCE, "large", LARGE, seed, properties)
            .unwrap();
        store.object(SOURCE, "large").unwrap()
    };
    unreadable(2, 1);
    sized_manifest(&world, ["large"]);
    let flags = [&IN_PARTS[..], &["--allow-metadata-loss"]].concat();
    let part = Operation::UploadPartCopy;
    let (run, _) = overwritten_at(&world, part, 2, &flags, || unreadable(3, 2)).await;
    run.expect(0);
    let note = "3 metadata entries of the source cannot be read over REST, and were lost, as \
                --allow-metadata-loss allows";
    assert_eq!(message(&world.row(), "notes"), json!([note]));
}
