//! What is said of a report: the summary of its job, or of the shards of an array, and what is worth a look.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::manifest::key::Shown;
use super::report::array::{Array, ranges};
use super::report::notable::{FailedRow, FirstFailed, Notable, SlowRow};
use super::report::passes::JobState;
use super::report::row::TaskStatus;
use super::summary::{Size, Summary, state_word};

/// A report at a glance, as `--output json` prints it: the members of the summary and these.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    #[serde(flatten)]
    summary: Summary,
    rates: Option<Rates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<Vec<ShardSummary>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    examples: Option<BTreeMap<String, FailedRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slowest: Option<Vec<SlowRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_rows: Option<Vec<FailedRow>>,
}

/// How fast a job was while it was at work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Rows that ended, a second.
    pub rows_per_second: f64,
    /// Bytes copied, a second.
    pub bytes_per_second: f64,
    /// Requests sent, a second.
    pub requests_per_second: f64,
}

impl Rates {
    /// Those of a job; of one that is at work, or was killed, it is not known how long it has been.
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    fn of(summary: &Summary) -> Option<Self> {
        let seconds = summary.elapsed_seconds;
        if summary.state == JobState::Running || seconds <= 0.0 {
            return None;
        }
        let rate = |count: u64| (count as f64 / seconds * 10.0).round() / 10.0;
        Some(Self {
            rows_per_second: rate(summary.succeeded + summary.failed + summary.skipped),
            bytes_per_second: rate(summary.bytes),
            requests_per_second: rate(summary.requests),
        })
    }
}

/// Where a shard stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShardSummary {
    /// Which one, from 0.
    pub shard: u32,
    /// As that of a job; `missing` where it has not begun.
    pub state: ShardState,
    /// Its counts, once it has begun.
    #[serde(flatten)]
    pub counts: Option<ShardCounts>,
}

/// Where a shard stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ShardState {
    /// It has begun.
    Begun(JobState),
    /// It has not.
    Missing(Missing),
}

/// A shard that has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// There is no report of it.
    Missing,
}

/// What a shard has done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ShardCounts {
    rows: u64,
    succeeded: u64,
    failed: u64,
    skipped: u64,
    elapsed_seconds: f64,
}

impl Overview {
    /// What is said of a job.
    pub fn of_job(summary: Summary, notable: Notable) -> Self {
        Self {
            rates: Rates::of(&summary),
            shards: None,
            examples: Some(notable.examples),
            slowest: Some(notable.slowest),
            failed_rows: None,
            summary,
        }
    }

    /// What is said of an array.
    pub fn of_array(array: &Array, notable: Notable) -> Self {
        let (summary, shards) = sum(array);
        Self {
            shards: Some(shards),
            ..Self::of_job(summary, notable)
        }
    }

    /// What is said of an array whose report was merged.
    pub fn of_merged(array: &Array, failed: FirstFailed) -> Self {
        Self {
            examples: None,
            slowest: None,
            failed_rows: Some(failed.0),
            ..Self::of_array(array, Notable::default())
        }
    }

    /// The summary.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}

/// The sum of an array's shards, and each of them.
fn sum(array: &Array) -> (Summary, Vec<ShardSummary>) {
    let (file, report) = (&array.first, array.folder.address());
    let mut whole = Summary {
        verified: file.job.verify.is_some(),
        ..Summary::nothing(&file.job_id, array.state(), report.display().to_string())
    };
    let missing = array.missing().into_iter().map(|shard| ShardSummary {
        shard,
        state: ShardState::Missing(Missing::Missing),
        counts: None,
    });
    let mut shards: Vec<_> = missing.collect();
    for shard in &array.shards {
        let of_shard = Summary::new(&file.job_id, &shard.at, String::new(), 1);
        whole.add(&of_shard);
        shards.push(ShardSummary {
            shard: shard.shard.index,
            state: ShardState::Begun(of_shard.state),
            counts: Some(ShardCounts {
                rows: of_shard.rows,
                succeeded: of_shard.succeeded,
                failed: of_shard.failed,
                skipped: of_shard.skipped,
                elapsed_seconds: of_shard.elapsed_seconds,
            }),
        });
    }
    shards.sort_by_key(|shard| shard.shard);
    (whole, shards)
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = &self.summary;
        summary.write_counts(f)?;
        if let Some(rates) = &self.rates {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a display value, which is never negative"
            )]
            let bytes = Size(rates.bytes_per_second as u64);
            writeln!(
                f,
                "  {:.1} rows/s, {bytes}/s, {:.1} requests/s",
                rates.rows_per_second, rates.requests_per_second
            )?;
        }
        if let Some(shards) = &self.shards {
            write_shards(f, shards)?;
        }
        for (code, count) in &summary.errors {
            writeln!(f, "  {count} failed with {}", Shown(code))?;
            if let Some(row) = self.examples.as_ref().and_then(|rows| rows.get(code)) {
                write_example(f, row)?;
            }
        }
        if let Some(rows) = self.failed_rows.as_ref().filter(|rows| !rows.is_empty()) {
            writeln!(f, "  failed rows:")?;
            for row in rows {
                let object = Object(&row.bucket, &row.key, &row.version_id);
                writeln!(f, "    {} {object}", Shown(&row.error_code))?;
            }
            let more = summary.failed.saturating_sub(rows.len() as u64);
            if more > 0 {
                writeln!(f, "    and {more} more")?;
            }
        }
        if let Some(rows) = self.slowest.as_ref().filter(|rows| !rows.is_empty()) {
            writeln!(f, "  slowest:")?;
            for row in rows {
                write_slow(f, row)?;
            }
        }
        summary.write_end(f)
    }
}

/// An object as a terminal may show it.
struct Object<'a>(&'a str, &'a str, &'a str);

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bucket, key, version_id) = self;
        write!(f, "{},{}", Shown(bucket), Shown(key))?;
        if !version_id.is_empty() {
            write!(f, ",{}", Shown(version_id))?;
        }
        Ok(())
    }
}

fn write_example(f: &mut fmt::Formatter<'_>, row: &FailedRow) -> fmt::Result {
    let object = Object(&row.bucket, &row.key, &row.version_id);
    let said = &row.message;
    let line = |text: &str| Shown(&text.replace(['\r', '\n'], " ")).to_string();
    write!(f, "    {object}: {}", line(&said.message))?;
    let about = [
        said.operation.as_deref().map(line),
        row.http_status.map(|status| status.to_string()),
        said.request_id
            .as_deref()
            .map(|id| format!("request ID {}", line(id))),
    ];
    let about: Vec<_> = about.into_iter().flatten().collect();
    if !about.is_empty() {
        write!(f, " ({})", about.join(", "))?;
    }
    writeln!(f)?;
    match &said.hint {
        Some(hint) => writeln!(f, "    hint: {}", line(hint)),
        None => Ok(()),
    }
}

fn write_slow(f: &mut fmt::Formatter<'_>, row: &SlowRow) -> fmt::Result {
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    let seconds = row.elapsed_ms as f64 / 1000.0;
    write!(f, "    {seconds:.3} s ")?;
    if row.status != TaskStatus::Succeeded {
        write!(f, "{} ", row.status.as_str())?;
    }
    if let Some(bytes) = row.bytes {
        write!(f, "{} ", Size(bytes))?;
    }
    writeln!(f, "{}", Object(&row.bucket, &row.key, &row.version_id))
}

fn write_shards(f: &mut fmt::Formatter<'_>, shards: &[ShardSummary]) -> fmt::Result {
    let mut words: Vec<(&str, BTreeSet<u32>)> = Vec::new();
    for shard in shards {
        let word = match shard.state {
            ShardState::Begun(state) => state_word(state),
            ShardState::Missing(_) => "missing",
        };
        match words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, shards)) => drop(shards.insert(shard.shard)),
            None => words.push((word, BTreeSet::from([shard.shard]))),
        }
    }
    let words: Vec<_> = words
        .iter()
        .map(|(word, shards)| format!("{} {word} ({})", shards.len(), ranges(shards)))
        .collect();
    writeln!(f, "  {} shards: {}", shards.len(), words.join(", "))
}
