//! In doubt is a state: what the destination and the source say settles it, and nothing is guessed.

use std::fmt::Write as _;
use std::time::Duration;

use s3haul::job::manifest::key::encode;
use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::{
    BucketSettings, ChecksumAlgorithm, Fault, FaultKind, LogEntry, ObjectProperties, Operation,
    SandboxOptions, Versioning, When,
};
use serde_json::json;

use crate::guards::error;
use crate::objects::{IN_PARTS, LARGE, PARTS, sent, sized_manifest};
use crate::support::{DESTINATION, Run, SOURCE, World, message};

/// A world with one small and one large object, whose destination keeps versions: each write shows.
fn world() -> World {
    let versioned = BucketSettings {
        versioning: Versioning::Enabled,
        ..BucketSettings::default()
    };
    let world = World::with(SandboxOptions::default(), versioned);
    world.put("small", "content");
    world.declare("large", LARGE);
    sized_manifest(&world, ["small", "large"]);
    world
}

fn fault(world: &World, operation: Operation, key: &str, kind: FaultKind, when: When) {
    let fault = Fault::on(operation, kind).key(key).when(when);
    world.sandbox.faults().add(fault);
}

async fn copy(world: &World, overwrite: &str, more: &[&str]) -> Run {
    let mut flags = IN_PARTS.to_vec();
    flags.extend(["--overwrite", overwrite, "--max-attempts", "4"]);
    flags.extend(more);
    world.copy(&flags).await
}

fn put_there(world: &World, key: &str, content: &'static str) {
    let properties = ObjectProperties::default();
    world
        .store()
        .put_object(DESTINATION, key, content, properties)
        .unwrap();
}

fn declare_there(world: &World, key: &str, seed: u64, properties: ObjectProperties) {
    world
        .store()
        .declare_object(DESTINATION, key, LARGE, seed, properties)
        .unwrap();
}

/// Waits until what is at the destination is older than any job to come: S3's times have whole seconds.
async fn next_second() {
    let now = time::OffsetDateTime::now_utc();
    let left = 1_000_000_000 - u64::from(now.nanosecond());
    tokio::time::sleep(Duration::from_nanos(left) + Duration::from_millis(20)).await;
}

fn versions(world: &World, key: &str) -> usize {
    let versions = world.store().versions(DESTINATION);
    versions.iter().filter(|version| version.key == key).count()
}

/// The operations of a key's requests in the order of their ends.
fn course(world: &World, key: &str) -> Vec<(Operation, String)> {
    let entries = world.sandbox.log().entries();
    let of_key = entries.into_iter().filter(|entry| entry.key == key);
    of_key
        .map(|entry| (entry.operation, entry.bucket))
        .collect()
}

fn assert_evidence(row: &ReportRow, evidence: &str) {
    assert_eq!(row.status, TaskStatus::Succeeded, "{row:?}");
    assert_eq!(message(row, "evidence"), evidence, "{row:?}");
    let in_doubt = if evidence == "found" {
        json!(true)
    } else {
        json!(null)
    };
    assert_eq!(message(row, "in_doubt"), in_doubt, "{row:?}");
}

fn assert_skipped(row: &ReportRow, code: &str) {
    assert_eq!(
        (row.status, row.error_code.as_str()),
        (TaskStatus::Skipped, code),
        "{row:?}"
    );
}

fn assert_failed(row: &ReportRow, code: &str) {
    assert_eq!(
        (row.status, row.error_code.as_str()),
        (TaskStatus::Failed, code),
        "{row:?}"
    );
}

/// Kinds whose work is done and whose answer does not say so.
fn done_in_doubt() -> [FaultKind; 4] {
    [
        FaultKind::AnswerLost,
        FaultKind::CutBody,
        FaultKind::EmptyETag,
        FaultKind::ErrorInOkAfterWork("InternalError".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_copy_object_is_sent_again_under_always() {
    for kind in done_in_doubt() {
        let world = world();
        fault(&world, Operation::CopyObject, "small", kind, When::First(1));
        let run = copy(&world, "always", &[]).await;
        run.expect(0);
        let there = DESTINATION.to_owned();
        let copied = (Operation::CopyObject, there);
        assert_eq!(course(&world, "small"), [copied.clone(), copied]);
        assert_eq!(versions(&world, "small"), 2);
        // What was written twice is counted.
        let row = &world.rows_by_key()["small"];
        assert_eq!(row.status, TaskStatus::Succeeded, "{row:?}");
        assert_eq!(message(row, "evidence"), "response", "{row:?}");
        assert_eq!(message(row, "in_doubt"), true, "{row:?}");
        assert_eq!(run.summary("in_doubt"), 1);
        world.assert_copied("small");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_copy_object_is_looked_for_under_never() {
    for kind in done_in_doubt() {
        let world = world();
        fault(&world, Operation::CopyObject, "small", kind, When::First(1));
        let run = copy(&world, "never", &[]).await;
        run.expect(0);
        let on = |operation, bucket: &str| (operation, bucket.to_owned());
        let looked = [
            on(Operation::CopyObject, DESTINATION),
            on(Operation::HeadObject, DESTINATION),
            on(Operation::HeadObject, SOURCE),
        ];
        assert_eq!(course(&world, "small"), looked);
        assert_eq!(versions(&world, "small"), 1);
        assert_evidence(&world.rows_by_key()["small"], "found");
        assert_eq!(run.summary("evidence"), json!({"found": 1, "checksum": 1}));
        assert_eq!(run.summary("in_doubt"), 1);
        world.assert_copied("small");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_complete_is_looked_for() {
    for overwrite in ["always", "never"] {
        for kind in done_in_doubt() {
            let world = world();
            let complete = Operation::CompleteMultipartUpload;
            fault(&world, complete, "large", kind, When::First(1));
            copy(&world, overwrite, &[]).await.expect(0);
            assert_eq!(sent(&world, complete, "large").len(), 1);
            assert_eq!(
                sent(&world, Operation::UploadPartCopy, "large").len(),
                PARTS
            );
            assert_eq!(versions(&world, "large"), 1);
            let row = &world.rows_by_key()["large"];
            assert_evidence(row, "found");
            let there = world.store().object(DESTINATION, "large").unwrap();
            assert_eq!(message(row, "e_tag"), there.e_tag());
            assert_eq!(message(row, "version_id"), there.version_id);
            assert_eq!(message(row, "parts"), PARTS);
            world.assert_copied("large");
            world.assert_no_uploads();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_such_upload_after_our_complete_is_looked_for() {
    let world = world();
    // "Slow down" sends it again, though it was done.
    let kind = FaultKind::ErrorInOkAfterWork("SlowDown".to_owned());
    let complete = Operation::CompleteMultipartUpload;
    fault(&world, complete, "large", kind, When::First(1));
    copy(&world, "never", &[]).await.expect(0);
    let completes = sent(&world, complete, "large");
    assert_eq!(completes.len(), 2);
    assert_eq!(completes[1].error_code.as_deref(), Some("NoSuchUpload"));
    assert_eq!(
        sent(&world, Operation::CreateMultipartUpload, "large").len(),
        1
    );
    assert_eq!(versions(&world, "large"), 1);
    assert_evidence(&world.rows_by_key()["large"], "found");
    world.assert_copied("large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_on_complete_begins_the_upload_again() {
    let world = world();
    let kind = FaultKind::Error {
        status: 409,
        code: "ConditionalRequestConflict".to_owned(),
        message: String::new(),
        retry_after: None,
    };
    let complete = Operation::CompleteMultipartUpload;
    fault(&world, complete, "large", kind, When::First(1));
    copy(&world, "never", &[]).await.expect(0);
    assert_eq!(
        sent(&world, Operation::CreateMultipartUpload, "large").len(),
        2
    );
    assert_eq!(
        sent(&world, Operation::UploadPartCopy, "large").len(),
        2 * PARTS
    );
    let completes = sent(&world, complete, "large");
    assert_eq!(completes.len(), 2);
    assert_ne!(
        completes[0].parameter("uploadId"),
        completes[1].parameter("uploadId")
    );
    assert_evidence(&world.rows_by_key()["large"], "checksum");
    world.assert_copied("large");
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_the_job_is_not_taken_for_ours() {
    let world = world();
    put_there(&world, "small", "content");
    declare_there(&world, "large", 1, ObjectProperties::default());
    next_second().await;
    for (operation, key) in [
        (Operation::CopyObject, "small"),
        (Operation::CompleteMultipartUpload, "large"),
    ] {
        fault(&world, operation, key, FaultKind::Reset, When::Every);
    }
    copy(&world, "always", &[]).await.expect(1);
    for key in ["small", "large"] {
        assert_failed(&world.rows_by_key()[key], "AnswerLost");
        assert_eq!(versions(&world, key), 1);
    }
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_refusal_is_an_object_that_was_there() {
    let world = world();
    put_there(&world, "small", "of another");
    declare_there(&world, "large", 2, ObjectProperties::default());
    let run = copy(&world, "never", &[]).await;
    run.expect(0);
    assert_eq!(run.summary("skipped"), 2);
    for key in ["small", "large"] {
        assert_skipped(&world.rows_by_key()[key], "DestinationExists");
        assert_eq!(versions(&world, key), 1);
    }
    let copies = sent(&world, Operation::CopyObject, "small");
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].status, Some(412));
    // Terabytes are not copied to learn at the end that they were not wanted.
    assert!(sent(&world, Operation::CreateMultipartUpload, "large").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_comes_during_a_multipart_copy_stays() {
    let world = world();
    fault(
        &world,
        Operation::UploadPartCopy,
        "large",
        FaultKind::Latency(300),
        When::Nth(2),
    );
    let mut command = world.copy_command();
    command.args(IN_PARTS).args(["--overwrite", "never"]);
    let child = command.spawn().unwrap();
    let log = world.sandbox.log();
    let part = |entry: &LogEntry| entry.operation == Operation::UploadPartCopy;
    log.wait_until(|entries| entries.iter().any(part)).await;
    declare_there(&world, "large", 2, ObjectProperties::default());
    Run::end_of(child).await.expect(0);
    assert_skipped(&world.rows_by_key()["large"], "DestinationExists");
    let completes = sent(&world, Operation::CompleteMultipartUpload, "large");
    assert_eq!(completes.len(), 1);
    assert_eq!(completes[0].status, Some(412));
    assert_eq!(versions(&world, "large"), 1);
    world.assert_no_uploads();
}

/// Runs a job whose first write of each row is in doubt and not done, and its second one late: another's objects
/// come between.
async fn refused_after_doubt(world: &World, small: &'static str, large: ObjectProperties) {
    for (operation, key) in [
        (Operation::CopyObject, "small"),
        (Operation::CompleteMultipartUpload, "large"),
    ] {
        fault(world, operation, key, FaultKind::Reset, When::First(1));
        fault(world, operation, key, FaultKind::Latency(400), When::Nth(2));
    }
    let mut command = world.copy_command();
    command.args(IN_PARTS).args(["--overwrite", "never"]);
    let child = command.spawn().unwrap();
    let log = world.sandbox.log();
    let lost = |operation| move |entry: &LogEntry| entry.operation == operation;
    let copy = lost(Operation::CopyObject);
    log.wait_until(|entries| entries.iter().any(copy)).await;
    put_there(world, "small", small);
    let complete = lost(Operation::CompleteMultipartUpload);
    log.wait_until(|entries| entries.iter().any(complete)).await;
    declare_there(world, "large", 2, large);
    Run::end_of(child).await.expect(1);
    world.assert_no_uploads();
    for (key, operation) in [
        ("small", Operation::CopyObject),
        ("large", Operation::CompleteMultipartUpload),
    ] {
        assert_failed(&world.rows_by_key()[key], "DestinationConflict");
        let writes = sent(world, operation, key);
        let statuses: Vec<_> = writes.iter().map(|write| write.status).collect();
        assert_eq!(statuses, [None, Some(412)], "{key}");
        assert_eq!(versions(world, key), 1);
    }
    let there = world.store().object(DESTINATION, "small").unwrap();
    assert_eq!(there.bytes(), small.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_after_doubt_with_anothers_object_is_a_conflict() {
    refused_after_doubt(&world(), "of another", ObjectProperties::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_object_of_equal_size_and_form_is_not_taken_for_ours() {
    let world = world();
    // Sources in parts, so that no ETag compares.
    let part_bytes = |part_bytes| ObjectProperties {
        part_bytes: Some(part_bytes),
        ..ObjectProperties::default()
    };
    world.put_with("small", "content", part_bytes(5));
    let store = world.store();
    store
        .declare_object(SOURCE, "large", LARGE, 1, part_bytes(13 << 20))
        .unwrap();
    refused_after_doubt(&world, "CONTENT", part_bytes(17 << 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_after_doubt_with_an_old_object_is_an_object_that_was_there() {
    let world = world();
    put_there(&world, "small", "of another");
    next_second().await;
    fault(
        &world,
        Operation::CopyObject,
        "small",
        FaultKind::Reset,
        When::First(1),
    );
    copy(&world, "never", &[]).await.expect(0);
    assert_skipped(&world.rows_by_key()["small"], "DestinationExists");
    assert_eq!(versions(&world, "small"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_from_before_the_job_exists_after_a_resume_too() {
    let world = world();
    put_there(&world, "small", "content");
    declare_there(&world, "large", 1, ObjectProperties::default());
    next_second().await;
    for key in ["small", "large"] {
        fault(
            &world,
            Operation::CopyObject,
            key,
            FaultKind::Hang,
            When::Every,
        );
        fault(
            &world,
            Operation::HeadObject,
            key,
            FaultKind::Hang,
            When::Every,
        );
    }
    let mut command = world.copy_command();
    command.args(IN_PARTS).args(["--overwrite", "never"]);
    let mut child = command.spawn().unwrap();
    let log = world.sandbox.log();
    let hung = |entry: &&LogEntry| entry.fault.as_deref() == Some("hang");
    log.wait_until(|entries| entries.iter().filter(hung).count() == 2)
        .await;
    child.kill().await.unwrap();
    world.sandbox.faults().clear();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_eq!(run.summary("skipped"), 2);
    for key in ["small", "large"] {
        assert_skipped(&world.rows_by_key()[key], "DestinationExists");
        assert_eq!(versions(&world, key), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn if_different_replaces_what_is_not_equal() {
    let world = world();
    for key in ["small-other", "small-unlike", "small-new"] {
        world.put(key, "content");
    }
    for key in ["large-other", "large-unlike", "large-new"] {
        world.declare(key, LARGE);
    }
    let keys = ["small", "large"].into_iter().flat_map(|size| {
        ["", "-other", "-unlike", "-new"]
            .into_iter()
            .map(move |which| format!("{size}{which}"))
    });
    sized_manifest(&world, keys);
    // In parts and with another checksum: the bytes are equal, and nothing says so.
    let unlike = ObjectProperties {
        checksum_algorithm: Some(ChecksumAlgorithm::Sha256),
        part_bytes: Some(6 << 20),
        ..ObjectProperties::default()
    };
    put_there(&world, "small", "content");
    put_there(&world, "small-other", "CONTENT");
    world
        .store()
        .put_object(DESTINATION, "small-unlike", "content", &unlike)
        .unwrap();
    declare_there(&world, "large", 1, ObjectProperties::default());
    declare_there(&world, "large-other", 2, ObjectProperties::default());
    declare_there(&world, "large-unlike", 1, unlike);
    let run = copy(&world, "if-different", &[]).await;
    run.expect(0);
    assert_eq!(run.summary("skipped"), 2);
    let rows = world.rows_by_key();
    for size in ["small", "large"] {
        assert_skipped(&rows[size], "DestinationEqual");
        assert_eq!(versions(&world, size), 1);
        for which in ["-other", "-unlike", "-new"] {
            let key = format!("{size}{which}");
            // Only a copy in parts has the source's HEAD, whose checksum is that of the answer.
            let in_parts = size == "large";
            assert_evidence(&rows[&key], if in_parts { "checksum" } else { "response" });
            world.assert_copied(&key);
            assert_eq!(
                versions(&world, &key),
                if which == "-new" { 1 } else { 2 },
                "{key}"
            );
            let notes = message(&rows[&key], "notes");
            let noted = notes.to_string().contains("could not be compared");
            assert_eq!(noted, which == "-unlike", "{key}: {notes}");
        }
    }
}

const WITH_E_TAGS: [&str; 4] = [
    "--manifest-fields",
    "Bucket,Key,Size,ETag",
    "--source-changed",
    "fail",
];
const PART_SIZES: [&str; 4] = ["--multipart-threshold", "17MiB", "--part-size", "17MiB"];

fn manifest_with_e_tags(world: &World, keys: &[&str]) {
    let mut rows = String::new();
    for key in keys {
        let object = world.store().object(SOURCE, key).unwrap();
        let (size, e_tag) = (object.size(), object.e_tag());
        writeln!(rows, "{SOURCE},{},{size},{e_tag}", encode(key)).unwrap();
    }
    world.manifest(rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_the_listed_one_fails_its_row() {
    let world = world();
    world.put("small-same", "content");
    world.declare("large-same", LARGE);
    manifest_with_e_tags(&world, &["small", "large", "small-same", "large-same"]);
    world.put("small", "changed");
    let properties = ObjectProperties::default();
    world
        .store()
        .declare_object(SOURCE, "large", LARGE, 9, properties)
        .unwrap();
    let run = world.copy(&[WITH_E_TAGS, PART_SIZES].concat()).await;
    run.expect(1);
    assert_eq!(run.summary("errors"), json!({"SourceChanged": 2}));
    let rows = world.rows_by_key();
    for size in ["small", "large"] {
        assert_failed(&rows[size], "SourceChanged");
        assert_eq!(versions(&world, size), 0);
        let same = format!("{size}-same");
        let evidence = if size == "large" { "checksum" } else { "e_tag" };
        assert_evidence(&rows[&same], evidence);
        world.assert_copied(&same);
    }
    let copies = sent(&world, Operation::CopyObject, "small");
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].status, Some(412));
    assert!(copies[0].header("x-amz-copy-source-if-match").is_some());
    // Its HEAD told.
    assert!(sent(&world, Operation::CreateMultipartUpload, "large").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_e_tag_that_is_old_is_a_hint() {
    let world = world();
    manifest_with_e_tags(&world, &["small", "large"]);
    world.put("small", "changed since it was listed");
    let properties = ObjectProperties::default();
    world
        .store()
        .declare_object(SOURCE, "large", LARGE, 9, properties)
        .unwrap();
    let fields = &WITH_E_TAGS[..2];
    world.copy(&[fields, &PART_SIZES].concat()).await.expect(0);
    world.assert_copied("small");
    world.assert_copied("large");
    let copies = sent(&world, Operation::CopyObject, "small");
    assert!(copies[0].header("x-amz-copy-source-if-match").is_none());
    assert_eq!(
        message(&world.rows_by_key()["large"], "source_changed"),
        json!(true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_aborted_when_none_of_its_parts_is_in_flight() {
    let world = world();
    let refused = FaultKind::Error {
        status: 403,
        code: "AccessDenied".to_owned(),
        message: String::new(),
        retry_after: None,
    };
    let part = Operation::UploadPartCopy;
    fault(&world, part, "large", refused, When::Nth(1));
    // An abort that overtakes these leaves parts that cost money.
    for nth in [2, 3] {
        fault(
            &world,
            part,
            "large",
            FaultKind::Latency(700),
            When::Nth(nth),
        );
    }
    copy(&world, "always", &[]).await.expect(1);
    assert_failed(&world.rows_by_key()["large"], "AccessDenied");
    let parts = sent(&world, part, "large");
    let answered = |status| {
        parts
            .iter()
            .filter(|sent| sent.status == Some(status))
            .count()
    };
    assert_eq!(
        (parts.len(), answered(403), answered(200)),
        (PARTS, 1, PARTS - 1)
    );
    let aborts = sent(&world, Operation::AbortMultipartUpload, "large");
    assert_eq!((aborts.len(), aborts[0].in_flight), (1, 1));
    world.assert_no_uploads();
}

/// Runs a job and puts another object into the source when the first part of `large` is copied, while the others
/// are held back.
async fn overwritten_meanwhile(world: &World, flags: &[&str], code: i32) {
    for nth in [2, 3] {
        let slow = FaultKind::Latency(300);
        fault(
            world,
            Operation::UploadPartCopy,
            "large",
            slow,
            When::Nth(nth),
        );
    }
    let mut command = world.copy_command();
    command.args(flags);
    let child = command.spawn().unwrap();
    let log = world.sandbox.log();
    let part = |entry: &LogEntry| {
        entry.operation == Operation::UploadPartCopy && entry.status == Some(200)
    };
    log.wait_until(|entries| entries.iter().any(part)).await;
    let properties = ObjectProperties::default();
    world
        .store()
        .declare_object(SOURCE, "large", LARGE, 9, properties)
        .unwrap();
    Run::end_of(child).await.expect(code);
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_overwritten_under_a_multipart_copy_lands_whole() {
    let world = world();
    overwritten_meanwhile(&world, &IN_PARTS, 0).await;
    // The object as it stands now: begun again.
    world.assert_copied("large");
    assert_eq!(versions(&world, "large"), 1);
    let row = &world.rows_by_key()["large"];
    assert_evidence(row, "checksum");
    let source = world.store().object(SOURCE, "large").unwrap();
    assert_eq!(message(row, "source_e_tag"), source.e_tag());
    assert_eq!(
        sent(&world, Operation::CreateMultipartUpload, "large").len(),
        2
    );
    assert_eq!(
        sent(&world, Operation::AbortMultipartUpload, "large").len(),
        1
    );
    let parts = sent(&world, Operation::UploadPartCopy, "large");
    assert!(
        parts.iter().any(|part| part.status == Some(412)),
        "{parts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_overwritten_under_a_multipart_copy_fails_its_row() {
    let world = world();
    manifest_with_e_tags(&world, &["small", "large"]);
    overwritten_meanwhile(&world, &[WITH_E_TAGS, PART_SIZES].concat(), 1).await;
    assert_failed(&world.rows_by_key()["large"], "SourceChanged");
    assert_eq!(versions(&world, "large"), 0);
    assert_eq!(
        sent(&world, Operation::CreateMultipartUpload, "large").len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_overwritten_under_a_multipart_copy_lands_as_it_was() {
    let world = world();
    let settings = world.store().settings(SOURCE).unwrap();
    let versioned = BucketSettings {
        versioning: Versioning::Enabled,
        ..settings
    };
    world.store().configure_bucket(SOURCE, versioned).unwrap();
    world.declare("large", LARGE);
    let before = world.store().object(SOURCE, "large").unwrap();
    overwritten_meanwhile(&world, &IN_PARTS, 0).await;
    let there = world.store().object(DESTINATION, "large").unwrap();
    assert!(there.same_content(&before));
    let row = &world.rows_by_key()["large"];
    assert_eq!(message(row, "source_version_id"), before.version_id);
    assert_eq!(
        sent(&world, Operation::CreateMultipartUpload, "large").len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_create_aborts_ours_and_no_others() {
    let world = world();
    let create = Operation::CreateMultipartUpload;
    fault(
        &world,
        create,
        "large",
        FaultKind::AnswerLost,
        When::First(1),
    );
    // Held there, the job has an upload that it does not know; another job's comes beside it.
    let hang = Fault::on(Operation::ListMultipartUploads, FaultKind::Hang).when(When::First(1));
    world.sandbox.faults().add(hang);
    let mut command = world.copy_command();
    command.args(IN_PARTS).args(["--attempt-timeout", "2s"]);
    let child = command.spawn().unwrap();
    let log = world.sandbox.log();
    let list = |entry: &LogEntry| entry.operation == Operation::ListMultipartUploads;
    log.wait_until(|entries| entries.iter().any(list)).await;
    let ours = world.store().uploads(DESTINATION);
    assert_eq!(ours.len(), 1);
    let other = leave_upload(&world).await;
    Run::end_of(child).await.expect(0);
    let aborts = sent(&world, Operation::AbortMultipartUpload, "large");
    assert_eq!(aborts.len(), 1);
    assert_eq!(
        aborts[0].parameter("uploadId"),
        Some(ours[0].upload_id.as_str())
    );
    let left = world.store().uploads(DESTINATION);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].upload_id, other);
    assert_evidence(&world.rows_by_key()["large"], "checksum");
    world.assert_copied("large");
}

/// Another job, of the same role and for the same key, that dies with an upload.
async fn leave_upload(world: &World) -> String {
    let before = world.store().uploads(DESTINATION);
    let hang = Fault::on(Operation::UploadPartCopy, FaultKind::Hang).key("large");
    let hang = world.sandbox.faults().add(hang);
    let mut command = world.copy_command_into("another");
    command
        .args(IN_PARTS)
        .args(["--role-session-name", "another"]);
    let mut child = command.spawn().unwrap();
    let log = world.sandbox.log();
    let hung =
        |entry: &LogEntry| entry.operation == Operation::UploadPartCopy && entry.key == "large";
    log.wait_until(|entries| entries.iter().any(hung)).await;
    child.kill().await.unwrap();
    hang.remove();
    let mut uploads = world.store().uploads(DESTINATION);
    uploads.retain(|upload| !before.contains(upload));
    assert_eq!(uploads.len(), 1);
    uploads.remove(0).upload_id
}

/// Its version stands, and the next pass writes another: that is counted as what is in doubt is.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_failed_behind_its_copy_is_counted_when_it_is_written_again() {
    let tags: Vec<_> = (0..10)
        .map(|i| (format!("{i}-{}", "k".repeat(120)), "é".repeat(250)))
        .collect();
    let properties = || ObjectProperties {
        tags: tags.clone(),
        ..ObjectProperties::default()
    };
    let (tagging, head) = (Operation::PutObjectTagging, Operation::HeadObject);
    for (key, operation, flags) in [
        ("large", tagging, &[][..]),
        ("small", head, &["--verify", "head"][..]),
    ] {
        let world = world();
        let store = world.store();
        store
            .declare_object(SOURCE, "large", LARGE, 7, properties())
            .unwrap();
        store
            .put_object(SOURCE, "small", "content", properties())
            .unwrap();
        let refused = error(500, "InternalError");
        let refused = Fault::on(operation, refused).key(key);
        let refused = refused.when(When::First(4));
        world.sandbox.faults().add(refused);
        let run = copy(&world, "always", flags).await;
        run.expect(1);
        assert_eq!(run.summary("in_doubt"), 0);
        let row = &world.rows_by_key()[key];
        assert_eq!(message(row, "operation"), operation.as_str(), "{row:?}");
        assert_eq!(message(row, "in_doubt"), true, "{row:?}");
        assert_eq!(versions(&world, key), 1);

        let run = world.resume(&[]).await;
        run.expect(0);
        assert_eq!(versions(&world, key), 2);
        assert_eq!(run.summary("in_doubt"), 1);
        let rows = world.rows_by_key();
        for name in ["small", "large"] {
            let counted = (name == key).then_some(true);
            assert_eq!(message(&rows[name], "in_doubt"), json!(counted), "{name}");
            world.assert_copied(name);
        }
    }
}
