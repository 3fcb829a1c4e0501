//! What a job does when what it stands on gives way: its credentials, its manifest, its folder, its first rows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::{
    BucketSettings, Fault, FaultHandle, FaultKind, LogEntry, ObjectProperties, Operation,
    SandboxOptions, When,
};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;

use crate::objects::{IN_PARTS, LARGE, PARTS, sent, sized_manifest};
use crate::resume::{durable_at_least, hung, kill, logged, terminate};
use crate::support::{DESTINATION, Run, SOURCE, World, count, message};

fn fault(world: &World, operation: Operation, kind: FaultKind, when: When) -> FaultHandle {
    let fault = Fault::on(operation, kind).when(when);
    world.sandbox.faults().add(fault)
}

pub(crate) fn error(status: u16, code: &str) -> FaultKind {
    FaultKind::Error {
        status,
        code: code.to_owned(),
        message: String::new(),
        retry_after: None,
    }
}

fn copies(world: &World) -> usize {
    world.sandbox.log().count(Operation::CopyObject)
}

#[track_caller]
fn assert_says(run: &Run, words: &[&str]) {
    for word in words {
        assert!(
            run.stderr.contains(word),
            "{word:?} is missing: {}",
            run.stderr
        );
    }
}

#[track_caller]
fn assert_failed(row: &ReportRow, code: &str) {
    let found = (row.status, row.error_code.as_str());
    assert_eq!(found, (TaskStatus::Failed, code), "{row:?}");
}

#[track_caller]
fn assert_found(row: &ReportRow) {
    assert_eq!(row.status, TaskStatus::Succeeded, "{row:?}");
    assert_eq!(message(row, "evidence"), "found", "{row:?}");
}

/// Waits until the job has begun, with its folder made and a request of it under way.
async fn begun(world: &World) {
    for _ in 0..6_000 {
        if world.job().exists() && world.sandbox.log().in_flight() > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the job never begins");
}

/// Runs a job whose sessions end and are not had again, and goes on with it when they are.
async fn without_new_credentials(refusal: FaultKind, words: &[&str]) {
    let options = SandboxOptions {
        min_session_seconds: 1,
        ..SandboxOptions::default()
    };
    let world = World::with(options, BucketSettings::default());
    let mut keys: Vec<_> = (0..60).map(|n| format!("k{n:02}")).collect();
    for key in &keys {
        world.put(key, key);
    }
    // Behind the first rows, and long enough to be in hand when the session ends.
    world
        .store()
        .declare_object(SOURCE, "huge", 8 * LARGE, 1, ObjectProperties::default())
        .unwrap();
    keys.insert(10, "huge".to_owned());
    sized_manifest(&world, &keys);
    fault(
        &world,
        Operation::CopyObject,
        FaultKind::Latency(150),
        When::Every,
    );
    fault(
        &world,
        Operation::UploadPartCopy,
        FaultKind::Latency(600),
        When::Every,
    );
    let refused = fault(
        &world,
        Operation::AssumeRole,
        refusal,
        When::FromTo(2, 1_000),
    );
    let mut flags = IN_PARTS.to_vec();
    flags.extend(["--role-duration", "2s", "--concurrency", "4"]);
    let run = world.copy(&flags).await;
    run.expect(3);
    assert!(refused.hits() > 0);
    assert_eq!(run.summary("state"), "failed");
    assert_eq!(world.checkpoint()["state"], "failed");
    let ended = run.summary("succeeded").as_u64().unwrap();
    assert!((1..61).contains(&ended), "{ended}");
    // No row failed for it.
    assert_eq!(
        (run.summary("failed"), run.summary("errors")),
        (json!(0), json!({}))
    );
    assert_says(
        &run,
        &[
            "the credentials are gone, and the job was stopped",
            "with new credentials, go on with: s3haul resume",
        ],
    );
    assert_says(&run, words);
    assert_eq!(run.summary("uploads"), 1);
    let uploads = world.store().uploads(DESTINATION);
    assert_eq!(uploads.len(), 1);
    assert!(!uploads[0].part_numbers.is_empty());

    world.sandbox.faults().clear();
    world.sandbox.log().clear();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), 61);
    assert_eq!(world.rows_by_key().len(), 61);
    for key in &keys {
        world.assert_copied(key);
    }
    // Gone on with.
    assert_eq!(sent(&world, Operation::CreateMultipartUpload, "huge"), []);
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_gone_for_good_stop_the_job() {
    without_new_credentials(error(400, "ExpiredToken"), &["log in again"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_taken_away_stops_the_job() {
    without_new_credentials(error(403, "AccessDenied"), &["sts:AssumeRole"]).await;
}

/// Starts a job whose manifest comes on stdin.
async fn start_on_stdin(world: &World, manifest: &str) -> Child {
    let mut command = world.given().set("--manifest", "-").command();
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(manifest.as_bytes()).await.unwrap();
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_on_stdin_is_the_same_again_or_none() {
    let (ours, other) = ("source,a\nsource,b\n", "source,a\nsource,c\n");
    for again in [ours, ""] {
        let world = World::new();
        for key in ["a", "b", "c"] {
            world.put(key, key);
        }
        let hang = world
            .sandbox
            .faults()
            .add(Fault::on(Operation::CopyObject, FaultKind::Hang).key("b"));
        let child = start_on_stdin(&world, ours).await;
        logged(&world, 1, hung).await;
        durable_at_least(&world, 1).await;
        kill(child).await;
        hang.remove();

        let refused = async || {
            let arrived = world.sandbox.log().arrived();
            let run = world.given().stdin(other).run().await;
            run.expect(2);
            assert_says(
                &run,
                &[
                    "the manifest on stdin is not the one that this job began with",
                    "--job-id",
                ],
            );
            assert_eq!(run.stdout, "");
            assert_eq!(world.sandbox.log().arrived(), arrived);
        };
        refused().await;
        assert!(world.store().object(DESTINATION, "b").is_none());
        let run = world.given().stdin(again).run().await;
        run.expect(0);
        assert_eq!(run.summary("succeeded"), 2);
        assert_eq!(world.rows_by_key().len(), 2);
        world.assert_copied("b");
        // A job that has ended says so, to the same ones.
        refused().await;
        let arrived = world.sandbox.log().arrived();
        let run = world.given().stdin(again).run().await;
        assert_eq!(run.expect(0).summary("succeeded"), 2);
        assert_eq!(world.sandbox.log().arrived(), arrived);
        assert!(world.store().object(DESTINATION, "c").is_none());
    }
}

/// Rows that no stage holds at once, and more bytes than are read at once: the reader waits for the first of them.
const LONG: usize = 400;

/// A key of almost the greatest length.
fn long_key(n: usize) -> String {
    format!("k{n:05}{}", "-".repeat(900))
}

/// Changes the manifest under a job whose first rows are held, and puts it back when the job has stopped.
async fn changed_meanwhile(change: impl FnOnce(&str) -> String, other: &str) {
    let world = World::new();
    for n in 0..LONG {
        world.put(&long_key(n), "content");
    }
    world.put(other, "not listed");
    let manifest = world.manifest_of((0..LONG).map(long_key));
    let before = std::fs::read_to_string(&manifest).unwrap();
    let held = FaultKind::Latency(300);
    fault(&world, Operation::CopyObject, held, When::First(10));
    let child = world.copy_command().spawn().unwrap();
    begun(&world).await;
    // In place, as what appends to it does.
    std::fs::write(&manifest, change(&before)).unwrap();
    let run = Run::end_of(child).await;
    run.expect(3);
    let words = [
        "the manifest",
        "has changed since the job began",
        "s3haul resume",
    ];
    assert_says(&run, &words);
    assert_eq!(run.summary("state"), "failed");
    assert_eq!(run.summary("exit_code"), 3);

    let before_resume = copies(&world);
    world.resume(&[]).await.expect(2);
    assert_eq!(copies(&world), before_resume);

    std::fs::write(&manifest, before).unwrap();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), LONG);
    assert_eq!(world.rows_by_key().len(), LONG);
    for n in 0..LONG {
        world.assert_copied(&long_key(n));
    }
    assert_eq!(sent(&world, Operation::CopyObject, other), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_appended_meanwhile_stop_the_job_and_are_not_sent() {
    changed_meanwhile(|before| format!("{before}source,other\n"), "other").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_edited_in_place_stops_the_job() {
    // Read while rows are still sent: its row must not be taken for the one that was there.
    let (row, other) = (long_key(330), long_key(330).replace('k', "o"));
    changed_meanwhile(|before| before.replace(&row, &other), &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_not_sent_prove_nothing() {
    let world = World::new();
    let unsent = (0..12).map(|n| format!("x{n:02}"));
    let keys: Vec<_> = unsent
        .chain((0..20).map(|n| format!("p/k{n:02}")))
        .collect();
    for key in &keys {
        world.put(key, key);
    }
    world.manifest_of(&keys);
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    let run = world.copy(&["--strip-prefix", "p/"]).await;
    run.expect(3);
    assert_eq!(copies(&world), 10);
    assert_eq!(
        run.summary("errors"),
        json!({"PrefixNotFound": 12, "AccessDenied": 10})
    );
    assert_eq!(run.summary("state"), "failed");
    assert_says(
        &run,
        &["the first 10 rows were all refused for want of access"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_which_nothing_is_sent_ends() {
    let world = World::new();
    world.manifest_of((0..15).map(|n| format!("x{n:02}")));
    let run = world.copy(&["--strip-prefix", "p/"]).await;
    run.expect(1);
    assert_eq!(run.summary("errors"), json!({"PrefixNotFound": 15}));
    assert_eq!(run.summary("state"), "complete");
    assert_eq!(world.writes(), 0);
    assert_eq!(count(&world.rows(), TaskStatus::Failed), 15);
}

/// Runs a job of one row whose CopyObjects meet these faults.
async fn one_row(overwrite: &str, faults: Vec<(FaultKind, When)>, code: i32) -> (World, Run) {
    let world = World::new();
    world.small_objects(1);
    for (kind, when) in faults {
        fault(&world, Operation::CopyObject, kind, when);
    }
    let run = world.copy(&["--overwrite", overwrite]).await;
    run.expect(code);
    (world, run)
}

fn statuses(world: &World) -> Vec<Option<u16>> {
    let copies = world.sandbox.log().of(Operation::CopyObject);
    copies.iter().map(|copy| copy.status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_done_though_s3_said_slow_down_is_found() {
    let kind = FaultKind::ErrorInOkAfterWork("SlowDown".to_owned());
    let (world, run) = one_row("never", vec![(kind, When::First(1))], 0).await;
    // Our own object is what the second one met.
    assert_eq!(statuses(&world), [Some(200), Some(412)]);
    assert_found(&world.row());
    assert_eq!(
        (run.summary("succeeded"), run.summary("skipped")),
        (json!(1), json!(0))
    );
    world.assert_copied("k00000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_remembered_over_a_refusal() {
    let refused = (error(403, "AccessDenied"), When::Every);
    let lost = (FaultKind::AnswerLost, When::First(1));
    let (world, _) = one_row("always", vec![lost, refused.clone()], 0).await;
    assert_eq!(statuses(&world)[1..], [Some(403)]);
    assert_found(&world.row());
    assert_eq!(message(&world.row(), "in_doubt"), true);
    world.assert_copied("k00000");

    // Not done, it stays refused.
    let reset = (FaultKind::Reset, When::First(1));
    let (world, run) = one_row("always", vec![reset, refused], 3).await;
    assert_eq!(run.summary("errors"), json!({"AccessDenied": 1}));
    assert!(world.store().object(DESTINATION, "k00000").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_was_not_ours_is_no_skip() {
    let refused = (error(412, "PreconditionFailed"), When::Every);
    let (world, run) = one_row("always", vec![refused], 1).await;
    assert_failed(&world.row(), "PreconditionFailed");
    assert_eq!(run.summary("skipped"), 0);
    assert_eq!(copies(&world), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_refused_for_a_condition_that_was_not_ours_is_no_skip() {
    let world = World::new();
    world.declare("large", LARGE);
    sized_manifest(&world, ["large"]);
    let refused = error(412, "PreconditionFailed");
    let complete = Operation::CompleteMultipartUpload;
    fault(&world, complete, refused, When::Every);
    world.copy(&IN_PARTS).await.expect(1);
    assert_failed(&world.row(), "PreconditionFailed");
    assert!(world.store().object(DESTINATION, "large").is_none());
    world.assert_no_uploads();
}

/// The files of a folder and what is in them.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            for (inner, bytes) in content(&entry.path()) {
                found.insert(format!("{name}/{inner}"), bytes);
            }
        } else {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

fn write_content(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_moved_or_replaced_is_not_written_to() {
    for replaced in [true, false] {
        let world = World::new();
        world.small_objects(12);
        fault(
            &world,
            Operation::CopyObject,
            FaultKind::Latency(400),
            When::Every,
        );
        let child = world.copy_command().spawn().unwrap();
        begun(&world).await;
        let away = world.path("report").join("away");
        std::fs::rename(world.job(), &away).unwrap();
        let ours = content(&away);
        if replaced {
            write_content(&world.job(), &ours);
        }
        let run = Run::end_of(child).await;
        run.expect(4);
        assert_says(&run, &["the report cannot be written", "hint: "]);
        if replaced {
            assert_says(&run, &["was removed or replaced"]);
            assert_eq!(content(&world.job()), ours);
            std::fs::remove_dir_all(world.job()).unwrap();
        } else {
            assert_says(&run, &["cannot find", "job-test"]);
            assert!(!world.job().exists(), "the folder was made again");
        }
        // Where it was moved to it is as it was, and goes on when it is back.
        assert_eq!(content(&away), ours);
        std::fs::rename(&away, world.job()).unwrap();
        world.sandbox.faults().clear();
        let run = world.resume(&[]).await;
        assert_eq!(run.expect(0).summary("succeeded"), 12);
        assert_eq!(world.rows_by_key().len(), 12);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abandon_aborts_an_upload_that_nobody_recorded_and_no_others() {
    let world = World::new();
    world.declare("large", LARGE);
    sized_manifest(&world, ["large"]);
    // Another session's, of the same role and key.
    let hang = fault(
        &world,
        Operation::UploadPartCopy,
        FaultKind::Hang,
        When::Every,
    );
    let mut command = world.copy_command_into("another");
    command
        .args(IN_PARTS)
        .args(["--role-session-name", "another"]);
    let child = command.spawn().unwrap();
    logged(&world, PARTS, hung).await;
    kill(child).await;
    hang.remove();
    let others = world.store().uploads(DESTINATION);
    assert_eq!(others.len(), 1);

    world.sandbox.log().clear();
    fault(
        &world,
        Operation::CreateMultipartUpload,
        FaultKind::AnswerLost,
        When::First(1),
    );
    let hang = fault(
        &world,
        Operation::ListMultipartUploads,
        FaultKind::Hang,
        When::Every,
    );
    let mut command = world.copy_command();
    command.args(IN_PARTS);
    let child = command.spawn().unwrap();
    logged(&world, 1, hung).await;
    kill(child).await;
    hang.remove();
    let uploads = world.store().uploads(DESTINATION);
    assert_eq!(uploads.len(), 2);
    assert_ne!(uploads[0].initiator, uploads[1].initiator);
    assert_eq!(world.checkpoint()["uploads"], json!([]));

    let mut abandon = world.command(&["abandon"]);
    abandon.arg(world.path("report")).args(["--output", "json"]);
    let run = Run::of(abandon).await;
    run.expect(0);
    assert_eq!(run.summary("state"), "abandoned");
    assert_eq!(world.store().uploads(DESTINATION), others);
    let aborts = sent(&world, Operation::AbortMultipartUpload, "large");
    assert_eq!(aborts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_key_id_with_a_line_break_is_named() {
    let world = World::new();
    world.small_objects(1);
    let id = s3haul_sandbox::iam::OPERATOR_ACCESS_KEY_ID;
    let given = world
        .given()
        .variable("AWS_ACCESS_KEY_ID", format!("{id}\n"));
    let run = given
        .refused(3, &["access key ID", "line break", "hint: "])
        .await;
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert_eq!(world.sandbox.log().arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_the_first_row_leaves_nothing() {
    let world = World::new();
    world.small_objects(1);
    fault(&world, Operation::HeadBucket, FaultKind::Hang, When::Every);
    let child = world.copy_command().spawn().unwrap();
    logged(&world, 1, hung).await;
    terminate(&child);
    let run = Run::end_of(child).await;
    run.expect(4);
    assert_eq!(run.stdout, "");
    assert_says(&run, &["stopped by a signal"]);
    let left = std::fs::read_dir(world.path("report")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
    // The same job ID is free.
    world.sandbox.faults().clear();
    world.copy(&[]).await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_stdin_is_awaited_ends_the_program() {
    let world = World::new();
    let given = world.given().set("--manifest", "-");
    let mut command = given.command();
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let waiting = child.stdin.take();
    let staged = world.path("report");
    while std::fs::read_dir(&staged).map_or(0, Iterator::count) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    terminate(&child);
    let run = Run::end_of(child).await;
    run.expect(4);
    assert_says(&run, &["stopped by a signal"]);
    assert_eq!(std::fs::read_dir(&staged).map_or(0, Iterator::count), 0);
    drop(waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_whose_sealed_rows_are_gone_is_not_resumed() {
    let world = World::new();
    for key in ["a", "b"] {
        world.put(key, key);
    }
    world.manifest_of(["a", "b", "gone"]);
    world.copy(&[]).await.expect(1);
    let rows = world.rows();
    let sealed = world.checkpoint()["sealed"].clone();
    let names: Vec<_> = sealed
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 2);
    for name in names {
        let path = world.job().join(&name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let before = content(&world.job());
        assert!(before.contains_key("manifest.json"));
        let sent_before = copies(&world);
        let run = world.resume(&[]).await;
        run.expect(4);
        assert_says(&run, &[&name, "is gone", "hint: the report is damaged"]);
        assert_eq!(content(&world.job()), before);
        assert_eq!(copies(&world), sent_before);
        std::fs::write(&path, bytes).unwrap();
    }
    // Put back, it goes on.
    assert_eq!(world.rows(), rows);
    world.put("gone", "there again");
    world.resume(&[]).await.expect(0);
    assert_eq!(world.rows().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_durable_is_shown_of_a_job_that_was_killed() {
    let world = World::new();
    world.small_objects(20);
    let hang = Fault::on(Operation::CopyObject, FaultKind::Hang).key("k00019");
    world.sandbox.faults().add(hang);
    let child = world.copy_command().spawn().unwrap();
    durable_at_least(&world, 19).await;
    kill(child).await;
    assert_eq!(world.checkpoint()["sealed"], json!([]));
    let before = content(&world.job());
    let mut show = world.command(&["report", "show"]);
    show.arg(world.path("report")).args(["--output", "json"]);
    let run = Run::of(show).await;
    assert_eq!(run.summary("succeeded"), 19);
    assert_eq!(run.summary("rows"), 20);
    // Shown, and not touched.
    assert_eq!(content(&world.job()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_an_e_tag_is_not_held_to_one() {
    let world = World::new();
    world.put("listed", "content");
    world.put("unlisted", "content");
    world.declare("large", LARGE);
    let mut rows = String::new();
    let e_tag = world.store().object(SOURCE, "listed").unwrap().e_tag();
    writeln!(rows, "{SOURCE},listed,7,{e_tag}").unwrap();
    writeln!(rows, "{SOURCE},unlisted,7,").unwrap();
    writeln!(rows, "{SOURCE},large,{LARGE},").unwrap();
    world.manifest(rows);
    let mut flags = IN_PARTS[..4].to_vec();
    flags.extend([
        "--manifest-fields",
        "Bucket,Key,Size,ETag",
        "--source-changed",
        "fail",
    ]);
    let run = world.copy(&flags).await;
    run.expect(1);
    assert_eq!(run.summary("errors"), json!({"NoListedETag": 2}));
    let rows = world.rows_by_key();
    for key in ["unlisted", "large"] {
        assert_failed(&rows[key], "NoListedETag");
        assert!(world.store().object(DESTINATION, key).is_none());
        let of_key = |entry: &LogEntry| entry.key == key;
        assert!(!world.sandbox.log().entries().iter().any(of_key));
    }
    assert_eq!(rows["listed"].status, TaskStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_an_etag_prove_nothing_and_hold_nobody() {
    let world = World::new();
    world.put("k", "content");
    let e_tag = world
        .store()
        .object(crate::support::SOURCE, "k")
        .unwrap()
        .e_tag();
    let without = "source,k,\n".repeat(12);
    world.manifest(format!("{without}source,k,{e_tag}\n"));
    let given = world
        .given()
        .set("--manifest-fields", "Bucket,Key,ETag")
        .set("--source-changed", "fail");
    let run = given.run().await;
    run.expect(1);
    assert_eq!(run.summary("errors"), json!({"NoListedETag": 12}));
    assert_eq!(run.summary("succeeded"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_files_are_told_before_the_job() {
    let world = World::new();
    world.small_objects(3);
    let limited = |more: &str| {
        let copy = world.copy_command();
        let copy = copy.as_std();
        let mut command = world.command(&[]);
        let mut shell = tokio::process::Command::new("sh");
        let script = format!("ulimit -n 96; exec \"$0\" \"$@\" {more}");
        shell
            .arg("-c")
            .arg(script)
            .arg(copy.get_program())
            .args(copy.get_args());
        for (name, value) in command.as_std_mut().get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        shell
    };
    let refused = Run::of(limited("")).await;
    refused.expect(2);
    assert!(refused.stderr.contains("ulimit -n"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--concurrency 56"),
        "{}",
        refused.stderr
    );
    Run::of(limited("--concurrency 56")).await.expect(0);
}
