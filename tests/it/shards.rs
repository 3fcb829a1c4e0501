//! Shards: several processes, each with its part of one manifest and a report of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::{Fault, FaultKind, LogEntry, Operation, When};
use serde_json::{Value, json};

use crate::bucket::{self, REPORTS};
use crate::given::Given;
use crate::inventory::{if_read, sample};
use crate::objects::{IN_PARTS, LARGE, sized_manifest};
use crate::resume::{hung, kill, logged, terminate};
use crate::support::{
    DESTINATION, JOB, Run, SOURCE, World, count, md5, read_report, read_report_by,
};
use crate::versions;

fn name(index: u32, of: u32) -> String {
    format!("shard-{index:05}-of-{of:05}")
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The rows of a shard's own report.
fn rows_of(job: &Path, index: u32, of: u32) -> Vec<ReportRow> {
    let folder = job.join(name(index, of));
    let id = job.file_name().unwrap().to_string_lossy();
    read_report_by("", &format!("{id}/{}/", name(index, of)), |name| {
        std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    })
}

/// Runs all shards of a job side by side, each with this exit code.
async fn run_all(given: &Given<'_>, of: u32, code: i32) -> Vec<Run> {
    let one = |index| given.clone().set("--shard", format!("{index}/{of}")).run();
    let runs = join_all((0..of).map(one)).await;
    for run in &runs {
        run.expect(code);
    }
    runs
}

/// What tells a row of a manifest from others.
fn names(rows: &[ReportRow]) -> Vec<(String, String)> {
    let mut names: Vec<_> = rows
        .iter()
        .map(|row| (row.key.clone(), row.version_id.clone()))
        .collect();
    names.sort();
    names
}

/// A job cut into `of` has the rows of the whole one, each once; gives how it was dealt.
async fn assert_dealt(world: &World, given: &Given<'_>, whole: &[ReportRow], of: u32) -> Value {
    let id = format!("of-{of}");
    let runs = run_all(&given.clone().set("--job-id", &id), of, 0).await;
    let job = world.path(&format!("report/job-{id}"));
    let mut rows = Vec::new();
    let (mut counted, mut dealt) = (0, BTreeSet::new());
    for (index, run) in (0..).zip(&runs) {
        let found = rows_of(&job, index, of);
        assert_eq!(run.summary("rows"), found.len());
        assert_eq!(run.summary("state"), "complete");
        counted +=
            run.summary("rows").as_u64().unwrap() + run.summary("filtered").as_u64().unwrap();
        rows.extend(found);
        let file = json_of(&job.join(name(index, of)).join("job.json"));
        assert_eq!(
            file["job"]["read"]["shard"],
            json!({"index": index, "of": of})
        );
        assert_eq!(file["job_id"], id);
        dealt.insert(file["survey"]["dealt"].to_string());
    }
    assert_eq!(names(&rows), names(whole), "{of}");
    // Of the job there is nothing but its shards.
    let mut there: Vec<_> = std::fs::read_dir(&job)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(
        there,
        (0..of).map(|index| name(index, of)).collect::<Vec<_>>()
    );
    let dealt: Vec<_> = dealt.into_iter().collect();
    let [dealt] = &dealt[..] else {
        panic!("{dealt:?}")
    };
    let dealt: Value = serde_json::from_str(dealt).unwrap();
    if let Some(all) = dealt.pointer("/rows/of").or(dealt.pointer("/keys/of")) {
        assert_eq!(*all, counted);
    }
    dealt
}

/// An inventory of so many data files, of three rows each.
fn inventory_of(world: &World, files: usize) -> PathBuf {
    let folder = world.path("data");
    std::fs::create_dir_all(&folder).unwrap();
    let mut listed = Vec::new();
    for file in 0..files {
        let rows = [0, 1, 2].map(|row| {
            let key = format!("k{file:03}-{row}");
            world.put(&key, "content");
            format!("\"{SOURCE}\",\"{key}\",\"7\"\n")
        });
        let data = rows.concat();
        let path = folder.join(format!("{file}.csv"));
        std::fs::write(path, &data).unwrap();
        listed.push(json!({
            "key": format!("data/{file}.csv"), "size": data.len(), "MD5checksum": md5(data.as_bytes()),
        }));
    }
    world.manifest(
        json!({
            "sourceBucket": SOURCE, "destinationBucket": "arn:aws:s3:::inventories",
            "version": "2016-11-30", "fileFormat": "CSV", "fileSchema": "Bucket, Key, Size",
            "files": listed,
        })
        .to_string(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_of_a_csv_manifest_have_its_rows() {
    let world = World::new();
    world.small_objects(20);
    let given = world.given().set("--exclude-prefix", "k0001");
    given.clone().run().await.expect(0);
    let whole = world.rows();
    assert_eq!(whole.len(), 10);
    for of in [1, 3, 8, 25] {
        let dealt = assert_dealt(&world, &given, &whole, of).await;
        assert_eq!(dealt, json!({"rows": {"of": 20}}));
    }
    // The same command line again says how its shard ended.
    let copies = world.sandbox.log().count(Operation::CopyObject);
    run_all(&given.set("--job-id", "of-3"), 3, 0).await;
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), copies);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_of_an_inventory_have_its_rows_in_every_format() {
    for name in ["csv", "parquet-snappy"]
        .iter()
        .chain(if_read(&["orc-zlib"]))
    {
        let world = crate::inventory::world();
        let given = world
            .given()
            .set("--manifest", sample(name))
            .set("--versions", "latest");
        given.clone().run().await.expect(0);
        let whole = world.rows();
        assert_eq!(whole.len(), 12);
        for of in [3, 8] {
            let dealt = assert_dealt(&world, &given, &whole, of).await;
            assert_eq!(dealt, json!({"rows": {"of": 26}}), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_data_files_are_dealt_where_there_are_enough() {
    let world = World::new();
    inventory_of(&world, 13);
    let given = world.given();
    given.clone().run().await.expect(0);
    let whole = world.rows();
    assert_eq!(whole.len(), 39);
    for (of, dealt) in [
        (3, json!({"files": {"of": 13}})),
        (8, json!({"rows": {"of": 39}})),
    ] {
        assert_eq!(assert_dealt(&world, &given, &whole, of).await, dealt);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_of_a_report_have_its_rows() {
    let world = World::new();
    world.small_objects(20);
    let fault = Fault::on(Operation::CopyObject, FaultKind::internal_error()).key("k00007");
    let fault = world.sandbox.faults().add(fault);
    world.copy(&["--max-attempts", "1"]).await.expect(1);
    fault.remove();
    let manifest = world
        .job()
        .join("manifest.json")
        .to_str()
        .unwrap()
        .to_owned();
    let given = world.verifying().set("--manifest", &manifest);
    given.clone().run().await.expect(0);
    let whole = read_report(&world.path("report/job-verifying"));
    assert_eq!(whole.len(), 19);
    let dealt = assert_dealt(&world, &given, &whole, 3).await;
    assert_eq!(dealt, json!({"rows": {"of": 19}}));
    // One failed row, and shards that have none.
    let given = world
        .given()
        .set("--manifest", &manifest)
        .set("--job-id", "failed");
    run_all(&given, 3, 0).await;
    let job = world.path("report/job-failed");
    let rows: Vec<_> = (0..3).map(|index| rows_of(&job, index, 3).len()).collect();
    assert_eq!(rows, [1, 0, 0]);
    world.assert_copied("k00007");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_versions_of_a_key_are_of_one_shard() {
    let world = versions::world();
    let all = versions::fill(&world);
    versions::inventory(&world);
    std::fs::create_dir(world.path("work")).unwrap();
    let work = world.path("work").to_str().unwrap().to_owned();
    let given = versions::replay(&world).set("--work-dir", work);
    // Without what is to become of them no shard begins, whatever keys it has.
    let unsaid = given.clone().without("--delete-markers");
    for index in 0..3 {
        let one = unsaid.clone().set("--shard", format!("{index}/3"));
        one.refused(2, &["say --delete-markers replay"]).await;
    }
    run_all(&given, 3, 0).await;
    versions::assert_same(&world, true);
    let mut keys = BTreeSet::new();
    let mut found = 0;
    for index in 0..3 {
        let rows = rows_of(&world.job(), index, 3);
        found += rows.len();
        let own: BTreeSet<_> = rows.into_iter().map(|row| row.key).collect();
        assert!(keys.is_disjoint(&own));
        keys.extend(own);
        let file = json_of(&world.job().join(name(index, 3)).join("job.json"));
        assert_eq!(file["survey"]["dealt"], json!({"keys": {"of": all}}));
    }
    assert_eq!(found, all);
    // Each sorted in the one folder, and left nothing there.
    assert_eq!(std::fs::read_dir(world.path("work")).unwrap().count(), 0);
}

/// Copies that were answered well.
fn copied(entry: &LogEntry) -> bool {
    entry.operation == Operation::CopyObject && entry.status == Some(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_was_stopped_goes_on_where_it_was() {
    let world = World::new();
    world.small_objects(300);
    let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(20));
    let slow = world.sandbox.faults().add(slow);
    let given = world
        .given()
        .set("--shard", "1/3")
        .set("--concurrency", "2");
    let child = given.command().spawn().unwrap();
    logged(&world, 30, copied).await;
    terminate(&child);
    Run::end_of(child).await.expect(4);
    let folder = world.job().join(name(1, 3));
    let place = json_of(&folder.join("work/checkpoint.json"))["position"].clone();
    // Behind the last row of this shard that is done.
    let (row, ordinal) = (
        place["row"].as_u64().unwrap(),
        place["ordinal"].as_u64().unwrap(),
    );
    assert!(ordinal >= 20, "{place}");
    assert_eq!(row, (ordinal - 1) * 3 + 2);
    let child = given.command().spawn().unwrap();
    logged(&world, 60, copied).await;
    kill(child).await;
    slow.remove();
    let mut resume = world.command(&["resume"]);
    resume.arg(&folder).args(["--output", "json"]);
    Run::of(resume).await.expect(0);
    let rows = rows_of(&world.job(), 1, 3);
    let expected: Vec<_> = (0..100).map(|n| format!("k{:05}", n * 3 + 1)).collect();
    let mut found: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(count(&rows, TaskStatus::Succeeded), 100);
    for key in &expected {
        world.assert_copied(key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_tells_the_index_and_the_job() {
    let world = World::new();
    world.small_objects(9);
    let shards = world.given().without("--job-id").set("--shards", "3");
    let engines: [(&str, &[(&str, &str)]); 3] = [
        (
            "batch",
            &[
                ("AWS_BATCH_JOB_ID", "batch:2"),
                ("AWS_BATCH_JOB_ARRAY_INDEX", "2"),
                ("AWS_BATCH_JOB_ARRAY_SIZE", "3"),
            ],
        ),
        (
            "k8s",
            &[("S3HAUL_JOB_ID", "k8s"), ("JOB_COMPLETION_INDEX", "2")],
        ),
        (
            "77",
            &[
                ("SLURM_ARRAY_JOB_ID", "77"),
                ("SLURM_ARRAY_TASK_ID", "7"),
                ("SLURM_ARRAY_TASK_MIN", "5"),
                ("SLURM_ARRAY_TASK_COUNT", "3"),
            ],
        ),
    ];
    for (job, variables) in engines {
        let mut given = shards.clone();
        for (variable, value) in variables {
            given = given.variable(variable, *value);
        }
        given.run().await.expect(0);
        let rows = rows_of(&world.path(&format!("report/job-{job}")), 2, 3);
        let keys: Vec<_> = names(&rows).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["k00002", "k00005", "k00008"]);
    }
    let by_variable = world.given().variable("S3HAUL_SHARD", "0/3").run().await;
    by_variable.expect(0);
    assert_eq!(rows_of(&world.job(), 0, 3).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_nobody_tells_is_refused() {
    let world = World::new();
    world.small_objects(3);
    let of_8 = || world.given().set("--shards", "8");
    of_8()
        .refused(
            2,
            &[
                "AWS_BATCH_JOB_ARRAY_INDEX, JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID",
                "none of them is set",
            ],
        )
        .await;
    let both = of_8().set("--shard", "1/8");
    both.refused(2, &["--shard and --shards", "say the same thing"])
        .await;
    let beyond = of_8().variable("JOB_COMPLETION_INDEX", "8");
    beyond
        .refused(2, &["JOB_COMPLETION_INDEX", "the shards of 8 are 0 to 7"])
        .await;
    let no_number = of_8().variable("JOB_COMPLETION_INDEX", "x");
    no_number
        .refused(2, &["JOB_COMPLETION_INDEX is \"x\", no number"])
        .await;
    for (index, size) in [
        ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
        ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
    ] {
        let other = of_8().variable(index, "3").variable(size, "4");
        let words = format!("by {size} there are 4 of these processes");
        other.refused(2, &[&words, "--shard I/N"]).await;
    }
    let below = of_8()
        .variable("SLURM_ARRAY_TASK_ID", "3")
        .variable("SLURM_ARRAY_TASK_MIN", "4");
    below
        .refused(
            2,
            &["SLURM_ARRAY_TASK_ID is less than SLURM_ARRAY_TASK_MIN"],
        )
        .await;
    let two = of_8()
        .variable("JOB_COMPLETION_INDEX", "3")
        .variable("SLURM_ARRAY_TASK_ID", "4");
    two.refused(
        2,
        &["this is shard 3/8", "by SLURM_ARRAY_TASK_ID shard 4/8"],
    )
    .await;
    for (flag, value) in [
        ("--shard", "3/3"),
        ("--shard", "1"),
        ("--shards", "0"),
        ("--shards", "10001"),
    ] {
        world.given().set(flag, value).refused(2, &[flag]).await;
    }
    let stdin = world.given().set("--shard", "0/2").stdin("source,k00000\n");
    stdin
        .refused(2, &["--shard reads its part of a manifest", "not -"])
        .await;
    let nameless = world.given().set("--shard", "0/2").without("--job-id");
    nameless
        .refused(2, &["the shards of a job have one ID", "--job-id"])
        .await;
    // What writes no report needs no ID.
    let nameless = world.given().set("--shard", "0/2").without("--job-id");
    let counted = nameless.flag("--dry-run").run().await;
    counted.expect(0);
    assert_eq!(counted.summary("rows"), 2);
}

/// Every file of a folder, with its content.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_of_another_number_are_another_job() {
    let world = World::new();
    world.small_objects(6);
    let given = world.given();
    let shard = |text: &str| given.clone().set("--shard", text);
    shard("1/2").run().await.expect(0);
    given.clone().set("--job-id", "whole").run().await.expect(0);
    let before = files(&world.path("report"));
    let refused = async |given: Given<'_>, words: &[&str]| {
        let run = given.run().await;
        run.expect(2);
        for word in words {
            assert!(run.stderr.contains(word), "{word:?}: {run:?}");
        }
        assert_eq!(files(&world.path("report")), before);
    };
    refused(
        shard("1/3"),
        &["of a job of 2 shards", "this is one of 3 shards"],
    )
    .await;
    refused(
        given.clone(),
        &["of a job of 2 shards", "this is one of no shards"],
    )
    .await;
    let of_whole = shard("1/3").set("--job-id", "whole");
    refused(
        of_whole,
        &["of a job of no shards", "this is one of 3 shards"],
    )
    .await;
    // A shard of another command line, though its own folder is not there yet.
    let other = shard("0/2").set("--to", format!("s3://{DESTINATION}/other/"));
    refused(other, &["shard-00001-of-00002", "another job: --to differ"]).await;
    // The report that the other shards write.
    let own = world.job().join(name(1, 2)).to_str().unwrap().to_owned();
    let own = shard("0/2").set("--previous-report", own);
    refused(own, &["the report that this job writes itself"]).await;
    // A manifest that was written over while the array waited.
    let manifest = std::fs::read(world.path("manifest.csv")).unwrap();
    world.manifest(format!("{SOURCE},one\n{SOURCE},two\n"));
    refused(
        shard("0/2"),
        &[
            "shard-00001-of-00002 is of the one with the ETag",
            "written over",
        ],
    )
    .await;
    std::fs::write(world.path("manifest.csv"), manifest).unwrap();
    for (command, path) in [
        ("resume", world.job()),
        ("abandon", world.job()),
        ("resume", world.path("arrays")),
    ] {
        if path.ends_with("arrays") {
            let array = shard("0/2").set("--report", path.to_str().unwrap());
            array.run().await.expect(0);
        }
        let mut command = world.command(&[command]);
        command.arg(&path);
        let run = Run::of(command).await;
        run.expect(2);
        let words = [
            "of a job of 2 shards",
            "shard-00000-of-00002 to shard-00001-of-00002",
        ];
        for word in words {
            assert!(run.stderr.contains(word), "{word:?}: {run:?}");
        }
    }
    shard("0/2").run().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_in_a_bucket_are_whole_reports_too() {
    let world = bucket::world();
    world.small_objects(20);
    let given = world
        .given()
        .set("--report", bucket::address(""))
        .set("--report-interval", "100ms");
    run_all(&given, 3, 0).await;
    let mut found = 0;
    for index in 0..3 {
        let prefix = format!("of/jobs/job-{JOB}/{}/", name(index, 3));
        let read = |name: &str| {
            let object = world.store().object(REPORTS, &format!("{prefix}{name}"));
            object.unwrap_or_else(|| panic!("{prefix}{name}")).bytes()
        };
        found += read_report_by(REPORTS, &prefix, read).len();
        assert!(!read("job.json").is_empty());
    }
    assert_eq!(found, 20);
    let of_job = |name: &str| {
        world
            .store()
            .object(REPORTS, &format!("of/jobs/job-{JOB}/{name}"))
    };
    for name in [
        "job.json",
        "work/journal",
        "work/checkpoint.json",
        "work/conditions",
    ] {
        assert!(of_job(name).is_none(), "{name}");
    }
    let objects = world.store().objects(REPORTS).len();
    for (given, words) in [
        (
            given.clone().set("--shard", "1/4"),
            "of a job of 3 shards, and this is one of 4 shards",
        ),
        (
            given.clone(),
            "of a job of 3 shards, and this is one of no shards",
        ),
    ] {
        let run = given.run().await;
        run.expect(2);
        assert!(run.stderr.contains(words), "{run:?}");
        assert_eq!(world.store().objects(REPORTS).len(), objects);
    }
    given.clone().set("--job-id", "whole").run().await.expect(0);
    let run = given
        .clone()
        .set("--job-id", "whole")
        .set("--shard", "0/2")
        .run()
        .await;
    run.expect(2);
    assert!(
        run.stderr
            .contains("of a job of no shards, and this is one of 2"),
        "{run:?}"
    );
    // Named by their own folder, which tells the session too.
    for (path, code, words) in [
        (format!("/job-{JOB}"), 2, "of a job of 3 shards"),
        (format!("/job-{JOB}/{}", name(2, 3)), 0, "6 rows"),
        (String::new(), 2, "holds several jobs"),
    ] {
        let mut resume = world.command(&["resume"]);
        let flags = given.command();
        let flags: Vec<_> = flags.as_std().get_args().collect();
        let value = |flag: &str| flags[flags.iter().position(|f| *f == flag).unwrap() + 1];
        resume.arg(bucket::address(&path));
        for flag in ["--role-arn", "--external-id", "--endpoint-url"] {
            resume.arg(flag).arg(value(flag));
        }
        let run = Run::of(resume).await;
        run.expect(code);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_shard_looks_before_the_copy_for_all() {
    let world = World::new();
    world.small_objects(6);
    let given = world.given().without_variable("S3HAUL_SKIP_CHECK");
    let probes = |index: u32| {
        let run = given.clone().set("--shard", format!("{index}/2")).run();
        async {
            run.await.expect(0);
            world.sandbox.log().count(Operation::CreateMultipartUpload)
        }
    };
    assert_eq!(probes(1).await, 0);
    assert!(probes(0).await > 0);
}

/// What the array's own environment says is no reason to refuse one process that looks for all.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_of_all_shards() {
    let world = World::new();
    world.small_objects(6);
    let flags = world.copy_command_into("report");
    let mut check = world.command(&["check"]);
    let flags = flags.as_std().get_args().skip(1);
    check.args(flags).env("S3HAUL_SHARDS", "8");
    Run::of(check).await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_is_the_jobs_and_each_shard_has_its_share() {
    let world = World::new();
    world.small_objects(24);
    let given = world.given().set("--max-rps", "8");
    run_all(&given, 8, 0).await;
    for index in 0..8 {
        let file = json_of(&world.job().join(name(index, 8)).join("job.json"));
        assert_eq!(file["job"]["speed"]["requests_per_second"], 8);
        let by_this = |entry: &LogEntry| {
            let session = format!("/s3haul-{JOB}@{index}-of-8");
            copied(entry)
                && entry
                    .principal
                    .as_ref()
                    .is_some_and(|arn| arn.ends_with(&session))
        };
        let times: Vec<_> = world
            .sandbox
            .log()
            .entries()
            .into_iter()
            .filter(by_this)
            .map(|entry| entry.arrived_ms)
            .collect();
        assert_eq!(times.len(), 3, "each shard has a session of its own");
        // One a second, where the job has eight.
        assert!(times[2] - times[0] >= 1_500, "{times:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_two_shards_is_copied_by_both_and_no_upload_is_lost() {
    let world = World::new();
    world.declare("large", LARGE);
    sized_manifest(&world, ["large", "large"]);
    let given = IN_PARTS
        .chunks(2)
        .fold(world.given(), |given, flag| given.set(flag[0], flag[1]));
    let hang = Fault::on(Operation::UploadPartCopy, FaultKind::Hang).when(When::Nth(3));
    let hang = world.sandbox.faults().add(hang);
    let shard = |index: u32| given.clone().set("--shard", format!("{index}/2"));
    let child = shard(0).command().spawn().unwrap();
    logged(&world, 1, hung).await;
    // Its upload's record is durable before its first part; then it is gone.
    kill(child).await;
    hang.remove();
    // The other one knows nothing of that upload, and leaves it alone.
    shard(1).run().await.expect(0);
    assert_eq!(world.store().uploads(DESTINATION).len(), 1);
    world.sandbox.log().clear();
    shard(0).run().await.expect(0);
    assert_eq!(
        world.sandbox.log().count(Operation::CreateMultipartUpload),
        0
    );
    for index in 0..2 {
        assert_eq!(
            count(&rows_of(&world.job(), index, 2), TaskStatus::Succeeded),
            1
        );
    }
    world.assert_no_uploads();
    world.assert_copied("large");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_shard_takes_no_other_ones_upload_along() {
    let world = World::new();
    for key in ["one", "two"] {
        world.declare(key, LARGE);
    }
    sized_manifest(&world, ["one", "two"]);
    let given = IN_PARTS
        .chunks(2)
        .fold(world.given(), |given, flag| given.set(flag[0], flag[1]));
    let hang = Fault::on(Operation::UploadPartCopy, FaultKind::Hang);
    world.sandbox.faults().add(hang);
    let shard = |index: u32| given.clone().set("--shard", format!("{index}/2"));
    let children = [0, 1].map(|index| shard(index).command().spawn().unwrap());
    for key in ["one", "two"] {
        logged(&world, 1, |entry| hung(entry) && entry.key == key).await;
    }
    for child in children {
        kill(child).await;
    }
    let kept = |keys: &[&str]| {
        let uploads = world.store().uploads(DESTINATION);
        let found: BTreeSet<_> = uploads.iter().map(|upload| upload.key.as_str()).collect();
        assert_eq!(found, keys.iter().copied().collect());
    };
    kept(&["one", "two"]);
    for (index, left) in [(0, &["two"][..]), (1, &[])] {
        let mut abandon = world.command(&["abandon"]);
        abandon.arg(world.job().join(name(index, 2)));
        Run::of(abandon).await.expect(0);
        kept(left);
    }
}

/// As a job of AWS Batch runs it, whose children end with 0 where rows failed.
#[tokio::test(flavor = "multi_thread")]
async fn an_array_of_eight_two_of_which_are_killed_and_run_again() {
    let world = World::new();
    inventory_of(&world, 40);
    let fault = Fault::on(
        Operation::CopyObject,
        FaultKind::Error {
            status: 403,
            code: "AccessDenied".to_owned(),
            message: String::new(),
            retry_after: None,
        },
    );
    world.sandbox.faults().add(fault.key("k011-1"));
    let hang = Fault::on(Operation::CopyObject, FaultKind::Hang);
    let hangs = ["k002-1", "k005-2"].map(|key| world.sandbox.faults().add(hang.clone().key(key)));
    let child = |index: u32| {
        let given = world
            .given()
            .without("--job-id")
            .set("--shards", "8")
            .set("--failed-rows-exit", "0")
            .variable("AWS_BATCH_JOB_ID", format!("array:{index}"))
            .variable("AWS_BATCH_JOB_ARRAY_INDEX", index.to_string())
            .variable("AWS_BATCH_JOB_ARRAY_SIZE", "8");
        given.command().spawn().unwrap()
    };
    let mut children: Vec<_> = (0..8).map(child).collect();
    logged(&world, 2, hung).await;
    // The files of the shards 2 and 5, of which one row each is on its way.
    for index in [5, 2] {
        kill(children.remove(index)).await;
    }
    for hang in hangs {
        hang.remove();
    }
    for child in children {
        Run::end_of(child).await.expect(0);
    }
    for index in [2, 5] {
        Run::end_of(child(index)).await.expect(0);
    }
    let job = world.path("report/job-array");
    let rows: Vec<_> = (0..8).flat_map(|index| rows_of(&job, index, 8)).collect();
    let keys: BTreeSet<_> = rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!((rows.len(), keys.len()), (120, 120));
    let failed: Vec<_> = rows
        .iter()
        .filter(|row| row.status == TaskStatus::Failed)
        .map(|row| (row.key.as_str(), row.error_code.as_str()))
        .collect();
    assert_eq!(failed, [("k011-1", "AccessDenied")]);
    for row in rows
        .iter()
        .filter(|row| row.status == TaskStatus::Succeeded)
    {
        world.assert_copied(&row.key);
    }
    let mut merge = world.command(&["report", "merge"]);
    merge.arg(&job);
    let merged = Run::of(merge).await;
    merged.expect(1);
    for word in ["k011-1", "AccessDenied", "119 succeeded"] {
        assert!(merged.stdout.contains(word), "{word:?}: {merged:?}");
    }
    // As one process would have done it.
    world.given().run().await.expect(1);
    assert_eq!(told(&read_report(&job)), told(&world.rows()));
    // A results file has one name in all of them.
    let mut results: Vec<_> = (0..8)
        .flat_map(|index| std::fs::read_dir(job.join(name(index, 8)).join("results")).unwrap())
        .map(|file| file.unwrap().file_name())
        .collect();
    let files = results.len();
    results.sort();
    results.dedup();
    assert_eq!(results.len(), files);
}

/// What a report says of its rows, less what no two runs have in common.
fn told(rows: &[ReportRow]) -> Vec<(String, TaskStatus, Option<u16>, String, Value)> {
    let mut told: Vec<_> = rows
        .iter()
        .map(|row| {
            let mut message: Value = serde_json::from_str(&row.message).unwrap();
            let members = message.as_object_mut().unwrap();
            for member in [
                "ended_at",
                "elapsed_ms",
                "attempts",
                "request_id",
                "extended_request_id",
            ] {
                members.remove(member);
            }
            let (key, code) = (row.key.clone(), row.error_code.clone());
            (key, row.status, row.http_status, code, message)
        })
        .collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}
