//! The report in S3: the same job, the same files, and one writer at a time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::iam::{COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID};
use s3haul_sandbox::{BucketSettings, Fault, FaultHandle, FaultKind, LogEntry, Operation, When};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::objects::{IN_PARTS, LARGE, sized_manifest};
use crate::support::{DESTINATION, JOB, Run, SOURCE, World, count, read_report_by};

pub(crate) const REPORTS: &str = "reports";

/// A world with a bucket for reports, which the role may read, write and list, and delete nothing in.
pub(crate) fn world() -> World {
    let world = World::new();
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow",
            "Principal": {{"AWS": "arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}"}},
            "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::{REPORTS}", "arn:aws:s3:::{REPORTS}/*"]}}]}}"#
    );
    let settings = BucketSettings {
        policy: Some(policy),
        ..BucketSettings::default()
    };
    let store = world.store();
    store
        .create_bucket(REPORTS, DESTINATION_ACCOUNT, "eu-north-1", settings)
        .unwrap();
    world
}

pub(crate) fn address(job: &str) -> String {
    format!("s3://{REPORTS}/of/jobs{job}")
}

/// `copy` with its report in S3.
fn copy(world: &World, more: &[&str]) -> Command {
    let mut command = world.copy_command_into(&address(""));
    command.args(["--report-interval", "100ms"]).args(more);
    command
}

/// A command on the job's report, from a machine that knows no more than where it is.
pub(crate) fn on_report(world: &World, command: &[&str], more: &[&str]) -> Command {
    let mut on_report = world.command(command);
    let role = format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}");
    on_report
        .arg(address(&format!("/job-{JOB}")))
        .args(["--role-arn", &role, "--external-id", EXTERNAL_ID])
        .args(["--endpoint-url", &world.sandbox.endpoint()])
        .args(["--output", "json"])
        .args(more);
    on_report
}

pub(crate) fn prefix() -> String {
    format!("of/jobs/job-{JOB}/")
}

/// A file of the report; what is empty was removed.
pub(crate) fn file(world: &World, name: &str) -> Option<Vec<u8>> {
    let object = world
        .store()
        .object(REPORTS, &format!("{}{name}", prefix()))?;
    Some(object.bytes()).filter(|bytes| !bytes.is_empty())
}

fn checkpoint(world: &World) -> Value {
    serde_json::from_slice(&file(world, "work/checkpoint.json").unwrap()).unwrap()
}

/// The rows of the ended report; each file in `results/` is one that it lists.
fn rows(world: &World) -> Vec<ReportRow> {
    let manifest: Value = serde_json::from_slice(&file(world, "manifest.json").unwrap()).unwrap();
    let mut listed: Vec<_> = manifest["Results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["Key"].as_str().unwrap().to_owned())
        .collect();
    listed.sort();
    let there: Vec<_> = files(world)
        .into_keys()
        .filter(|key| key.contains("/results/"))
        .collect();
    assert_eq!(listed, there);
    read_report_by(REPORTS, &prefix(), |name| file(world, name).unwrap())
}

/// Everything of the report that is not empty, by key.
fn files(world: &World) -> BTreeMap<String, Vec<u8>> {
    let objects = world.store().objects(REPORTS);
    let files = objects.into_iter().map(|o| (o.key.clone(), o.bytes()));
    files.filter(|(_, bytes)| !bytes.is_empty()).collect()
}

fn assert_each_once(world: &World, keys: usize) {
    let rows = rows(world);
    let mut names: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!((rows.len(), names.len()), (keys, keys));
    assert_eq!(count(&rows, TaskStatus::Succeeded), keys);
    for name in names {
        world.assert_copied(&name);
    }
}

/// Waits for so many copies.
async fn copies(world: &World, copies: usize) {
    let copied = |e: &LogEntry| e.operation == Operation::CopyObject && e.status == Some(200);
    let log = world.sandbox.log();
    log.wait_until(|log| log.iter().filter(|e| copied(e)).count() >= copies)
        .await;
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// Copies take their time, so that a test comes in the middle.
fn slow(world: &World, milliseconds: u64) -> FaultHandle {
    let fault = Fault::on(Operation::CopyObject, FaultKind::Latency(milliseconds));
    world.sandbox.faults().add(fault)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_report_as_in_a_folder() {
    let world = world();
    world.small_objects(30);
    let manifest = std::fs::read_to_string(world.path("manifest.csv")).unwrap();
    world.manifest(format!("{manifest}{SOURCE},not%20there\n{SOURCE},k00001\n"));
    world.copy(&["--overwrite", "never"]).await.expect(1);
    let in_folder = world.rows();
    for object in world.store().objects(DESTINATION) {
        world
            .store()
            .delete_object(DESTINATION, &object.key)
            .unwrap();
    }
    let run = Run::of(copy(&world, &["--overwrite", "never"])).await;
    run.expect(1);
    assert_eq!(run.summary("report"), address(&format!("/job-{JOB}")));
    let in_bucket = rows(&world);
    let told = |rows: &[ReportRow]| {
        let mut told: Vec<_> = rows
            .iter()
            .map(|row| (row.key.clone(), row.status.as_str(), row.error_code.clone()))
            .collect();
        told.sort();
        told
    };
    assert_eq!(told(&in_bucket), told(&in_folder));
    assert_eq!(in_bucket.len(), 32);
    assert_eq!(checkpoint(&world)["state"], "complete");
    // Nothing is deleted, and nothing is put without a condition but the manifest, whose name says what it is.
    for entry in world.sandbox.log().entries() {
        let puts = entry.bucket == REPORTS && entry.operation == Operation::PutObject;
        let conditional = ["if-match", "if-none-match"].map(|name| entry.header(name).is_some());
        let is_manifest = entry.key.contains("/work/manifest-");
        assert!(
            !puts || is_manifest || conditional.contains(&true),
            "{entry:?}"
        );
        assert_ne!(entry.operation, Operation::DeleteObject);
    }
    let shown = Run::of(on_report(&world, &["report", "show"], &[])).await;
    shown.expect(1);
    assert_eq!(shown.summary("failed"), run.summary("failed"));
    // Nothing is copied again, and then the row that failed is.
    let before = files(&world);
    Run::of(copy(&world, &["--overwrite", "never"]))
        .await
        .expect(1);
    assert_eq!(files(&world), before);
    world.put("not there", "now it is");
    let resumed = Run::of(on_report(&world, &["resume"], &[])).await;
    resumed.expect(0);
    assert_eq!(count(&rows(&world), TaskStatus::Failed), 0);
    assert_eq!(rows(&world).len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_goes_on_with_nothing_but_the_address() {
    for kind in ["csv", "stdin", "gzip"] {
        let world = world();
        let path = world.small_objects(60);
        let content = std::fs::read(&path).unwrap();
        if kind == "gzip" {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, &content).unwrap();
            std::fs::write(&path, gzip.finish().unwrap()).unwrap();
        }
        let fault = slow(&world, 100);
        let mut command = copy(&world, &["--concurrency", "4"]);
        if kind == "stdin" {
            command = on_stdin(&world);
        }
        let mut child = command.spawn().unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&content).await.unwrap();
        }
        copies(&world, 20).await;
        child.kill().await.unwrap();
        fault.remove();
        std::fs::remove_file(&path).unwrap();
        let state = checkpoint(&world);
        assert_eq!(state["state"], "running");
        // Whoever comes waits until the other has been silent for a minute, by S3's clock.
        world.sandbox.advance(Duration::from_secs(61));
        let run = Run::of(on_report(&world, &["resume"], &[])).await;
        run.expect(0);
        assert_each_once(&world, 60);
        assert_eq!(checkpoint(&world)["attempt"], 2);
    }
}

/// `copy` of a manifest on stdin.
fn on_stdin(world: &World) -> Command {
    let mut command = world.command(&["copy", "--manifest", "-"]);
    let given = copy(world, &["--concurrency", "4"]);
    let arguments: Vec<_> = given.as_std().get_args().skip(3).collect();
    command.args(arguments).stdin(Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_while_the_first_lives() {
    let world = world();
    world.small_objects(200);
    let fault = slow(&world, 300);
    let first = copy(&world, &["--concurrency", "2"]).spawn().unwrap();
    copies(&world, 2).await;
    for second in [
        copy(&world, &["--concurrency", "2"]),
        on_report(&world, &["resume"], &[]),
        on_report(&world, &["abandon"], &[]),
    ] {
        let refused = Run::of(second).await;
        refused.expect(2);
        assert!(
            refused.stderr.contains("another s3haul process is at work"),
            "{refused:?}"
        );
    }
    fault.remove();
    Run::end_of(first).await.expect(0);
    assert_each_once(&world, 200);
    assert_eq!(checkpoint(&world)["attempt"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_wakes_after_a_takeover_changes_nothing() {
    let world = world();
    world.small_objects(40);
    let fault = slow(&world, 200);
    let first = copy(&world, &["--concurrency", "2"]).spawn().unwrap();
    copies(&world, 10).await;
    signal(&first, Signal::STOP);
    fault.remove();
    world.sandbox.advance(Duration::from_secs(61));
    Run::of(copy(&world, &["--concurrency", "2"]))
        .await
        .expect(0);
    assert_each_once(&world, 40);
    let before = files(&world);
    signal(&first, Signal::CONT);
    let woken = Run::end_of(first).await;
    woken.expect(4);
    assert!(woken.stderr.contains("has taken over"), "{woken:?}");
    assert_eq!(files(&world), before);
    assert_each_once(&world, 40);
}

/// Waits until a fault has hit.
async fn hit(fault: &FaultHandle) {
    while fault.hits() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The N-th write of the report is on its way while its writer dies and another comes; it lands at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_lands_late_changes_nothing() {
    let mut held_ones = Vec::new();
    for nth in 1.. {
        let world = world();
        world.small_objects(12);
        let manifest = std::fs::read_to_string(world.path("manifest.csv")).unwrap();
        world.manifest(format!("{manifest}{SOURCE},absent\n"));
        let fault = Fault::on(Operation::PutObject, FaultKind::Hold)
            .key_contains(prefix())
            .when(When::Nth(nth));
        let held = world.sandbox.faults().add(fault);
        let mut first = copy(&world, &[]).spawn().unwrap();
        tokio::select! {
            () = hit(&held) => {}
            ended = first.wait() => {
                assert_eq!(ended.unwrap().code(), Some(1));
                break;
            }
        }
        first.kill().await.unwrap();
        world.sandbox.advance(Duration::from_secs(61));
        Run::of(copy(&world, &[])).await.expect(1);
        let before = files(&world);
        assert_eq!(rows(&world).len(), 13);
        held.remove();
        tokio::time::sleep(Duration::from_millis(100)).await;
        held_ones.push(nth);
        // But for the journal, which may land as it was put when the report had ended.
        let journal = format!("{}work/journal", prefix());
        let same = files(&world)
            .iter()
            .all(|(key, bytes)| *key == journal || before.get(key) == Some(bytes));
        assert!(same, "write {nth} of the first process landed late");
        assert_eq!(rows(&world).len(), 13);
        world.put("absent", "not any more");
        Run::of(on_report(&world, &["resume"], &[])).await.expect(0);
        assert_each_once(&world, 13);
    }
    // The proof thrice, the manifest, the job, the journal, the checkpoint; what a seal and the end write.
    assert!(held_ones.len() >= 12, "{held_ones:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_out_for_a_while_slows_the_job() {
    let world = world();
    world.small_objects(60);
    let world = &world;
    for kind in [
        FaultKind::slow_down(),
        FaultKind::internal_error(),
        FaultKind::Reset,
        FaultKind::AnswerLost,
        FaultKind::ExpireToken,
        FaultKind::ErrorInOk("InternalError".to_owned()),
    ] {
        // Half of all writes: each is tried again, and none is taken for done that is not.
        let when = When::Probability { p: 0.5, seed: 7 };
        let fault = Fault::on(Operation::PutObject, kind.clone()).key_contains(prefix());
        let fault = world.sandbox.faults().add(fault.when(when));
        Run::of(copy(world, &[])).await.expect(0);
        assert!(fault.hits() > 2, "{kind:?}");
        fault.remove();
        assert_each_once(world, 60);
        assert_eq!(checkpoint(world)["attempt"], 1, "{kind:?}");
        for object in world.store().objects(REPORTS) {
            world.store().delete_object(REPORTS, &object.key).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_out_stops_the_job_and_a_resume_goes_on() {
    let world = world();
    world.small_objects(60);
    let latency = slow(&world, 50);
    let first = copy(&world, &["--concurrency", "2", "--report-timeout", "1s"])
        .spawn()
        .unwrap();
    copies(&world, 6).await;
    let fault = Fault::on(Operation::PutObject, FaultKind::internal_error());
    let fault = world.sandbox.faults().add(fault.key_contains(prefix()));
    let ended = Run::end_of(first).await;
    ended.expect(4);
    assert!(ended.stderr.contains("InternalError"), "{ended:?}");
    assert!(ended.stderr.contains("s3haul resume"), "{ended:?}");
    assert_eq!(ended.summary("state"), "running");
    fault.remove();
    latency.remove();
    world.sandbox.advance(Duration::from_secs(61));
    Run::of(on_report(&world, &["resume"], &[])).await.expect(0);
    assert_each_once(&world, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_honours_no_conditions_is_refused() {
    let world = world();
    world.small_objects(3);
    let settings = world.store().settings(REPORTS).unwrap();
    let settings = BucketSettings {
        ignores_conditional_writes: true,
        ..settings
    };
    world.store().configure_bucket(REPORTS, settings).unwrap();
    let run = Run::of(copy(&world, &[])).await;
    run.expect(2);
    for words in [
        "does not honour If-None-Match",
        "in another store, or in a folder",
    ] {
        assert!(run.stderr.contains(words), "{run:?}");
    }
    assert!(world.store().objects(DESTINATION).is_empty());
    assert!(file(&world, "job.json").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_kept_is_told_before_the_first_copy() {
    let world = world();
    world.small_objects(3);
    let nobody = format!("s3://{SOURCE}/reports");
    let absent = "s3://there-is-no-such-bucket/reports";
    let table: [(&str, &[&str], i32, &str); 5] = [
        (&nobody, &[], 3, "s3:PutObject and s3:ListBucket"),
        (
            absent,
            &[],
            2,
            "the report's bucket there-is-no-such-bucket does not exist",
        ),
        (
            &address(""),
            &["--report-account", "999999999999"],
            3,
            "AccessDenied",
        ),
        (
            &address(""),
            &["--report-interval", "16s"],
            2,
            "15s at most",
        ),
        (
            "report",
            &["--report-account", "999999999999"],
            2,
            "--report names a folder",
        ),
    ];
    for (report, more, code, words) in table {
        let mut command = world.copy_command_into(report);
        command.args(more);
        let run = Run::of(command).await;
        run.expect(code);
        assert!(run.stderr.contains(words), "{run:?}");
    }
    assert!(world.store().objects(DESTINATION).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_of_a_job_in_s3_may_not_change() {
    let world = world();
    world.small_objects(40);
    let fault = slow(&world, 100);
    let mut first = copy(&world, &["--concurrency", "2"]).spawn().unwrap();
    copies(&world, 6).await;
    signal(&first, Signal::TERM);
    assert_eq!(first.wait().await.unwrap().code(), Some(4));
    fault.remove();
    // Freed at once: nobody waits for a writer that has said goodbye.
    let whole = std::fs::read_to_string(world.path("manifest.csv")).unwrap();
    world.manifest(format!("{whole}{SOURCE},one-more\n"));
    let other = Run::of(copy(&world, &["--concurrency", "2"])).await;
    other.expect(2);
    assert!(
        other
            .stderr
            .contains("only with the manifest that it began with"),
        "{other:?}"
    );
    world.manifest(whole);
    Run::of(copy(&world, &["--concurrency", "2"]))
        .await
        .expect(0);
    assert_each_once(&world, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_of_a_report_is_found_and_several_are_named() {
    let world = world();
    world.small_objects(3);
    Run::of(copy(&world, &[])).await.expect(0);
    let show = |more: &[&str]| {
        let mut show = on_report(&world, &["report", "show"], more);
        // Of the job's folder, then of the report's.
        let arguments: Vec<_> = show.as_std().get_args().map(ToOwned::to_owned).collect();
        show = world.command(&["report", "show", &address("")]);
        show.args(arguments.into_iter().skip(3));
        show
    };
    let one = Run::of(show(&[])).await;
    assert_eq!(one.expect(0).summary("job_id"), JOB);
    let mut second = world.copy_command_into(&address(""));
    let arguments: Vec<_> = second.as_std().get_args().map(ToOwned::to_owned).collect();
    let arguments = arguments
        .into_iter()
        .map(|a| if a == JOB { "more".into() } else { a });
    second = world.command(&[]);
    second.args(arguments);
    Run::of(second).await.expect(0);
    let several = Run::of(show(&[])).await;
    several.expect(2);
    assert!(
        several.stderr.contains(&address("/job-more")),
        "{several:?}"
    );
    // What says how the report is reached is the job's own, or is refused.
    let other = ["--role-arn", "arn:aws:iam::222222222222:role/other"];
    let refused = world.command(&["report", "show", &address(&format!("/job-{JOB}"))]);
    let mut refused = refused;
    refused
        .args(["--endpoint-url", &world.sandbox.endpoint()])
        .args(other);
    Run::of(refused).await.expect(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_on_disk_goes_with_the_report() {
    let world = world();
    let mut data = String::new();
    for n in 0..50 {
        world.put(&format!("k{n:03}"), "content");
        writeln!(data, "\"{SOURCE}\",\"k{n:03}\",\"7\"").unwrap();
    }
    let folder = world.path("inventory/config");
    std::fs::create_dir_all(folder.join("2026-01-01")).unwrap();
    std::fs::create_dir_all(folder.join("data")).unwrap();
    std::fs::write(folder.join("data/one.csv"), &data).unwrap();
    let manifest = serde_json::json!({
        "sourceBucket": SOURCE, "destinationBucket": "arn:aws:s3:::inventories", "version": "2016-11-30",
        "fileFormat": "CSV", "fileSchema": "Bucket, Key, Size",
        "files": [{"key": "inventory/config/data/one.csv", "size": data.len(), "MD5checksum": crate::support::md5(data.as_bytes())}],
    });
    let path = folder.join("2026-01-01/manifest.json");
    std::fs::write(&path, manifest.to_string()).unwrap();
    let fault = slow(&world, 100);
    let mut first = world.command(&["copy", "--manifest"]);
    first.arg(&path);
    let given = copy(&world, &["--concurrency", "2"]);
    let arguments: Vec<_> = given.as_std().get_args().skip(3).collect();
    let mut first = first.args(arguments).spawn().unwrap();
    copies(&world, 6).await;
    first.kill().await.unwrap();
    fault.remove();
    std::fs::remove_dir_all(world.path("inventory")).unwrap();
    world.sandbox.advance(Duration::from_secs(61));
    Run::of(on_report(&world, &["resume"], &[])).await.expect(0);
    assert_each_once(&world, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_job_in_s3_keeps_no_upload() {
    let world = world();
    world.declare("large", LARGE);
    sized_manifest(&world, ["large"]);
    let parts = Fault::on(Operation::UploadPartCopy, FaultKind::Hang);
    let parts = world.sandbox.faults().add(parts);
    let mut first = copy(&world, &IN_PARTS).spawn().unwrap();
    hit(&parts).await;
    // The upload was recorded before its first part was sent.
    assert!(file(&world, "work/journal").is_some());
    first.kill().await.unwrap();
    parts.remove();
    assert_eq!(world.store().uploads(DESTINATION).len(), 1);
    world.sandbox.advance(Duration::from_secs(61));
    let run = Run::of(on_report(&world, &["abandon"], &[])).await;
    run.expect(0);
    world.assert_no_uploads();
    assert_eq!(checkpoint(&world)["state"], "abandoned");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_go_on_at_once_one_does() {
    let world = world();
    world.small_objects(100);
    let fault = slow(&world, 50);
    let first = copy(&world, &["--concurrency", "2"]).spawn().unwrap();
    copies(&world, 10).await;
    signal(&first, Signal::TERM);
    Run::end_of(first).await.expect(4);
    assert_eq!(checkpoint(&world)["state"], "interrupted");
    let sent = |world: &World| {
        let copied = |e: &&LogEntry| e.operation == Operation::CopyObject;
        world.sandbox.log().entries().iter().filter(copied).count()
    };
    let before = sent(&world);
    let left = 100 - checkpoint(&world)["counts"]["succeeded"].as_u64().unwrap();
    let both = [
        copy(&world, &["--concurrency", "2"]),
        on_report(&world, &["resume"], &[]),
    ];
    let [one, other] = both.map(|mut command| command.spawn().unwrap());
    let (one, other) = tokio::join!(Run::end_of(one), Run::end_of(other));
    let mut codes = [one.code(), other.code()];
    codes.sort_unstable();
    assert_eq!(codes, [0, 2], "{one:?} {other:?}");
    fault.remove();
    assert_each_once(&world, 100);
    assert_eq!(sent(&world) - before, usize::try_from(left).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_job_that_cannot_begin_or_end_its_report() {
    for (name, kind) in [
        ("job.json", FaultKind::Hang),
        ("work/checkpoint.json", FaultKind::internal_error()),
        ("work/journal", FaultKind::Hang),
    ] {
        let world = world();
        world.small_objects(3);
        let fault = Fault::on(Operation::PutObject, kind).key_contains(name);
        let fault = world.sandbox.faults().add(fault);
        let child = copy(&world, &["--drain-timeout", "100ms"]).spawn().unwrap();
        hit(&fault).await;
        signal(&child, Signal::TERM);
        Run::end_of(child).await.expect(4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_job_that_never_began_is_no_job() {
    let world = world();
    let absent = ["copy", "--manifest", "absent.csv", "--job-id", "nothing"];
    let mut command = world.command(&absent);
    let given = copy(&world, &[]);
    let flags: Vec<_> = given.as_std().get_args().skip(3).collect();
    let at = flags.iter().position(|flag| *flag == "--job-id").unwrap();
    command.args(&flags[..at]).args(&flags[at + 2..]);
    Run::of(command).await.expect(2);
    assert!(
        world
            .store()
            .objects(REPORTS)
            .iter()
            .any(|o| o.key.contains("job-nothing/"))
    );
    world.small_objects(3);
    Run::of(copy(&world, &[])).await.expect(0);
    let mut show = world.command(&["report", "show", &address("")]);
    let role = format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}");
    show.args(["--role-arn", &role, "--external-id", EXTERNAL_ID])
        .args([
            "--endpoint-url",
            &world.sandbox.endpoint(),
            "--output",
            "json",
        ]);
    assert_eq!(Run::of(show).await.expect(0).summary("job_id"), JOB);
}
