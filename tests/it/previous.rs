//! `--previous-report`: what an earlier job has copied is not copied again, and nothing else is skipped.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use md5::Digest;
use s3haul::job::manifest::key::encode;
use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul::job::report::time_text;
use s3haul_sandbox::iam::{COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID, SOURCE_ACCOUNT};
use s3haul_sandbox::{
    BucketSettings, Fault, FaultKind, LogEntry, ObjectProperties, Operation, Versioning,
};
use serde_json::json;

use crate::given::Given;
use crate::resume::{kill, logged, terminate};
use crate::support::{DESTINATION, Run, SOURCE, World, count, message, read_report};

const FIELDS: &str = "Bucket,Key,Size,LastModifiedDate,ETag";

impl World {
    /// Lists the source bucket into the manifest, with what tells an object from what it becomes.
    async fn list(&self) {
        let role = format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}");
        let mut command = self.command(&["manifest", "create", &format!("s3://{SOURCE}")]);
        command
            .args(["--role-arn", &role, "--external-id", EXTERNAL_ID])
            .args(["--endpoint-url", &self.sandbox.endpoint()])
            .args(["--fields", FIELDS])
            .arg("--output-file")
            .arg(self.path("manifest.csv"));
        Run::of(command).await.expect(0);
    }

    /// `copy` of that manifest, as a job of this ID.
    fn pass(&self, job: &str) -> Given<'_> {
        self.given()
            .set("--job-id", job)
            .set("--manifest-fields", FIELDS)
    }

    /// The same, after another job.
    fn pass_after(&self, job: &str, previous: &str) -> Given<'_> {
        let previous = self.report_of(previous);
        self.pass(job)
            .set("--previous-report", previous.to_str().unwrap())
    }

    fn report_of(&self, job: &str) -> PathBuf {
        self.path("report").join(format!("job-{job}"))
    }

    /// The keys that CopyObject was sent for since the log was cleared.
    fn copied(&self) -> BTreeSet<String> {
        let copies = self.sandbox.log().of(Operation::CopyObject);
        copies.into_iter().map(|copy| copy.key).collect()
    }

    /// A downloaded report of S3 Batch Operations, with its rows as they are.
    fn batch_operations_report(&self, results: &[(&str, &str)]) -> PathBuf {
        let folder = self.path("downloaded/job-f8fb9d89");
        std::fs::create_dir_all(folder.join("results")).unwrap();
        let listed = results.iter().enumerate().map(|(n, (status, rows))| {
            let name = format!("{n:040x}.csv");
            std::fs::write(folder.join("results").join(&name), rows).unwrap();
            json!({
                "TaskExecutionStatus": status,
                "Bucket": "example-reports",
                "MD5Checksum": s3haul::job::report::passes::hex(&md5::Md5::digest(rows)),
                "Key": format!("reports/job-f8fb9d89/results/{name}"),
            })
        });
        let manifest = json!({
            "Format": "Report_CSV_20180820",
            "ReportCreationDate": "2026-01-02T03:04:05.678901234Z",
            "Results": listed.collect::<Vec<_>>(),
            "ReportSchema": "Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage",
        });
        std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        folder
    }
}

fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|&key| key.to_owned()).collect()
}

fn row_of<'r>(rows: &'r [ReportRow], key: &str) -> &'r ReportRow {
    rows.iter().find(|row| row.key == encode(key)).unwrap()
}

fn has_index(report: &Path) -> bool {
    report.join("work/previous-index").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pass_copies_what_the_one_before_did_not() {
    let world = World::new();
    let odd = [
        "a b",
        "a+b",
        "a%20b",
        "100%",
        "emoji 🚚",
        "nl\nx",
        "q\"q",
        "a,b",
    ];
    let small: Vec<_> = (0..30).map(|n| format!("k{n:02}")).collect();
    for key in odd.into_iter().chain(small.iter().map(String::as_str)) {
        world.put(key, &format!("content of {key}"));
    }
    world.list().await;
    let run = world.pass("one").run().await;
    assert_eq!(run.expect(0).summary("succeeded"), 38);

    for key in ["k03", "a b"] {
        world.put(key, "another content");
    }
    for key in ["new", "new+one"] {
        world.put(key, "new content");
    }
    world.list().await;
    world.sandbox.log().clear();
    let run = world.pass_after("two", "one").run().await;
    run.expect(0);
    assert_eq!(run.stderr, "");
    assert_eq!(world.copied(), set(&["k03", "a b", "new", "new+one"]));
    assert_eq!(world.sandbox.log().count(Operation::HeadObject), 0);
    for (member, value) in [
        ("rows", 40),
        ("succeeded", 4),
        ("skipped", 36),
        ("requests", 4),
    ] {
        assert_eq!(run.summary(member), value, "{member}");
    }
    for key in odd.into_iter().chain(["k03", "k04", "new", "new+one"]) {
        world.assert_copied(key);
    }
    let rows = read_report(&world.report_of("two"));
    let skipped = row_of(&rows, "a+b");
    assert_eq!(skipped.status, TaskStatus::Skipped);
    assert_eq!(skipped.error_code, "CopiedBefore");
    let object = world.store().object(SOURCE, "a+b").unwrap();
    assert_eq!(message(skipped, "source_e_tag"), object.e_tag());
    assert_eq!(
        message(skipped, "source_last_modified"),
        time_text(object.last_modified)
    );
    assert!(!has_index(&world.report_of("two")));

    // The chain goes on: the second report says what the first one copied.
    world.put("k05", "once more");
    world.list().await;
    world.sandbox.log().clear();
    let third = world.pass_after("three", "two");
    let arrived = world.sandbox.log().arrived();
    let run = third.clone().flag("--dry-run").run().await;
    assert_eq!(run.expect(0).summary("copied_before"), 39);
    assert_eq!(run.summary("requests"), 1);
    let text = third.clone().flag("--dry-run").set("--output", "text");
    let text = text.run().await;
    assert!(text.stdout.contains("  39 copied before\n"), "{text:?}");
    assert_eq!(world.sandbox.log().arrived(), arrived);
    let run = third.clone().run().await;
    assert_eq!(run.expect(0).summary("skipped"), 39);
    assert_eq!(world.copied(), set(&["k05"]));
    // The same command line again says how it ended.
    let again = third.run().await;
    assert_eq!(again.expect(0).summary("skipped"), 39);
    assert_eq!(world.copied(), set(&["k05"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_report_does_not_surely_have_is_copied() {
    let world = World::new();
    for key in ["same", "date", "e-tag", "unknown"] {
        world.put(key, "12345");
    }
    let e_tag = "827ccb0eea8a706c4c34a16891f84e7b";
    let january = "2026-01-01T00:00:00.000Z";
    let row = |key: &str, date: &str, e_tag: &str| format!("{SOURCE},{key},5,{date},{e_tag}\n");
    let first = ["same", "date", "e-tag", "failed"].map(|key| row(key, january, e_tag));
    world.manifest(first.concat() + &row("unknown", "", e_tag));
    let run = world.pass("one").run().await;
    assert_eq!(run.expect(1).summary("failed"), 1);

    world.put("failed", "12345");
    let rows = [
        row(
            "same",
            "2026-01-01T00:00:00Z",
            &format!("\"\"\"{e_tag}\"\"\""),
        ),
        row("date", "2026-01-01T00:00:01.000Z", e_tag),
        row("e-tag", january, "00000000000000000000000000000000"),
        row("failed", january, e_tag),
        row("unknown", "", e_tag),
    ];
    world.manifest(rows.concat());
    world.sandbox.log().clear();
    let run = world.pass_after("two", "one").run().await;
    run.expect(0);
    assert_eq!(world.copied(), set(&["date", "e-tag", "failed", "unknown"]));
    let said = "rows of the previous report record neither a version nor ETag and date";
    assert!(run.stderr.contains(said), "{run:?}");

    // By the key alone all that succeeded is skipped, and no row claims to know what was copied.
    world.put("same", "changed");
    world.list().await;
    world.sandbox.log().clear();
    let run = world
        .pass_after("three", "one")
        .set("--previous-report-match", "key")
        .run()
        .await;
    run.expect(0);
    assert_eq!(world.copied(), set(&["failed"]));
    assert!(run.stderr.contains("stay old"), "{run:?}");
    world.sandbox.log().clear();
    let run = world.pass_after("four", "three").run().await;
    assert_eq!(run.expect(0).summary("skipped"), 1);
    assert_eq!(world.copied(), set(&["same", "date", "e-tag", "unknown"]));
    world.assert_copied("same");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_known_by_their_ids() {
    let world = World::new();
    world.store().remove_bucket(SOURCE);
    let settings = BucketSettings {
        versioning: Versioning::Enabled,
        policy: Some(crate::support::source_policy()),
        ..BucketSettings::default()
    };
    world
        .store()
        .create_bucket(SOURCE, SOURCE_ACCOUNT, "us-east-1", settings)
        .unwrap();
    let list = || {
        let mut rows = String::new();
        for version in world.store().versions(SOURCE) {
            writeln!(rows, "{SOURCE},{},{}", version.key, version.version_id).unwrap();
        }
        world.manifest(rows);
    };
    for content in ["one", "two"] {
        world.put_with("a", content, ObjectProperties::default());
    }
    list();
    let pass = |job: &str| {
        world
            .pass(job)
            .set("--manifest-fields", "Bucket,Key,VersionId")
    };
    assert_eq!(pass("one").run().await.expect(0).summary("succeeded"), 2);
    world.put("a", "three");
    let newest = world.store().object(SOURCE, "a").unwrap().version_id;
    list();
    world.sandbox.log().clear();
    let after = world.pass_after("two", "one");
    let run = after
        .set("--manifest-fields", "Bucket,Key,VersionId")
        .run()
        .await;
    assert_eq!(run.expect(0).summary("skipped"), 2);
    let copies = world.sandbox.log().of(Operation::CopyObject);
    assert_eq!(copies.len(), 1);
    let source = copies[0].header("x-amz-copy-source").unwrap();
    assert!(
        source.ends_with(&format!("/a?versionId={newest}")),
        "{source}"
    );
    let rows = read_report(&world.report_of("two"));
    let skipped = rows
        .iter()
        .find(|row| row.status == TaskStatus::Skipped)
        .unwrap();
    assert_eq!(
        message(skipped, "source_version_id"),
        skipped.version_id.as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_batch_operations_match_by_key() {
    let world = World::new();
    let skipped = [
        "plain",
        "pct%20literal.txt",
        "a b",
        "a+b",
        "😀",
        "nl\nx",
        "order",
        "behind",
    ];
    for key in skipped
        .into_iter()
        .chain(["refused", "other", "unread", "new"])
    {
        world.put(key, "x");
    }
    world.list().await;
    let succeeded = "source,plain,,succeeded,200,,Successful\r\n\
                     source,pct%2520literal.txt,,succeeded,200,,Successful\r\n\
                     source,a+b,,succeeded,200,,Successful\r\n\
                     source,a%2Bb,,succeeded,200,,Successful\r\n\
                     source,%F0%9F%98%80,,succeeded,200,,Successful\r\n\
                     elsewhere,other,,succeeded,200,,Successful\r\n\
                     source,order,,succeeded,,200,Successful\r\n\
                     source,nl%0Ax,,succeeded,200,,\"{\"\"unescaped\"\":\"text\r\n\
                     source,unread,,perhaps,200,,Successful\r\n\
                     source,behind,,succeeded,200,,Successful\r\n";
    let failed = "source,refused,,failed,200,PermanentFailure,\"{\"\"a\"\":\"b\r\n";
    let report = world.batch_operations_report(&[("succeeded", succeeded), ("failed", failed)]);
    let after = world
        .pass("two")
        .set("--previous-report", report.to_str().unwrap());
    let words = ["records neither versions", "--previous-report-match key"];
    after.clone().refused(2, &words).await;
    let by_key = after.set("--previous-report-match", "key");
    world.sandbox.log().clear();
    let run = by_key.clone().run().await;
    assert_eq!(run.expect(0).summary("skipped"), skipped.len());
    assert_eq!(world.copied(), set(&["refused", "other", "unread", "new"]));
    for words in [
        "objects that changed since that report stay old",
        "does not say where its objects were copied to",
        "rows of the previous report cannot be read",
    ] {
        assert_eq!(run.stderr.matches(words).count(), 1, "{words}: {run:?}");
    }

    // The folder above it will do, and a byte that fell over is found.
    let above = world.path("downloaded");
    let by_key = by_key
        .set("--job-id", "three")
        .set("--report", world.path("other").to_str().unwrap())
        .set("--previous-report", above.to_str().unwrap());
    std::fs::write(
        report.join("results").join(format!("{:040x}.csv", 0)),
        succeeded.replace("plain", "pla1n"),
    )
    .unwrap();
    let run = by_key.run().await;
    run.expect(2);
    assert!(run.stderr.contains("is damaged: its MD5 is"), "{run:?}");
    assert!(!world.path("other").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_help_is_refused() {
    let world = World::new();
    world.put("a", "a");
    world.list().await;
    world.pass("one").run().await.expect(0);
    let failed = world.pass("failed").set("--report-scope", "failed");
    failed.run().await.expect(0);
    std::fs::rename(world.path("report"), world.path("reports")).unwrap();
    let of = |job: &str| {
        let report = world.path("reports").join(format!("job-{job}"));
        report.to_str().unwrap().to_owned()
    };
    let after = |report: String| world.pass("two").set("--previous-report", report);
    let alone = world.pass("two").set("--previous-report-match", "key");
    alone.refused(2, &["--previous-report"]).await;
    let in_s3 = after("s3://bucket/report".into());
    in_s3.refused(2, &["reports in S3 are not supported"]).await;
    after(of("none"))
        .refused(2, &["cannot read", "job-none"])
        .await;
    let several = world.path("reports").to_str().unwrap().to_owned();
    after(several)
        .refused(2, &["holds several reports", "name one of them", "job-one"])
        .await;
    after(of("failed"))
        .refused(2, &["lists failed rows alone", "--report-scope failed"])
        .await;
    let prefix = after(of("one")).set("--to", format!("s3://{DESTINATION}/p/"));
    let words = ["copies to s3://destination/", "s3://destination/p/"];
    prefix.refused(2, &words).await;
    let blind = after(of("one")).set("--manifest-fields", "Bucket,Key,Size,Ignore,ETag");
    let words = ["ETag and LastModifiedDate", "VersionId"];
    blind.refused(2, &words).await;
    // A folder to sort in that is none.
    let nowhere = after(of("one")).set("--work-dir", world.path("nowhere").to_str().unwrap());
    nowhere
        .refused(2, &["cannot find --work-dir", "--work-dir"])
        .await;
    // The report of the job itself, and another report for a job that has one.
    std::fs::rename(world.path("reports"), world.path("report")).unwrap();
    let own = world.pass_after("one", "one").run().await;
    assert!(own.expect(2).stderr.contains("that this job writes itself"));
    let other = world.pass_after("one", "failed").run().await;
    assert!(other.expect(2).stderr.contains("--previous-report"));
    // A report without a success skips nothing, and says so.
    let none =
        world.batch_operations_report(&[("failed", "source,a,,failed,403,AccessDenied,x\n")]);
    let none = world
        .pass("two")
        .variable("S3HAUL_PREVIOUS_REPORT", none.to_str().unwrap())
        .run()
        .await;
    assert_eq!(none.expect(0).summary("succeeded"), 1);
    assert!(none.stderr.contains("no row that succeeded"), "{none:?}");
}

/// Slow copies, so that a job is stopped in the middle.
fn slow(world: &World) {
    let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(40));
    world.sandbox.faults().add(slow);
    world.sandbox.log().clear();
}

fn is_copy(entry: &LogEntry) -> bool {
    entry.operation == Operation::CopyObject
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_job_that_has_not_ended_the_sealed_rows_count() {
    let world = World::new();
    world.small_objects(200);
    world.list().await;
    slow(&world);
    let given = world.pass("one").set("--concurrency", "4");
    let child = given.command().spawn().unwrap();
    logged(&world, 30, is_copy).await;
    terminate(&child);
    let first = Run::end_of(child).await;
    let done = first.expect(4).summary("succeeded").as_u64().unwrap();
    assert!((10..200).contains(&done), "{done}");
    world.sandbox.faults().clear();
    world.sandbox.log().clear();
    let run = world.pass_after("two", "one").run().await;
    assert_eq!(run.expect(0).summary("skipped"), done);
    assert_eq!(world.copied().len() as u64, 200 - done);
    assert!(run.stderr.contains("has not ended"), "{run:?}");
    for n in 0..200 {
        world.assert_copied(&format!("k{n:05}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_makes_its_index_again() {
    let world = World::new();
    world.small_objects(200);
    world.list().await;
    world.pass("one").run().await.expect(0);
    for n in 50..200 {
        world.put(&format!("k{n:05}"), "rewritten");
    }
    world.list().await;
    for (job, work) in [("two", None), ("three", Some("work"))] {
        slow(&world);
        let mut given = world.pass_after(job, "one").set("--concurrency", "4");
        let report = world.report_of(job);
        let mut index = report.join("work/previous-index");
        if let Some(work) = work {
            std::fs::create_dir(world.path(work)).unwrap();
            given = given.set("--work-dir", work);
            index = world
                .path(work)
                .join(format!("s3haul-{job}-previous-index"));
        }
        let child = given.command().spawn().unwrap();
        logged(&world, 30, is_copy).await;
        kill(child).await;
        std::fs::remove_file(&index).unwrap();
        world.sandbox.faults().clear();

        // Without the report nobody can tell.
        let (previous, away) = (world.report_of("one"), world.path("away"));
        std::fs::rename(&previous, &away).unwrap();
        let resume = || {
            let mut command = world.command(&["resume"]);
            command.arg(&report).args(["--output", "json"]);
            Run::of(command)
        };
        let run = resume().await;
        assert!(run.expect(2).stderr.contains("job-one"), "{run:?}");
        std::fs::rename(&away, &previous).unwrap();
        let run = resume().await;
        assert_eq!(run.expect(0).summary("succeeded"), 150);
        let rows = read_report(&report);
        assert_eq!(count(&rows, TaskStatus::Skipped), 50);
        assert_eq!(world.copied().len(), 150);
        assert!(!index.exists());
    }
    for n in 0..200 {
        world.assert_copied(&format!("k{n:05}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_job_keeps_no_index() {
    let world = World::new();
    world.small_objects(100);
    world.list().await;
    world.pass("one").run().await.expect(0);
    for n in 0..100 {
        world.put(&format!("k{n:05}"), "rewritten");
    }
    world.list().await;
    slow(&world);
    let given = world.pass_after("two", "one").set("--concurrency", "2");
    let child = given.command().spawn().unwrap();
    logged(&world, 20, is_copy).await;
    terminate(&child);
    Run::end_of(child).await.expect(4);
    let report = world.report_of("two");
    assert!(has_index(&report));
    let mut abandon = world.command(&["abandon"]);
    abandon.arg(&report);
    Run::of(abandon).await.expect(0);
    assert!(!has_index(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn inventories_match_across_their_formats() {
    let world = World::new();
    let root = env!("CARGO_MANIFEST_DIR");
    let sample = |name: &str| {
        let folder = format!("{root}/sample-manifests/inventory/{name}/2026-01-01T01-00Z");
        folder + "/manifest.json"
    };
    let long = "k".repeat(300);
    let keys = [
        "plain", "a b", "a+b", "100%", "a%2Bb", "a,b", "q\"q", "ü/😀", "nl\nx", "/lead", "a//b",
    ];
    // The samples list the MD5 of the key and its version.
    for key in keys.into_iter().chain([long.as_str()]) {
        world.put(key, &format!("{key} 2"));
    }
    let pass = |name: &str| {
        let given = world.given().set("--job-id", name);
        given.set("--manifest", sample(name))
    };
    let run = pass("csv-current").run().await;
    assert_eq!(run.expect(0).summary("succeeded"), 12);
    let previous = world.report_of("csv-current");
    let after = pass("parquet-current").set("--previous-report", previous.to_str().unwrap());
    let run = after.run().await;
    assert_eq!(run.expect(0).summary("skipped"), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_versions_in_no_order_is_no_report_of_versions_in_order() {
    let settings = |bucket: &str| BucketSettings {
        versioning: Versioning::Enabled,
        policy: (bucket == SOURCE).then(crate::support::source_policy),
        ..BucketSettings::default()
    };
    let world = World::new();
    let store = world.store();
    for (bucket, account) in [(SOURCE, SOURCE_ACCOUNT), (DESTINATION, DESTINATION_ACCOUNT)] {
        store.remove_bucket(bucket);
        store
            .create_bucket(bucket, account, "us-east-1", settings(bucket))
            .unwrap();
    }
    for content in ["one", "two"] {
        world.put("k", content);
    }
    let rows: Vec<_> = store
        .versions(SOURCE)
        .iter()
        .enumerate()
        .map(|(n, version)| {
            format!(
                "{SOURCE},k,{},2026-01-0{}T00:00:00Z\n",
                version.version_id,
                9 - n
            )
        })
        .collect();
    world.manifest(rows.concat());
    let fields = "Bucket,Key,VersionId,LastModifiedDate";
    let listed = world.pass("listed").set("--manifest-fields", fields);
    listed.run().await.expect(0);
    let of = |job: &str, previous: &str| {
        world
            .pass_after(job, previous)
            .set("--manifest-fields", fields)
            .set("--versions", "all")
    };
    let refused = of("all", "listed").run().await;
    refused.expect(2);
    assert!(
        refused.stderr.contains("did not copy with --versions all"),
        "{}",
        refused.stderr
    );
    let first = world
        .pass("ordered")
        .set("--manifest-fields", fields)
        .set("--versions", "all");
    first.run().await.expect(0);
    // The version IDs of the manifest are what tells one version from another.
    let second = of("again", "ordered").run().await;
    second.expect(0);
    assert_eq!(second.summary("skipped"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_another_endpoint_is_of_another_destination() {
    let world = World::new();
    world.put("k", "content");
    world.list().await;
    world.pass("rehearsal").run().await.expect(0);
    let folder = world.report_of("rehearsal");
    let json = std::fs::read_to_string(folder.join("job.json")).unwrap();
    let elsewhere = json.replace(&world.sandbox.endpoint(), "http://127.0.0.1:9");
    assert_ne!(json, elsewhere);
    std::fs::write(folder.join("job.json"), elsewhere).unwrap();
    let refused = world.pass_after("real", "rehearsal").run().await;
    refused.expect(2);
    assert!(
        refused.stderr.contains("at http://127.0.0.1:9"),
        "{}",
        refused.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_copied_is_not_recorded_as_copied() {
    let world = World::new();
    world.put("k", "old content");
    world.list().await;
    let listed = std::fs::read(world.path("manifest.csv")).unwrap();
    // Rewritten behind the listing, and rolled back behind the copy.
    world.put("k", "new content");
    world.pass("one").run().await.expect(0);
    let rows = read_report(&world.report_of("one"));
    assert_eq!(message(&rows[0], "source_e_tag"), json!(null));
    assert!(
        rows[0].message.contains("is not the listed one"),
        "{}",
        rows[0].message
    );
    world.put("k", "old content");
    std::fs::write(world.path("manifest.csv"), listed).unwrap();
    let second = world.pass_after("two", "one").run().await;
    // The first report knows nothing of what the manifest lists.
    second.expect(2);
    assert!(
        second.stderr.contains("records neither"),
        "{}",
        second.stderr
    );
}
