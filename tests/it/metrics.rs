//! `--metrics emf`: lines that CloudWatch reads, with the numbers of the summary.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Stdio;

use s3haul_sandbox::{Fault, FaultKind, Operation, When};
use serde_json::Value;

use crate::guards::error;
use crate::support::{DESTINATION, JOB, Run, World};

/// CloudWatch's units of what is counted.
///
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
const UNITS: [&str; 2] = ["Count", "Bytes"];

/// The lines with metrics of a run, each held to the rules of the format, as sums by name.
fn metrics(run: &Run) -> (Vec<Value>, BTreeMap<String, u64>) {
    let lines = run.stderr.lines().filter(|line| line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<Value> = lines.filter(|line| line.get("_aws").is_some()).collect();
    let mut sums = BTreeMap::new();
    for line in &lines {
        for (name, value) in well_formed(line) {
            *sums.entry(name).or_default() += value;
        }
    }
    (lines, sums)
}

/// Holds a line to the format's rules; gives its metrics.
///
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
fn well_formed(line: &Value) -> BTreeMap<String, u64> {
    let about = line["_aws"].as_object().unwrap();
    assert_eq!(about.len(), 2, "{line}");
    // Milliseconds, of this year or a later one and not of the year 50,000.
    let timestamp = about["Timestamp"].as_u64().unwrap();
    assert!((1_700_000_000_000..10_000_000_000_000).contains(&timestamp));
    let [directive] = &about["CloudWatchMetrics"].as_array().unwrap()[..] else {
        panic!("{line}");
    };
    assert_eq!(directive.as_object().unwrap().len(), 3, "{line}");
    let namespace = directive["Namespace"].as_str().unwrap();
    assert!((1..=255).contains(&namespace.len()));
    assert!(!namespace.starts_with("AWS/"));
    for set in directive["Dimensions"].as_array().unwrap() {
        let set = set.as_array().unwrap();
        assert!(set.len() <= 30);
        for dimension in set {
            let value = line[dimension.as_str().unwrap()].as_str().unwrap();
            assert!((1..=1024).contains(&value.len()) && value.is_ascii());
        }
    }
    let declared = directive["Metrics"].as_array().unwrap();
    assert!((1..=100).contains(&declared.len()));
    let metrics: BTreeMap<String, u64> = declared
        .iter()
        .map(|metric| {
            let metric = metric.as_object().unwrap();
            assert!(metric.keys().all(|key| key == "Name" || key == "Unit"));
            assert!(UNITS.contains(&metric["Unit"].as_str().unwrap()));
            let name = metric["Name"].as_str().unwrap().to_owned();
            let value = line[&name].as_u64().unwrap();
            (name, value)
        })
        .collect();
    assert_eq!(
        metrics.len(),
        declared.len(),
        "a name is declared twice: {line}"
    );
    metrics
}

/// Six rows: three succeed, one is throttled on its way; one has no source, one is refused, one breaks.
fn mixed(world: &World) {
    for key in ["a", "b", "c", "denied", "broken"] {
        world.put(key, "12345");
    }
    world.manifest_of(["a", "b", "c", "denied", "missing", "broken"]);
    let faults = world.sandbox.faults();
    let copy = |kind| Fault::on(Operation::CopyObject, kind);
    faults.add(copy(FaultKind::slow_down()).key("b").when(When::First(1)));
    faults.add(copy(error(403, "AccessDenied")).key("denied"));
    faults.add(copy(error(400, "InvalidRequest")).key("broken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_add_up_to_the_summary() {
    let world = World::new();
    mixed(&world);
    let run = world.copy(&["--metrics", "emf"]).await;
    run.expect(1);
    let (lines, sums) = metrics(&run);
    assert!(!lines.is_empty(), "{}", run.stderr);
    for line in &lines {
        assert_eq!(line["DestinationBucket"], DESTINATION);
        assert_eq!(line["job_id"], JOB);
        assert_eq!(line["command"], "copy");
        assert_eq!((&line["attempt"], &line["pass"]), (&1.into(), &0.into()));
        assert!(line.get("shard").is_none(), "{line}");
    }
    for (name, member) in [
        ("RowsSucceeded", "succeeded"),
        ("RowsFailed", "failed"),
        ("RowsSkipped", "skipped"),
        ("Bytes", "bytes"),
        ("Requests", "requests"),
        ("RequestsThrottled", "throttled"),
    ] {
        assert_eq!(run.summary(member), sums[name], "{name}");
    }
    assert_eq!(sums["RowsSucceeded"], 3);
    assert_eq!(sums["RequestsThrottled"], 1);
    for class in ["Access", "NotFound", "Other"] {
        assert_eq!(sums[&format!("RowsFailed{class}")], 1, "{class}");
    }
    assert_eq!(sums["RowsFailedThrottled"], 0);
    assert_eq!(lines[lines.len() - 1]["RequestsInFlight"], 0);

    // Behind a resume, the rows that it ran: those that failed, in a pass of their own.
    world.sandbox.faults().clear();
    let run = world.resume(&["--metrics", "emf"]).await;
    let (lines, sums) = metrics(&run);
    let last = &lines[lines.len() - 1];
    assert_eq!((&last["attempt"], &last["pass"]), (&2.into(), &1.into()));
    assert_eq!((sums["RowsSucceeded"], sums["RowsFailedNotFound"]), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_an_object_beside_json_logs() {
    let world = World::new();
    mixed(&world);
    // All of it from the environment, as a container is given it.
    let given = world.given().variable("S3HAUL_METRICS", "emf");
    let given = given.variable("S3HAUL_LOG_FORMAT", "json");
    let given = given.variable("S3HAUL_LOG_LEVEL", "info");
    let run = given.clone().run().await;
    run.expect(1);
    let objects: Vec<Value> = run
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    assert!(objects.iter().any(|line| line.get("_aws").is_some()));
    let hinted = |line: &Value| {
        line["message"]
            .as_str()
            .is_some_and(|m| m.contains("s3haul resume"))
    };
    assert!(objects.iter().any(hinted), "{}", run.stderr);

    // So are errors, with what to do.
    let run = given.set("--to", "s3://other-bucket").run().await;
    run.expect(2);
    let error: Value = serde_json::from_str(run.stderr.trim()).unwrap();
    assert_eq!(error["level"], "ERROR");
    let said = error["message"].as_str().unwrap();
    assert!(said.contains("another job: --to differ"), "{said}");
    assert!(
        error["hint"].as_str().unwrap().contains("--job-id"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_flag_there_are_none() {
    let world = World::new();
    mixed(&world);
    let run = world.copy(&[]).await;
    assert_eq!(metrics(&run).0, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_has_them_too() {
    let world = World::new();
    mixed(&world);
    world.copy(&[]).await.expect(1);
    let run = world.verifying().set("--metrics", "emf").run().await;
    run.expect(1);
    let (lines, sums) = metrics(&run);
    assert_eq!(lines[0]["command"], "verify");
    assert_eq!(sums["RowsSucceeded"], 3);
    assert_eq!(sums["RowsFailedNotFound"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_each_metric_with_its_unit() {
    let world = World::new();
    world.small_objects(1);
    let run = world.copy(&["--metrics", "emf"]).await;
    let (lines, _) = metrics(&run);
    let declared = lines[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array();
    let declared: BTreeSet<_> = declared
        .unwrap()
        .iter()
        .map(|metric| {
            (
                metric["Name"].as_str().unwrap(),
                metric["Unit"].as_str().unwrap(),
            )
        })
        .collect();
    let page = include_str!("../../docs/metrics.md");
    let described: BTreeSet<_> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let (name, unit) = (cells.next()?.strip_suffix('`')?, cells.next()?);
            UNITS.contains(&unit).then_some((name, unit))
        })
        .collect();
    assert_eq!(described, declared);
}

/// Whoever gathers the log may have stopped: the last line is no reason not to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_though_nobody_reads_its_last_line() {
    let world = World::new();
    world.small_objects(3);
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 64]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let mut command = world.copy_command();
    command.args(["--metrics", "emf"]).stderr(writer);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(world.rows().len(), 3);
    drop(reader);
}
