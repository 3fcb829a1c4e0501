//! Crash-safe: a job that died, was stopped or ended with failed rows goes on, and nothing durable is sent again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use s3haul::job::report::journal::{Record, read_frames};
use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::{Fault, FaultHandle, FaultKind, LogEntry, ObjectProperties, Operation, When};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::objects::{IN_PARTS, LARGE, PARTS, lists, sent, sized_manifest};
use crate::support::{DESTINATION, Run, SOURCE, World, count, message};

/// Size of an object that goes in ten parts under [`IN_PARTS`], of which four are in flight at concurrency 4.
const HUGE: u64 = 170 << 20;
const HUGE_PARTS: usize = 10;

fn fault(world: &World, operation: Operation, key: &str, kind: FaultKind) -> FaultHandle {
    world
        .sandbox
        .faults()
        .add(Fault::on(operation, kind).key(key))
}

fn start(world: &World, flags: &[&str]) -> Child {
    let mut command = world.copy_command();
    command.args(IN_PARTS).args(flags);
    command.spawn().unwrap()
}

fn start_resume(world: &World) -> Child {
    let mut command = world.command(&["resume"]);
    command.arg(world.path("report")).args(["--output", "json"]);
    command.spawn().unwrap()
}

/// Waits until the log has so many entries that fit.
pub(crate) async fn logged(world: &World, at_least: usize, fits: impl Fn(&LogEntry) -> bool) {
    let log = world.sandbox.log();
    let enough =
        |entries: &[LogEntry]| entries.iter().filter(|entry| fits(entry)).count() >= at_least;
    let waited = log.wait_until(enough);
    tokio::time::timeout(Duration::from_mins(1), waited)
        .await
        .expect("the requests come");
}

pub(crate) fn hung(entry: &LogEntry) -> bool {
    entry.fault.as_deref() == Some("hang")
}

pub(crate) async fn kill(mut child: Child) {
    child.kill().await.unwrap();
}

pub(crate) fn terminate(child: &Child) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

/// The keys whose outcome is durable: in files that a seal wrote, or in the journal.
fn durable(world: &World) -> BTreeSet<String> {
    let mut lines = Vec::new();
    let checkpoint = world.checkpoint();
    for file in checkpoint["sealed"].as_array().unwrap() {
        let path = world.job().join(file["name"].as_str().unwrap());
        lines.extend(std::fs::read(path).unwrap());
    }
    if let Ok(journal) = std::fs::File::open(journal(world)) {
        let take = |record| {
            if let Record::Outcome(outcome) = record {
                lines.extend(outcome.row.into_bytes());
            }
            Ok(())
        };
        read_frames(journal, take).unwrap();
    }
    let mut reader = csv::ReaderBuilder::new();
    let reader = reader
        .has_headers(false)
        .flexible(true)
        .from_reader(&lines[..]);
    let rows = reader.into_records().map(|row| row.unwrap()[1].to_owned());
    rows.collect()
}

fn journal(world: &World) -> PathBuf {
    let sequence = world.checkpoint()["journal"].as_u64().unwrap();
    world.job().join(format!("work/journal-{sequence:08}"))
}

/// Waits until so many outcomes are durable.
pub(crate) async fn durable_at_least(world: &World, least: usize) {
    for _ in 0..6_000 {
        if world.job().exists() && durable(world).len() >= least {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never are {least} outcomes durable");
}

/// The files of `results/`, and those that `manifest.json` names.
pub(crate) fn assert_only_named_results(world: &World) {
    let there: BTreeSet<_> = std::fs::read_dir(world.job().join("results"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let manifest = std::fs::read(world.job().join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let named: BTreeSet<_> = manifest["Results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            file["Key"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(there, named);
}

fn assert_each_row_once(rows: &[ReportRow], expected: usize) {
    let keys: BTreeSet<_> = rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!((rows.len(), keys.len()), (expected, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_nothing_durable_is_sent_again() {
    let world = World::new();
    let small: Vec<_> = (0..300).map(|n| format!("k{n:05}")).collect();
    let large = ["large-a", "large-b"];
    for key in &small {
        world.put(key, key);
    }
    for key in large {
        world.declare(key, LARGE);
        let last = Fault::on(Operation::UploadPartCopy, FaultKind::Hang).key(key);
        world
            .sandbox
            .faults()
            .add(last.when(When::FromTo(PARTS as u64, 100)));
    }
    // Large ones in the middle: behind the first rows, which run alone.
    let (first, rest) = small.split_at(20);
    let keys = first.iter().map(String::as_str).chain(large);
    sized_manifest(&world, keys.chain(rest.iter().map(String::as_str)));
    let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(40));
    world.sandbox.faults().add(slow);

    let flags = ["--concurrency", "8"];
    let mut settled = BTreeSet::new();
    for attempt in 1..=2 {
        world.sandbox.log().clear();
        let child = if attempt == 1 {
            start(&world, &flags)
        } else {
            start_resume(&world)
        };
        durable_at_least(&world, settled.len() + 30).await;
        kill(child).await;
        let now = durable(&world);
        assert!(
            now.is_superset(&settled) && now.len() < small.len(),
            "{}",
            now.len()
        );
        for key in &settled {
            assert_eq!(sent(&world, Operation::CopyObject, key), [], "{key}");
        }
        settled = now;
    }
    let uploads = world.store().uploads(DESTINATION);
    assert_eq!(uploads.len(), 2);
    assert!(
        uploads
            .iter()
            .all(|upload| upload.part_numbers.len() == PARTS - 1),
        "{uploads:?}"
    );

    world.sandbox.faults().clear();
    world.sandbox.log().clear();
    let run = Run::end_of(start(&world, &flags)).await;
    run.expect(0);
    let rows = world.rows();
    assert_each_row_once(&rows, 302);
    assert_eq!(count(&rows, TaskStatus::Succeeded), 302);
    assert_eq!(run.summary("succeeded"), 302);
    assert_only_named_results(&world);
    world.assert_no_uploads();
    for key in small.iter().map(String::as_str).chain(large) {
        world.assert_copied(key);
        let again = sent(&world, Operation::CopyObject, key).len();
        let expected = usize::from(!settled.contains(key) && !large.contains(&key));
        assert_eq!(again, expected, "{key}");
    }
    for key in large {
        // Gone on with, part by part.
        assert_eq!(sent(&world, Operation::CreateMultipartUpload, key), []);
        assert_eq!(sent(&world, Operation::ListParts, key).len(), 1);
        assert_eq!(sent(&world, Operation::UploadPartCopy, key).len(), 1);
        assert_eq!(
            sent(&world, Operation::CompleteMultipartUpload, key).len(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_a_write_was_recorded_it_is_found() {
    let world = World::new();
    world.put("small", "content");
    world.declare("large", LARGE);
    sized_manifest(&world, ["small", "large"]);
    for (operation, key) in [
        (Operation::CopyObject, "small"),
        (Operation::CompleteMultipartUpload, "large"),
    ] {
        fault(&world, operation, key, FaultKind::AnswerLost);
        // What would settle it.
        let look = Fault::on(Operation::HeadObject, FaultKind::Hang).key(key);
        let first = if key == "large" { 3 } else { 1 };
        world
            .sandbox
            .faults()
            .add(look.when(When::FromTo(first, 100)));
    }
    let child = start(&world, &["--overwrite", "never"]);
    logged(&world, 2, hung).await;
    kill(child).await;
    assert!(durable(&world).is_empty());
    assert_eq!(world.store().object_count(DESTINATION), 2);

    world.sandbox.faults().clear();
    world.sandbox.log().clear();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_eq!(run.summary("in_doubt"), 2);
    let rows = world.rows_by_key();
    for key in ["small", "large"] {
        assert_eq!(rows[key].status, TaskStatus::Succeeded);
        assert_eq!(message(&rows[key], "evidence"), "found");
        world.assert_copied(key);
    }
    // Refused, and settled by looking; never said to be skipped.
    let copies = sent(&world, Operation::CopyObject, "small");
    assert_eq!(
        copies.iter().map(|copy| copy.status).collect::<Vec<_>>(),
        [Some(412)]
    );
    for operation in [Operation::CreateMultipartUpload, Operation::UploadPartCopy] {
        assert_eq!(sent(&world, operation, "large"), []);
    }
    let listed = sent(&world, Operation::ListParts, "large");
    assert_eq!(listed[0].error_code.as_deref(), Some("NoSuchUpload"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_no_record_knows_is_aborted_by_the_resume() {
    let world = World::new();
    world.declare("large", LARGE);
    sized_manifest(&world, ["large"]);
    fault(
        &world,
        Operation::CreateMultipartUpload,
        "large",
        FaultKind::AnswerLost,
    );
    let list = Fault::on(Operation::ListMultipartUploads, FaultKind::Hang);
    world.sandbox.faults().add(list);
    let child = start(&world, &[]);
    logged(&world, 1, hung).await;
    kill(child).await;
    let unknown = world.store().uploads(DESTINATION);
    assert_eq!(unknown.len(), 1);
    assert_eq!(world.checkpoint()["uploads"], json!([]));

    world.sandbox.faults().clear();
    world.sandbox.log().clear();
    world.resume(&[]).await.expect(0);
    world.assert_no_uploads();
    world.assert_copied("large");
    assert_eq!(lists(&world, "large"), 1);
    let aborts = sent(&world, Operation::AbortMultipartUpload, "large");
    assert_eq!(aborts.len(), 1);
    assert_eq!(
        aborts[0].parameter("uploadId"),
        Some(unknown[0].upload_id.as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_a_source_that_changed_is_begun_again() {
    let world = World::new();
    world.declare("large", LARGE);
    sized_manifest(&world, ["large"]);
    let last = Fault::on(Operation::UploadPartCopy, FaultKind::Hang).when(When::Nth(PARTS as u64));
    world.sandbox.faults().add(last);
    let child = start(&world, &[]);
    logged(&world, PARTS, |entry| {
        entry.operation == Operation::UploadPartCopy
    })
    .await;
    kill(child).await;
    let properties = ObjectProperties::default();
    world
        .store()
        .declare_object(SOURCE, "large", LARGE, 2, properties)
        .unwrap();
    world.sandbox.log().clear();
    world.resume(&[]).await.expect(0);
    world.assert_copied("large");
    world.assert_no_uploads();
    assert_eq!(
        sent(&world, Operation::AbortMultipartUpload, "large").len(),
        1
    );
    assert_eq!(
        sent(&world, Operation::UploadPartCopy, "large").len(),
        PARTS
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_job_keeps_nothing_and_does_not_go_on() {
    let world = World::new();
    world.put("small", "content");
    world.declare("large", LARGE);
    sized_manifest(&world, ["small", "large"]);
    let hang = fault(&world, Operation::UploadPartCopy, "large", FaultKind::Hang);
    let child = start(&world, &[]);
    logged(&world, PARTS, hung).await;
    kill(child).await;
    hang.remove();
    assert_eq!(world.store().uploads(DESTINATION).len(), 1);

    let mut abandon = world.command(&["abandon"]);
    abandon.arg(world.path("report")).args(["--output", "json"]);
    let run = Run::of(abandon).await;
    run.expect(0);
    assert_eq!(run.summary("state"), "abandoned");
    world.assert_no_uploads();
    assert_eq!(world.checkpoint()["state"], "abandoned");
    assert_eq!(world.checkpoint()["uploads"], json!([]));

    let arrived = world.sandbox.log().arrived();
    world.resume(&[]).await.expect(2);
    world.copy(&IN_PARTS).await.expect(2);
    assert_eq!(world.sandbox.log().arrived(), arrived);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_drains_and_keeps_uploads_for_the_resume() {
    let world = World::new();
    let small: Vec<_> = (0..40).map(|n| format!("k{n:05}")).collect();
    for key in &small {
        world.put(key, key);
    }
    world.declare("huge", HUGE);
    let keys = std::iter::once("huge").chain(small.iter().map(String::as_str));
    sized_manifest(&world, keys);
    for operation in [Operation::UploadPartCopy, Operation::CopyObject] {
        world
            .sandbox
            .faults()
            .add(Fault::on(operation, FaultKind::Latency(150)));
    }
    let child = start(&world, &["--concurrency", "4"]);
    let done = |entry: &LogEntry| entry.key == "huge" && entry.part_number().is_some();
    logged(&world, 1, done).await;
    terminate(&child);
    let run = Run::end_of(child).await;
    run.expect(4);
    assert_eq!(run.summary("state"), "interrupted");
    let checkpoint = world.checkpoint();
    assert_eq!(checkpoint["state"], "interrupted");
    let uploads = world.store().uploads(DESTINATION);
    assert_eq!(uploads.len(), 1);
    assert_eq!(
        checkpoint["uploads"][0]["upload_id"],
        uploads[0].upload_id.as_str()
    );
    // What was in flight has ended, and no more was sent.
    let parts = sent(&world, Operation::UploadPartCopy, "huge");
    assert!(
        parts.iter().all(|part| part.status == Some(200)),
        "{parts:?}"
    );
    assert!(parts.len() < HUGE_PARTS, "{}", parts.len());
    assert_eq!(uploads[0].part_numbers.len(), parts.len());
    let copied = world.store().object_count(DESTINATION);
    assert!(copied < small.len(), "{copied}");
    assert_eq!(durable(&world).len(), copied);
    assert_eq!(run.summary("succeeded"), copied);

    world.sandbox.faults().clear();
    world.sandbox.log().clear();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), 41);
    assert_each_row_once(&world.rows(), 41);
    let rest = sent(&world, Operation::UploadPartCopy, "huge");
    assert_eq!(rest.len() + parts.len(), HUGE_PARTS);
    assert_eq!(
        world.sandbox.log().count(Operation::CopyObject),
        small.len() - copied
    );
    world.assert_copied("huge");
    world.assert_no_uploads();
}

/// Starts a job of one row that hangs, with what it says on stderr.
async fn hanging(
    flags: &[&str],
) -> (
    World,
    Child,
    tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
) {
    let world = World::new();
    world.put("k", "content");
    sized_manifest(&world, ["k"]);
    fault(&world, Operation::CopyObject, "k", FaultKind::Hang);
    let mut child = start(&world, flags);
    logged(&world, 1, hung).await;
    let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    (world, child, stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let (world, child, mut stderr) = hanging(&[]).await;
    terminate(&child);
    let said = stderr.next_line().await.unwrap().unwrap();
    assert!(said.starts_with("stopping"), "{said}");
    let begun = Instant::now();
    terminate(&child);
    Run::end_of(child).await.expect(4);
    // Long before the 20 s that what is in flight has.
    assert!(begun.elapsed() < Duration::from_secs(5));
    world.sandbox.faults().clear();
    world.resume(&[]).await.expect(0);
    world.assert_copied("k");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_has_a_deadline() {
    let (world, child, _stderr) = hanging(&["--drain-timeout", "1s"]).await;
    let begun = Instant::now();
    terminate(&child);
    let run = Run::end_of(child).await;
    run.expect(4);
    assert!(
        (1..10).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(run.summary("state"), "interrupted");
    // Nobody knows how it ended: nothing is recorded.
    assert!(durable(&world).is_empty());
    assert_eq!(run.summary("failed"), 0);
    world.sandbox.faults().clear();
    world.resume(&[]).await.expect(0);
    assert_eq!(world.row().status, TaskStatus::Succeeded);
    world.assert_copied("k");
}

/// A job of 20 rows of which every second one fails for want of its object.
async fn half_missing() -> (World, Vec<String>) {
    let world = World::new();
    let keys: Vec<_> = (0..20).map(|n| format!("k{n:02}")).collect();
    for key in keys.iter().step_by(2) {
        world.put(key, key);
    }
    world.manifest_of(&keys);
    let run = world.copy(&[]).await;
    run.expect(1);
    assert_eq!(run.summary("errors"), json!({"NoSuchKey": 10}));
    (world, keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_rows_are_tried_again_until_none_is_left() {
    let (world, keys) = half_missing().await;
    assert_only_named_results(&world);

    // They fail again.
    world.sandbox.log().clear();
    let run = world.resume(&[]).await;
    run.expect(1);
    assert_eq!(
        (run.summary("succeeded"), run.summary("failed")),
        (json!(10), json!(10))
    );
    assert_eq!(run.summary("errors"), json!({"NoSuchKey": 10}));
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 10);
    assert_each_row_once(&world.rows(), 20);
    assert_only_named_results(&world);

    // Half of them.
    for key in keys.iter().skip(1).step_by(4) {
        world.put(key, key);
    }
    let run = world.resume(&["--failed-rows-exit", "0"]).await;
    run.expect(0);
    assert_eq!(
        (run.summary("succeeded"), run.summary("failed")),
        (json!(15), json!(5))
    );
    assert_each_row_once(&world.rows(), 20);
    assert_only_named_results(&world);

    for key in keys.iter().skip(3).step_by(4) {
        world.put(key, key);
    }
    world.sandbox.log().clear();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_eq!(
        (run.summary("succeeded"), run.summary("failed")),
        (json!(20), json!(0))
    );
    assert_eq!(run.summary("errors"), json!({}));
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 5);
    let rows = world.rows();
    assert_each_row_once(&rows, 20);
    assert_eq!(count(&rows, TaskStatus::Succeeded), 20);
    assert_only_named_results(&world);

    let arrived = world.sandbox.log().arrived();
    world.resume(&[]).await.expect(0);
    assert_eq!(world.sandbox.log().arrived(), arrived);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_over_failed_rows_that_died_goes_on() {
    let (world, keys) = half_missing().await;
    for key in &keys {
        world.put(key, key);
    }
    // The last of them hangs; the outcomes of the others are durable a second later.
    let hang = fault(&world, Operation::CopyObject, "k19", FaultKind::Hang);
    let child = start_resume(&world);
    durable_at_least(&world, 20).await;
    logged(&world, 1, hung).await;
    // Each failed row is in the files of both passes.
    for _ in 0..300 {
        let checkpoint = world.checkpoint();
        let journal = std::fs::metadata(journal(&world)).map_or(0, |file| file.len());
        if checkpoint["pass"] == 1 && journal > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    kill(child).await;
    assert_eq!(world.checkpoint()["pass"], 1);
    hang.remove();
    world.sandbox.log().clear();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 1);
    assert_eq!(run.summary("succeeded"), 20);
    let rows = world.rows();
    assert_each_row_once(&rows, 20);
    assert_eq!(count(&rows, TaskStatus::Succeeded), 20);
    assert_only_named_results(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_line_again_says_how_it_ended() {
    let (world, _) = half_missing().await;
    let before = world.rows();
    let arrived = world.sandbox.log().arrived();
    let run = world.copy(&[]).await;
    run.expect(1);
    assert_eq!(
        (run.summary("succeeded"), run.summary("failed")),
        (json!(10), json!(10))
    );
    assert_eq!(run.summary("state"), "complete");
    assert_eq!(world.sandbox.log().arrived(), arrived);
    assert_eq!(world.rows(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_job_of_the_same_id_is_refused() {
    let (world, _) = half_missing().await;
    let arrived = world.sandbox.log().arrived();
    for (flags, named) in [
        (vec!["--overwrite", "never"], "--overwrite"),
        (vec!["--acl", "none"], "--acl"),
        (vec!["--include-prefix", "k0"], "filters"),
        (
            vec!["--part-size", "9MiB", "--report-scope", "failed"],
            "--part-size, --report-scope",
        ),
    ] {
        let run = world.copy(&flags).await;
        run.expect(2);
        assert!(run.stderr.contains(named), "{}", run.stderr);
        assert!(run.stderr.contains("--job-id"), "{}", run.stderr);
    }
    assert_eq!(world.sandbox.log().arrived(), arrived);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_changed_is_refused() {
    let (world, child, _stderr) = hanging(&[]).await;
    kill(child).await;
    let manifest = world.path("manifest.csv");
    let before = std::fs::read(&manifest).unwrap();
    world.put("l", "content");
    world.manifest([&before[..], b"source,l,7\n"].concat());
    let arrived = world.sandbox.log().arrived();
    let copies = world.sandbox.log().count(Operation::CopyObject);
    world.resume(&[]).await.expect(2);
    let run = world.copy(&IN_PARTS).await;
    run.expect(2);
    assert!(run.stderr.contains("manifest"), "{}", run.stderr);
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), copies);
    assert_eq!(world.sandbox.log().arrived(), arrived);
    // Put back, it goes on.
    world.manifest(before);
    world.sandbox.faults().clear();
    world.resume(&[]).await.expect(0);
    world.assert_copied("k");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_one_writer() {
    let (world, child, _stderr) = hanging(&[]).await;
    let arrived = world.sandbox.log().arrived();
    world.resume(&[]).await.expect(2);
    world.copy(&IN_PARTS).await.expect(2);
    assert_eq!(world.sandbox.log().arrived(), arrived);
    kill(child).await;
    world.sandbox.faults().clear();
    world.copy(&IN_PARTS).await.expect(0);
    world.assert_copied("k");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_a_write_was_recorded_it_is_not_said_to_have_been_there() {
    let world = World::new();
    world.put("k", "content");
    sized_manifest(&world, ["k"]);
    let on_copy = |kind| Fault::on(Operation::CopyObject, kind);
    let faults = world.sandbox.faults();
    faults.add(on_copy(FaultKind::AnswerLost).when(When::First(1)));
    faults.add(on_copy(FaultKind::Hang));
    let child = start(&world, &["--overwrite", "if-different"]);
    logged(&world, 1, hung).await;
    kill(child).await;
    faults.clear();
    world.sandbox.log().clear();
    world.resume(&[]).await.expect(0);
    assert_eq!(world.row().status, TaskStatus::Succeeded);
    assert_eq!(message(&world.row(), "evidence"), "found");
    assert_eq!(sent(&world, Operation::CopyObject, "k"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_a_pass_over_failed_rows_is_gone_on_with() {
    let world = World::new();
    world.put("small", "content");
    world.declare("large", LARGE);
    sized_manifest(&world, ["small", "large"]);
    let refused = FaultKind::Error {
        status: 403,
        code: "AccessDenied".to_owned(),
        message: String::new(),
        retry_after: None,
    };
    let refused = fault(&world, Operation::UploadPartCopy, "large", refused);
    Run::end_of(start(&world, &[])).await.expect(1);
    world.assert_no_uploads();
    refused.remove();
    let last = Fault::on(Operation::UploadPartCopy, FaultKind::Hang);
    world
        .sandbox
        .faults()
        .add(last.when(When::Nth(PARTS as u64)));
    world.sandbox.log().clear();
    let child = start_resume(&world);
    let part = |entry: &LogEntry| entry.operation == Operation::UploadPartCopy;
    logged(&world, PARTS, part).await;
    kill(child).await;
    world.sandbox.log().clear();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_eq!(sent(&world, Operation::CreateMultipartUpload, "large"), []);
    assert_eq!(sent(&world, Operation::UploadPartCopy, "large").len(), 1);
    assert_eq!(run.summary("succeeded"), 2);
    assert_each_row_once(&world.rows(), 2);
    assert_only_named_results(&world);
    world.assert_copied("large");
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_key_leave_each_others_uploads_alone() {
    let world = World::new();
    world.declare("large", LARGE);
    sized_manifest(&world, ["large", "large"]);
    // One row dies with an upload that has parts, the other one before it has any.
    let faults = world.sandbox.faults();
    let create = Fault::on(Operation::CreateMultipartUpload, FaultKind::Hang);
    faults.add(create.when(When::Nth(2)));
    let part = Fault::on(Operation::UploadPartCopy, FaultKind::Hang);
    faults.add(part.when(When::Nth(PARTS as u64)));
    let child = start(&world, &[]);
    logged(&world, 2, hung).await;
    let part = |entry: &LogEntry| entry.operation == Operation::UploadPartCopy;
    logged(&world, PARTS, part).await;
    kill(child).await;
    faults.clear();
    faults.add(Fault::on(
        Operation::UploadPartCopy,
        FaultKind::Latency(300),
    ));
    world.sandbox.log().clear();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), 2);
    assert_eq!(world.rows().len(), 2);
    let count = |operation| sent(&world, operation, "large").len();
    assert_eq!(count(Operation::AbortMultipartUpload), 0);
    assert_eq!(count(Operation::CreateMultipartUpload), 1);
    assert_eq!(count(Operation::UploadPartCopy), PARTS + 1);
    world.assert_copied("large");
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_failed_rows_alone_is_whole_after_a_resume() {
    let world = World::new();
    for n in 0..5 {
        world.put(&format!("k{n}"), "content");
    }
    world.manifest_of((0..10).map(|n| format!("k{n}")));
    let run = world.copy(&["--report-scope", "failed"]).await;
    run.expect(1);
    assert_each_row_once(&world.rows(), 5);
    assert_only_named_results(&world);
    for n in 5..9 {
        world.put(&format!("k{n}"), "content");
    }
    let run = world.resume(&[]).await;
    run.expect(1);
    assert_eq!(
        (run.summary("succeeded"), run.summary("failed")),
        (json!(9), json!(1))
    );
    assert_eq!(world.row().key, "k9");
    assert_only_named_results(&world);
}
