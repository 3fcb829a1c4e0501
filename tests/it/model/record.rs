//! What is durable of a job: the rows in its sealed files and in its journal.

use s3haul::job::report::journal::{Record, read_frames};
use s3haul::job::report::row::ReportRow;

use crate::support::{World, message};

/// A row whose outcome is durable.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) row: ReportRow,
    /// Of the pass in hand, in a job that has not ended.
    pub(super) in_hand: bool,
}

impl Durable {
    /// The row's key, decoded.
    pub(super) fn key(&self) -> String {
        decoded(&self.row.key)
    }

    /// The destination's version that it names.
    pub(super) fn names(&self) -> Option<String> {
        names(&self.row)
    }
}

/// A key as a report spells it.
pub(super) fn decoded(key: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(key).decode_utf8();
    decoded.unwrap().into_owned()
}

/// The destination's version that a row has written or found.
pub(super) fn names(row: &ReportRow) -> Option<String> {
    message(row, "version_id").as_str().map(str::to_owned)
}

/// Reads what a job's folder has; nothing before there is one.
pub(super) fn durable(world: &World) -> Vec<Durable> {
    let job = world.job();
    if !job.exists() {
        return Vec::new();
    }
    let at = world.checkpoint();
    let ended = at["state"] == "complete";
    let mut rows = Vec::new();
    let mut take = |lines: &[u8], in_hand| {
        let mut reader = csv::ReaderBuilder::new();
        let reader = reader.has_headers(false).flexible(true).from_reader(lines);
        for record in reader.into_records() {
            let record: csv::StringRecord = record.unwrap().iter().take(7).collect();
            let row = ReportRow::parse(&record).unwrap();
            rows.push(Durable { row, in_hand });
        }
    };
    for file in at["sealed"].as_array().unwrap() {
        let lines = std::fs::read(job.join(file["name"].as_str().unwrap())).unwrap();
        take(&lines, !ended && file["pass"] == at["pass"]);
    }
    let journal = job.join(format!(
        "work/journal-{:08}",
        at["journal"].as_u64().unwrap()
    ));
    if let Ok(journal) = std::fs::File::open(journal) {
        let each = |record| {
            if let Record::Outcome(outcome) = record {
                take(outcome.row.as_bytes(), !ended);
            }
            Ok(())
        };
        read_frames(journal, each).unwrap();
    }
    rows
}
