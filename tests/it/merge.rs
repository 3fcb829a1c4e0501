//! `report merge`, and `report show` of arrays: the shards' reports as one, or what is wrong with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::{Fault, FaultKind, Operation};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::bucket::{self, REPORTS};
use crate::support::{JOB, Run, SOURCE, World, count, read_report_by};

/// One shard of the job, as an array's child runs it.
fn shard(world: &World, index: u32, of: u32) -> Command {
    shard_into(world, index, of, "report")
}

fn shard_into(world: &World, index: u32, of: u32, report: &str) -> Command {
    let mut command = world.copy_command_into(report);
    let shard = format!("{index}/{of}");
    command.args(["--shard", &shard, "--failed-rows-exit", "0"]);
    command
}

async fn report(world: &World, command: &str, more: &[&str]) -> Run {
    let mut of = world.command(&["report", command]);
    of.arg(world.path("report")).args(more);
    Run::of(of).await
}

async fn merge(world: &World) -> Run {
    report(world, "merge", &["--output", "json"]).await
}

async fn show(world: &World) -> Run {
    report(world, "show", &["--output", "json"]).await
}

fn folder(world: &World, index: u32, of: u32) -> PathBuf {
    world.job().join(format!("shard-{index:05}-of-{of:05}"))
}

/// Changes a JSON file of a report.
fn change(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
}

/// Objects, one row that is none, and one that the filter leaves out.
fn objects(world: &World) {
    world.small_objects(23);
    let rows = std::fs::read_to_string(world.path("manifest.csv")).unwrap();
    let none = "no%1B%5B31msuch%0Akey";
    world.manifest(format!("{rows}{SOURCE},{none}\n{SOURCE},left/out\n"));
}

const FILTER: [&str; 2] = ["--exclude-prefix", "left/"];

async fn run_filtered(world: &World, of: u32) {
    for index in 0..of {
        let mut command = shard(world, index, of);
        command.args(FILTER);
        Run::of(command).await.expect(0);
    }
}

/// What a report says of its rows, less what no two runs have in common.
fn told(rows: &[ReportRow]) -> Vec<(String, &str, String)> {
    let row = |row: &ReportRow| {
        let code = row.error_code.clone();
        (row.key.clone(), row.status.as_str(), code)
    };
    let mut told: Vec<_> = rows.iter().map(row).collect();
    told.sort();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_reports_are_one() {
    let world = World::new();
    objects(&world);
    let mut alone = world.copy_command_into("alone");
    alone.args(FILTER);
    let alone = Run::of(alone).await;
    alone.expect(1);
    let rows_alone = crate::support::read_report(&world.path("alone").join(format!("job-{JOB}")));
    run_filtered(&world, 3).await;

    // The same is said of them before they are merged as behind it.
    let before = show(&world).await;
    before.expect(1);
    let merged = merge(&world).await;
    merged.expect(1);
    let after = show(&world).await;
    after.expect(1);
    assert_eq!(before.stdout, after.stdout);
    for member in [
        "job_id",
        "state",
        "rows",
        "succeeded",
        "failed",
        "skipped",
        "filtered",
        "bytes",
        "errors",
        "evidence",
        "exit_code",
    ] {
        for run in [&merged, &after] {
            assert_eq!(run.summary(member), alone.summary(member), "{member}");
        }
    }
    let report = world.job().canonicalize().unwrap();
    assert_eq!(merged.summary("report"), report.to_str().unwrap());
    assert_eq!(
        merged.summary("failed_rows")[0]["key"],
        "no%1B%5B31msuch%0Akey"
    );
    assert_eq!(merged.summary("failed_rows")[0]["error_code"], "NoSuchKey");
    assert_eq!(merged.summary("failed_rows").as_array().unwrap().len(), 1);
    assert_eq!(merged.summary("slowest"), Value::Null);
    assert_eq!(after.summary("slowest").as_array().unwrap().len(), 10);
    let example = &after.summary("examples")["NoSuchKey"];
    assert_eq!(example["operation"], "CopyObject");
    assert!(example["request_id"].is_string(), "{example}");
    let states = |run: &Run| -> Vec<Value> {
        let shards = run.summary("shards");
        let shards = shards.as_array().unwrap().iter();
        shards.map(|shard| shard["state"].clone()).collect()
    };
    assert_eq!(states(&merged), ["complete"; 3]);

    // Its rows are those of a single run, by way of its manifest.json.
    assert_eq!(told(&world.rows()), told(&rows_alone));
    // It is that of the last shard to end, and again the same.
    let read = |name: &str| std::fs::read(world.job().join(name)).unwrap();
    let json =
        |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let date = |path: PathBuf| json(&path.join("manifest.json"))["ReportCreationDate"].clone();
    let last = (0..3).map(|n| date(folder(&world, n, 3)).to_string()).max();
    assert_eq!(Some(date(world.job()).to_string()), last);
    let (manifest, sum) = (read("manifest.json"), read("manifest.json.md5"));
    merge(&world).await.expect(1);
    assert_eq!(
        (read("manifest.json"), read("manifest.json.md5")),
        (manifest, sum)
    );
    // A shard's own report is as before.
    let shown = folder(&world, 0, 3);
    let mut of_shard = world.command(&["report", "show", "--output", "json"]);
    of_shard.arg(&shown);
    let of_shard = Run::of(of_shard).await;
    assert_eq!(of_shard.code(), 0);
    assert_eq!(of_shard.summary("shards"), Value::Null);

    // What failed is tried again in its shard, and merged anew.
    world.put("no\u{1b}[31msuch\nkey", "now it is");
    for index in 0..3 {
        let mut resume = world.command(&["resume"]);
        resume.arg(folder(&world, index, 3));
        Run::of(resume).await.expect(0);
    }
    let merged = merge(&world).await;
    merged.expect(0);
    assert_eq!(merged.summary("failed_rows"), json!([]));
    let rows = world.rows();
    assert_eq!((rows.len(), count(&rows, TaskStatus::Succeeded)), (24, 24));
}

#[tokio::test(flavor = "multi_thread")]
async fn text_names_failed_rows_and_escapes_them() {
    let world = World::new();
    // An encoded manifest's own spelling is echoed, whatever is in it.
    let none = (0..7).map(|n| format!("{SOURCE},none{n}\u{202e}\n"));
    let rows: String = none.collect();
    world.manifest(rows);
    for index in 0..2 {
        let mut command = shard(&world, index, 2);
        command.args(["--key-encoding", "raw", "--failure-threshold", "none"]);
        // Rows are reported as they end.
        command.args(["--concurrency", "1"]);
        Run::of(command).await.expect(0);
    }
    let merged = report(&world, "merge", &[]).await;
    merged.expect(1);
    let lines: Vec<_> = merged.stdout.lines().collect();
    let at = lines
        .iter()
        .position(|line| *line == "  failed rows:")
        .unwrap();
    assert_eq!(lines[at + 1], "    NoSuchKey source,none0%E2%80%AE");
    assert_eq!(lines[at + 6], "    and 2 more");
    assert!(lines.contains(&"  2 shards: 2 complete (0-1)"), "{lines:?}");
    let logged = report(&world, "merge", &["--log-format", "json"]).await;
    let lines = logged.stderr.lines();
    let lines: Vec<Value> = lines.map(|l| serde_json::from_str(l).unwrap()).collect();
    let hint = lines.last().unwrap()["message"].as_str().unwrap();
    assert!(hint.contains("s3haul resume"), "{}", logged.stderr);
    let shown = report(&world, "show", &[]).await;
    shown.expect(1);
    let example = "    source,none0%E2%80%AE: The specified key does not exist. (CopyObject, 404, request ID ";
    assert_eq!(shown.stdout.matches(example).count(), 1, "{}", shown.stdout);
    assert!(!shown.stdout.contains('\u{202e}') && !shown.stdout.contains('\u{1b}'));
    assert!(shown.stdout.contains("\n  slowest:\n"), "{}", shown.stdout);
    assert!(shown.stdout.contains(" rows/s, "), "{}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_have_not_ended_are_named() {
    let world = World::new();
    world.small_objects(12);
    // One that is killed, one that is refused everything, one that never came.
    let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(60_000));
    let slow = world.sandbox.faults().add(slow);
    let mut child = shard(&world, 1, 4).spawn().unwrap();
    while slow.hits() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().await.unwrap();
    slow.remove();
    Run::of(shard(&world, 3, 4)).await.expect(0);
    // A folder without a job is none.
    std::fs::create_dir_all(folder(&world, 0, 4).join("work")).unwrap();

    let run = merge(&world).await;
    run.expect(4);
    let words = "of 4 shards: shards 0, 2 are missing, shard 1 is still running or killed";
    assert!(run.stderr.contains(words), "{}", run.stderr);
    assert!(!world.job().join("manifest.json").exists());
    let shown = report(&world, "show", &[]).await;
    shown.expect(4);
    let words = "  4 shards: 2 missing (0, 2), 1 not ended (1), 1 complete (3)\n";
    assert!(shown.stdout.contains(words), "{}", shown.stdout);

    std::fs::remove_dir_all(folder(&world, 0, 4)).unwrap();
    Run::of(shard(&world, 1, 4)).await.expect(0);
    let refused = FaultKind::Error {
        status: 403,
        code: "AccessDenied".into(),
        message: String::new(),
        retry_after: None,
    };
    let refused = Fault::on(Operation::CopyObject, refused);
    let refused = world.sandbox.faults().add(refused);
    Run::of(shard(&world, 0, 4)).await.expect(3);
    refused.remove();
    let run = merge(&world).await;
    run.expect(3);
    let words =
        "shard 2 is missing, shard 0 is stopped for want of access or by the failure threshold";
    assert!(run.stderr.contains(words), "{}", run.stderr);
    // What a job that has not ended has sealed is shown.
    let shown = show(&world).await;
    shown.expect(3);
    assert_eq!(shown.summary("state"), "failed");
    let example = &shown.summary("examples")["AccessDenied"];
    assert_eq!(example["operation"], "CopyObject", "{example}");

    Run::of(shard(&world, 0, 4)).await.expect(0);
    merge(&world).await.expect(4);
    Run::of(shard(&world, 2, 4)).await.expect(0);
    // What was refused has failed, and is tried again by a resume.
    let merged = merge(&world).await;
    merged.expect(1);
    assert_eq!(merged.summary("errors"), json!({"AccessDenied": 3}));
    let mut resume = world.command(&["resume"]);
    resume.arg(folder(&world, 0, 4));
    Run::of(resume).await.expect(0);
    merge(&world).await.expect(0);
    assert_eq!(count(&world.rows(), TaskStatus::Succeeded), 12);

    // One that was given up cannot become whole.
    change(&folder(&world, 2, 4).join("work/checkpoint.json"), |json| {
        json["state"] = json!("abandoned");
    });
    let run = merge(&world).await;
    run.expect(2);
    assert!(run.stderr.contains("2 is abandoned"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_add_up_is_refused() {
    let world = World::new();
    objects(&world);
    run_filtered(&world, 2).await;
    let nothing_written = || assert!(!world.job().join("manifest.json").exists());
    let refused = async |words: &str| {
        let run = merge(&world).await;
        run.expect(2);
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
        nothing_written();
    };
    let first = folder(&world, 0, 2);
    let read = |path: &Path| std::fs::read(path).unwrap();

    // A byte of a row.
    let results = first.join("results");
    let file = std::fs::read_dir(&results).unwrap().next().unwrap();
    let file = file.unwrap().path();
    let was = read(&file);
    let mut tampered = was.clone();
    tampered[SOURCE.len() + 1] ^= 1;
    std::fs::write(&file, &tampered).unwrap();
    refused("is damaged: its MD5 is").await;
    // What is only looked at is shown all the same, with a word.
    let shown = show(&world).await;
    shown.expect(1);
    assert!(shown.stderr.contains("is damaged"), "{}", shown.stderr);
    std::fs::remove_file(&file).unwrap();
    refused("cannot read").await;
    std::fs::write(&file, &was).unwrap();

    // Another list of files, other counts.
    let path = first.join("manifest.json");
    let was = read(&path);
    change(&path, |json| {
        json["Results"].as_array_mut().unwrap().pop();
    });
    refused("does not list the files that the shard's checkpoint has").await;
    std::fs::write(&path, &was).unwrap();
    let path = first.join("work/checkpoint.json");
    let was = read(&path);
    for count in ["succeeded", "failed", "rows", "filtered"] {
        change(&path, |json| {
            let counts = &mut json["counts"][count];
            *counts = json!(counts.as_u64().unwrap() + 1);
        });
        refused("that the checkpoint of").await;
        std::fs::write(&path, &was).unwrap();
    }

    // Rows of the manifest that are nobody's; another manifest; another job.
    let paths = [0, 1].map(|index| folder(&world, index, 2).join("job.json"));
    let jobs = [read(&paths[0]), read(&paths[1])];
    let with = |index: usize, more: fn(&mut Value)| change(&paths[index], more);
    let put_back = || {
        for (path, job) in paths.iter().zip(&jobs) {
            std::fs::write(path, job).unwrap();
        }
    };
    let more_rows = |json: &mut Value| json["survey"]["dealt"]["rows"]["of"] = json!(26);
    with(0, more_rows);
    refused("the manifests differ").await;
    with(1, more_rows);
    refused("25 rows of the shards").await;
    put_back();
    with(1, |json| json["survey"]["e_tag"] = json!("0"));
    refused("the manifests differ").await;
    put_back();
    with(1, |json| {
        json["job"]["destination_bucket"] = json!("elsewhere");
    });
    refused("--to differ").await;
    put_back();
    with(1, |json| json["job_id"] = json!("other"));
    refused("--job-id differ").await;
    put_back();
    with(1, |json| json["job"]["read"]["shard"]["index"] = json!(0));
    refused("--shard differ").await;
    put_back();

    // Shards of another array; a job's own report.
    let stray = world.job().join("shard-00002-of-00003");
    std::fs::create_dir(&stray).unwrap();
    std::fs::copy(&paths[0], stray.join("job.json")).unwrap();
    refused("of 2, of 3").await;
    std::fs::remove_dir_all(&stray).unwrap();
    std::fs::copy(&paths[0], world.job().join("job.json")).unwrap();
    refused("no array").await;
    std::fs::remove_file(world.job().join("job.json")).unwrap();
    // One that has not begun.
    std::fs::create_dir(&stray).unwrap();
    merge(&world).await.expect(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_failed_rows_alone_is_merged_by_its_counts() {
    let world = World::new();
    objects(&world);
    for index in 0..2 {
        let mut command = shard(&world, index, 2);
        command.args(FILTER).args(["--report-scope", "failed"]);
        Run::of(command).await.expect(0);
    }
    let merged = merge(&world).await;
    merged.expect(1);
    let counts = ["rows", "succeeded", "failed"].map(|member| merged.summary(member));
    assert_eq!(counts, [24, 23, 1]);
    assert_eq!(world.rows().len(), 1);
    // It does not say which rows succeeded, as its shards do not.
    let mut after = world.copy_command_into("after");
    after.arg("--previous-report").arg(world.job());
    after.args(["--previous-report-match", "key"]);
    let run = Run::of(after).await;
    run.expect(2);
    assert!(
        run.stderr.contains("lists failed rows alone"),
        "{}",
        run.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_report_is_one_like_any_other() {
    let world = World::new();
    objects(&world);
    run_filtered(&world, 3).await;
    let mut after = world.copy_command_into("after");
    after.arg("--previous-report").arg(world.job());
    after.args(["--previous-report-match", "key"]);
    let run = Run::of(after).await;
    run.expect(2);
    let words = "reports of shards, which s3haul report merge makes one";
    assert!(run.stderr.contains(words), "{}", run.stderr);
    merge(&world).await.expect(1);
    let manifest = world.job().join("manifest.json");
    let manifest = manifest.to_str().unwrap();

    // As the report of an earlier job.
    let mut after = world.copy_command_into("after");
    after.args(FILTER).arg("--previous-report").arg(world.job());
    after.args(["--previous-report-match", "key"]);
    let run = Run::of(after).await;
    run.expect(1);
    assert_eq!([run.summary("skipped"), run.summary("failed")], [23, 1]);
    assert!(!run.stderr.contains("does not say where"), "{}", run.stderr);
    let mut elsewhere = world.copy_command_into("elsewhere");
    elsewhere.args(["--strip-prefix", "k"]);
    elsewhere.arg("--previous-report").arg(world.job());
    elsewhere.args(["--previous-report-match", "key"]);
    let run = Run::of(elsewhere).await;
    run.expect(2);
    assert!(run.stderr.contains("is of copies to"), "{}", run.stderr);

    // As a manifest: what failed is to be copied, what did not to be verified.
    world.put("no\u{1b}[31msuch\nkey", "now it is");
    let verified = world.verifying().set("--manifest", manifest).run().await;
    verified.expect(0);
    assert_eq!(verified.summary("rows"), 23);
    let again = world.given().set("--manifest", manifest);
    let again = again.set("--job-id", "again").run().await;
    again.expect(0);
    assert_eq!(again.summary("rows"), 1);
    // As the manifest of an array, too.
    let mut of_array = BTreeMap::new();
    for index in 0..2 {
        let verify = world.verifying().set("--manifest", manifest);
        let verify = verify
            .set("--job-id", "array")
            .set("--shard", format!("{index}/2"));
        of_array.insert(index, verify.run().await.summary("rows"));
    }
    assert_eq!(of_array.values().filter_map(Value::as_u64).sum::<u64>(), 23);

    // One of its shards is resumed: what it lists is not all any more.
    for index in 0..3 {
        let resumed = folder(&world, index, 3);
        let mut resume = world.command(&["resume"]);
        resume.arg(resumed);
        Run::of(resume).await.expect(0);
    }
    let stale = world.verifying().set("--manifest", manifest);
    let stale = stale.set("--job-id", "stale").run().await;
    stale.expect(2);
    for word in ["was resumed since", "s3haul report merge again"] {
        assert!(stale.stderr.contains(word), "{}", stale.stderr);
    }
    let mut again = world.command(&["report", "merge"]);
    again.arg(world.job());
    Run::of(again).await.expect(0);
    let whole = world.verifying().set("--manifest", manifest);
    let whole = whole.set("--job-id", "stale").run().await;
    assert_eq!(whole.expect(0).summary("rows"), 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_bucket() {
    let world = bucket::world();
    objects(&world);
    let of_array = |index| {
        let mut command = shard_into(&world, index, 3, &bucket::address(""));
        command.args(FILTER).args(["--report-interval", "100ms"]);
        Run::of(command)
    };
    of_array(0).await.expect(0);
    of_array(2).await.expect(0);
    let on_report = |command: &str| {
        let command = bucket::on_report(&world, &["report", command], &[]);
        Run::of(command)
    };
    let run = on_report("merge").await;
    run.expect(4);
    assert!(
        run.stderr.contains("of 3 shards: shard 1 is missing"),
        "{}",
        run.stderr
    );
    of_array(1).await.expect(0);
    // Two at once write the same.
    let (merged, other) = tokio::join!(on_report("merge"), on_report("merge"));
    merged.expect(1);
    assert_eq!(other.expect(1).stdout, merged.stdout);
    assert_eq!([merged.summary("rows"), merged.summary("failed")], [24, 1]);
    assert_eq!(
        merged.summary("report"),
        bucket::address(&format!("/job-{JOB}"))
    );
    let rows = read_report_by(REPORTS, &bucket::prefix(), |name| {
        bucket::file(&world, name).unwrap()
    });
    assert_eq!((rows.len(), count(&rows, TaskStatus::Succeeded)), (24, 23));
    // Once more changes nothing, and writes nothing.
    world.sandbox.log().clear();
    on_report("merge").await.expect(1);
    assert!(world.sandbox.log().of(Operation::PutObject).is_empty());
    let shown = on_report("show").await;
    shown.expect(1);
    assert_eq!(shown.summary("examples")["NoSuchKey"]["http_status"], 404);

    // It is a manifest where it lies, of which each file is held to its MD5.
    let manifest = format!("{}/manifest.json", bucket::address(&format!("/job-{JOB}")));
    let verified = world.verifying().set("--manifest", &*manifest).run().await;
    assert_eq!(verified.expect(0).summary("rows"), 23);
    let given = world.given().set("--manifest", &*manifest);
    let run = given.set("--job-id", "failed").run().await;
    run.expect(1);
    assert_eq!([run.summary("rows"), run.summary("failed")], [1, 1]);

    // The folder above it will do, and a report that was merged before is replaced.
    world.put("no\u{1b}[31msuch\nkey", "now it is");
    for index in 0..3 {
        let folder = format!("/job-{JOB}/shard-{index:05}-of-00003");
        let resume = bucket::on_report(&world, &["resume"], &[]);
        let resume = readdressed(&resume, &world, &folder);
        Run::of(resume).await.expect(0);
    }
    let stale = world.verifying().set("--job-id", "stale");
    let stale = stale.set("--manifest", &*manifest).run().await;
    stale.expect(2);
    let word = "was resumed since";
    assert!(stale.stderr.contains(word), "{}", stale.stderr);
    let above = readdressed(
        &bucket::on_report(&world, &["report", "merge"], &[]),
        &world,
        "",
    );
    let merged = Run::of(above).await;
    merged.expect(0);
    let rows = read_report_by(REPORTS, &bucket::prefix(), |name| {
        bucket::file(&world, name).unwrap()
    });
    assert_eq!((rows.len(), count(&rows, TaskStatus::Succeeded)), (24, 24));
    // An object that changed while it lay there.
    let damaged = world
        .store()
        .objects(REPORTS)
        .into_iter()
        .find(|o| o.key.contains("/results/") && !o.bytes().is_empty());
    let mut bytes = damaged.as_ref().unwrap().bytes();
    bytes[SOURCE.len() + 1] ^= 1;
    let properties = s3haul_sandbox::ObjectProperties::default();
    let key = &damaged.unwrap().key;
    world
        .store()
        .put_object(REPORTS, key, bytes, properties)
        .unwrap();
    let run = on_report("merge").await;
    run.expect(2);
    assert!(
        run.stderr.contains("is damaged: its MD5 is"),
        "{}",
        run.stderr
    );
    let verifying = world.verifying().set("--job-id", "damaged");
    let run = verifying.set("--manifest", manifest).run().await;
    run.expect(2);
    assert!(run.stderr.contains("MD5"), "{}", run.stderr);
}

/// The same command on another place of the reports.
fn readdressed(command: &Command, world: &World, place: &str) -> Command {
    let old = bucket::address(&format!("/job-{JOB}"));
    let arguments = command.as_std().get_args().map(|a| a.to_str().unwrap());
    let arguments: Vec<_> = arguments
        .map(|a| {
            if a == old {
                bucket::address(place)
            } else {
                a.to_owned()
            }
        })
        .collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    world.command(&arguments)
}
