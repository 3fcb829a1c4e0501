//! `--metrics`: how a running job goes, for whoever gathers its logs.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tokio::time::MissedTickBehavior;

use crate::job::metrics::{FailureClass, Snapshot};
use crate::job::spec::JobFile;
use crate::job::{Progress, blocking};

/// Time between two lines: what CloudWatch keeps of a metric is a value a minute.
const INTERVAL: Duration = Duration::from_mins(1);

/// The form of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MetricsFormat {
    /// CloudWatch's Embedded Metric Format: a line of JSON on stderr each minute, and one at the end.
    Emf,
}

/// What tells one job's lines from another's. All but the bucket are plain members of a line: CloudWatch
/// keeps, and bills, a metric of its own for each value of a dimension.
#[derive(Debug)]
struct Labels {
    destination_bucket: String,
    command: &'static str,
    job_id: String,
    shard: Option<String>,
}

/// Writes what has come since it last wrote.
#[derive(Debug)]
pub(super) struct Metrics {
    labels: Labels,
    progress: Arc<Progress>,
    last: Mutex<Snapshot>,
}

impl Metrics {
    pub(super) fn new(file: &JobFile, progress: Arc<Progress>) -> Self {
        let verifies = file.job.verify.is_some();
        Self {
            labels: Labels {
                destination_bucket: file.job.destination_bucket.clone(),
                command: if verifies { "verify" } else { "copy" },
                job_id: file.job_id.clone(),
                shard: file.job.read.shard.map(|shard| shard.to_string()),
            },
            progress,
            last: Mutex::default(),
        }
    }

    /// Writes a line a minute until it is dropped.
    pub(super) async fn each_minute(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        // A process that was stopped for an hour has one line to write, not sixty.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            Arc::clone(&self).write().await;
        }
    }

    /// Writes a line now.
    ///
    /// # Cancellation
    /// The line is written all the same, and not a second time.
    pub(super) async fn write(self: Arc<Self>) {
        // A log that nobody reads holds this thread, not the job's.
        blocking(move || {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.progress.snapshot();
            let milliseconds = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
            let line = emf(&self.labels, &last, &now, milliseconds);
            // At once, so that nothing comes between: a line is one event.
            let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
            *last = now;
        })
        .await;
    }
}

/// Each metric with its unit: what came between two snapshots, or stands at the second.
///
/// `docs/metrics.md` says what each means.
fn metrics(last: &Snapshot, now: &Snapshot) -> [(&'static str, &'static str, u64); 11] {
    let failed = |class: FailureClass| now.failed[class as usize] - last.failed[class as usize];
    [
        ("RowsSucceeded", "Count", now.succeeded - last.succeeded),
        ("RowsSkipped", "Count", now.skipped - last.skipped),
        ("RowsFailed", "Count", now.all_failed() - last.all_failed()),
        ("RowsFailedAccess", "Count", failed(FailureClass::Access)),
        (
            "RowsFailedThrottled",
            "Count",
            failed(FailureClass::Throttled),
        ),
        (
            "RowsFailedNotFound",
            "Count",
            failed(FailureClass::NotFound),
        ),
        ("RowsFailedOther", "Count", failed(FailureClass::Other)),
        ("Bytes", "Bytes", now.bytes - last.bytes),
        ("Requests", "Count", now.requests - last.requests),
        ("RequestsThrottled", "Count", now.throttled - last.throttled),
        ("RequestsInFlight", "Count", now.in_flight.into()),
    ]
}

/// A line in CloudWatch's Embedded Metric Format.
///
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
fn emf(labels: &Labels, last: &Snapshot, now: &Snapshot, milliseconds: i128) -> Value {
    let metrics = metrics(last, now);
    let declared = metrics.map(|(name, unit, _)| json!({ "Name": name, "Unit": unit }));
    let directive = json!({
        "Namespace": "s3haul",
        "Dimensions": [["DestinationBucket"]],
        "Metrics": declared,
    });
    let mut line = Map::new();
    let about = json!({ "Timestamp": milliseconds, "CloudWatchMetrics": [directive] });
    line.insert("_aws".to_owned(), about);
    let mut member = |name: &str, value: Value| line.insert(name.to_owned(), value);
    member(
        "DestinationBucket",
        labels.destination_bucket.as_str().into(),
    );
    member("command", labels.command.into());
    member("job_id", labels.job_id.as_str().into());
    if let Some(shard) = &labels.shard {
        member("shard", shard.as_str().into());
    }
    member("attempt", now.attempt.into());
    member("pass", now.pass.into());
    for (name, _, value) in metrics {
        member(name, value.into());
    }
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_came_between_two_snapshots() {
        let labels = Labels {
            destination_bucket: "destination".to_owned(),
            command: "copy",
            job_id: "nightly".to_owned(),
            shard: Some("3/8".to_owned()),
        };
        let last = Snapshot {
            attempt: 2,
            succeeded: 1_000,
            failed: [1, 2, 3, 4],
            bytes: 5_000_000_000,
            requests: 1_200,
            throttled: 7,
            in_flight: 200,
            ..Snapshot::default()
        };
        let now = Snapshot {
            pass: 1,
            succeeded: 1_500,
            skipped: 20,
            failed: [1, 4, 6, 8],
            bytes: 5_000_000_001,
            requests: 1_900,
            in_flight: 16,
            ..last
        };
        let line = emf(&labels, &last, &now, 1_795_381_200_123);
        let expected = json!({
            "_aws": line["_aws"],
            "DestinationBucket": "destination",
            "command": "copy",
            "job_id": "nightly",
            "shard": "3/8",
            "attempt": 2,
            "pass": 1,
            "RowsSucceeded": 500,
            "RowsSkipped": 20,
            "RowsFailed": 9,
            "RowsFailedAccess": 0,
            "RowsFailedThrottled": 2,
            "RowsFailedNotFound": 3,
            "RowsFailedOther": 4,
            "Bytes": 1,
            "Requests": 700,
            "RequestsThrottled": 0,
            "RequestsInFlight": 16,
        });
        assert_eq!(line, expected);
        assert_eq!(line["_aws"]["Timestamp"], 1_795_381_200_123_u64);
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Namespace"], "s3haul");
    }
}
