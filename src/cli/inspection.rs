//! What is counted of a manifest, for `manifest inspect` and `copy --dry-run`.

mod duplicates;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use s3haul_s3::quotas::MAX_COPY_BYTES;
use serde::Serialize;

use self::duplicates::Duplicates;
use crate::job::code::Code;
use crate::job::copy::CopyOptions;
use crate::job::manifest::key::Shown;
use crate::job::manifest::{BadRow, Rename, Row, Survey};
use crate::job::outcome::Ended;
use crate::job::plan::{PartPlan, PartSize, Planned, plan};
use crate::job::summary::Size;

/// S3's list price of a COPY, POST or PUT request to S3 Standard in us-east-1, in dollars
/// (<https://aws.amazon.com/s3/pricing/>).
const WRITE_PRICE: f64 = 0.005 / 1000.0;
/// The same of a GET or HEAD request.
const READ_PRICE: f64 = 0.0004 / 1000.0;
/// Words that are counted by name; S3 has far fewer.
const COUNTED_WORDS: usize = 50;
/// Upper bounds of the sizes that are counted together, each inclusive; the last has none.
const SIZES: [(u64, &str); 9] = [
    (0, "0"),
    (1 << 10, "1KiB"),
    (64 << 10, "64KiB"),
    (1 << 20, "1MiB"),
    (16 << 20, "16MiB"),
    (128 << 20, "128MiB"),
    (1 << 30, "1GiB"),
    (MAX_COPY_BYTES, "5GiB"),
    (u64::MAX, "50TiB"),
];

/// What is counted.
#[derive(Debug, Default, Serialize)]
pub(super) struct Inspection {
    rows: u64,
    bytes: u64,
    filtered: u64,
    multipart_objects: u64,
    parts: u64,
    requests: u64,
    cost_usd: f64,
    archived: u64,
    /// Rows that name a version which is not the latest.
    noncurrent_versions: u64,
    delete_markers: u64,
    latest_delete_markers: u64,
    /// Rows that a previous report has, and that are skipped.
    copied_before: u64,
    duplicates: u64,
    /// Whether the number of duplicates is an estimate.
    duplicates_estimated: bool,
    bad_rows: u64,
    unknown_sizes: u64,
    /// Objects that S3 Batch Operations cannot copy.
    over_5gib: u64,
    sizes: Vec<SizeClass>,
    storage_classes: BTreeMap<String, Counted>,
    encryption: BTreeMap<String, u64>,
    /// The first of the bad rows.
    bad: Vec<Bad>,
    #[serde(skip)]
    reads: u64,
    #[serde(skip)]
    writes: u64,
    #[serde(skip)]
    deletes: u64,
    #[serde(skip)]
    seen: Duplicates,
}

/// Objects up to a size, and over the one before it.
#[derive(Debug, Serialize)]
struct SizeClass {
    up_to: &'static str,
    objects: u64,
    bytes: u64,
}

#[derive(Debug, Default, Serialize)]
struct Counted {
    rows: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Bad {
    file: String,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    byte: Option<u64>,
    problem: String,
}

impl Inspection {
    pub(super) fn new() -> Self {
        let class = |(_, up_to)| SizeClass {
            up_to,
            objects: 0,
            bytes: 0,
        };
        Self {
            sizes: SIZES.into_iter().map(class).collect(),
            ..Self::default()
        }
    }

    /// Takes a selected row, and what a job would do for it.
    pub(super) fn see(&mut self, row: Row, rename: &Rename, options: &CopyOptions) {
        self.rows += 1;
        self.seen.see(&row.key, row.version_id.as_deref());
        let facts = &row.facts;
        if facts.delete_marker {
            self.delete_markers += 1;
            self.latest_delete_markers += u64::from(row.is_latest);
        } else {
            self.noncurrent_versions += u64::from(row.version_id.is_some() && !row.is_latest);
            self.count_object(&row);
        }
        match plan(row, None, rename, &options.plan) {
            Planned::Small(task) => {
                self.reads += options.reads(&task.row.facts, false);
                self.writes += 1;
            }
            // Deletes are free.
            Planned::Marker(_) => self.deletes += 1,
            Planned::Large(task) => {
                let bytes = task.row.facts.size.unwrap_or_default().max(1);
                let planned = PartPlan::new(bytes, options.plan.part_size, None).parts();
                // The listed ETag of an object that was uploaded in parts ends in their number.
                let listed = task.row.facts.e_tag.as_deref();
                let listed = listed.filter(|_| options.plan.part_size == PartSize::MatchSource);
                let listed = listed.and_then(|e_tag| e_tag.rsplit_once('-')?.1.parse().ok());
                let parts = u64::from(listed.unwrap_or(planned));
                self.multipart_objects += 1;
                self.parts += parts;
                // HEAD, tags and annotations are read; Create, the parts and Complete are written.
                self.reads += options.reads(&task.row.facts, true);
                self.writes += 2 + parts;
            }
            Planned::Ended(_, Ended::Skipped { code, .. }) => {
                self.copied_before += u64::from(code == Code::CopiedBefore);
            }
            Planned::Ended(..) => {}
        }
    }

    fn count_object(&mut self, row: &Row) {
        let facts = &row.facts;
        let bytes = facts.size.unwrap_or_default();
        self.bytes += bytes;
        self.unknown_sizes += u64::from(facts.size.is_none());
        if let Some(size) = facts.size {
            self.over_5gib += u64::from(size > MAX_COPY_BYTES);
            let class = SIZES.iter().position(|(most, _)| size <= *most);
            if let Some(class) = class.and_then(|class| self.sizes.get_mut(class)) {
                class.objects += 1;
                class.bytes += size;
            }
        }
        if let Some(class) = &facts.storage_class {
            self.archived += u64::from(matches!(class.as_str(), "GLACIER" | "DEEP_ARCHIVE"));
            let counted = named(&mut self.storage_classes, class);
            counted.rows += 1;
            counted.bytes += bytes;
        }
        if let Some(encryption) = &facts.encryption {
            *named(&mut self.encryption, encryption) += 1;
        }
    }

    /// Takes a bad row.
    pub(super) fn bad(&mut self, file: &Path, row: BadRow) {
        self.bad.push(Bad {
            file: file.display().to_string(),
            line: row.line,
            byte: row.byte,
            problem: row.problem,
        });
    }

    /// All rows were seen.
    pub(super) fn close(&mut self, survey: &Survey) {
        self.filtered = survey.filtered;
        self.bad_rows = survey.bad_rows;
        if survey.csv().is_some() {
            // CSV does not tell which version is the latest.
            self.noncurrent_versions = 0;
        }
        (self.duplicates, self.duplicates_estimated) = self.seen.count();
        self.requests = self.reads + self.writes + self.deletes;
        #[expect(clippy::cast_precision_loss, reason = "a display value")]
        {
            self.cost_usd = self.writes as f64 * WRITE_PRICE + self.reads as f64 * READ_PRICE;
        }
    }
}

/// What is counted under a word: a stranger's, of which there may be any number.
fn named<'m, T: Default>(counted: &'m mut BTreeMap<String, T>, word: &str) -> &'m mut T {
    let known = counted.contains_key(word) || counted.len() < COUNTED_WORDS;
    let word = if known { word } else { "Other" };
    counted.entry(word.to_owned()).or_default()
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = if self.unknown_sizes > 0 {
            " known of"
        } else {
            ""
        };
        writeln!(
            f,
            "{} rows, {}{known}, {} filtered out",
            self.rows,
            Size(self.bytes),
            self.filtered
        )?;
        writeln!(
            f,
            "  {} in {} parts; {} of unknown size, {} over 5 GiB",
            self.multipart_objects, self.parts, self.unknown_sizes, self.over_5gib
        )?;
        let about = if self.duplicates_estimated {
            "about "
        } else {
            ""
        };
        writeln!(
            f,
            "  {} archived, {} noncurrent versions, {} delete markers ({} of them the latest), \
             {about}{} duplicates, {} bad rows",
            self.archived,
            self.noncurrent_versions,
            self.delete_markers,
            self.latest_delete_markers,
            self.duplicates,
            self.bad_rows
        )?;
        if self.copied_before > 0 {
            writeln!(f, "  {} copied before", self.copied_before)?;
        }
        for class in self.sizes.iter().filter(|class| class.objects > 0) {
            let (objects, bytes) = (class.objects, Size(class.bytes));
            writeln!(f, "  up to {}: {objects} objects, {bytes}", class.up_to)?;
        }
        for (class, Counted { rows, bytes }) in &self.storage_classes {
            writeln!(f, "  {}: {rows} rows, {}", Shown(class), Size(*bytes))?;
        }
        for (kind, rows) in &self.encryption {
            writeln!(f, "  encrypted {}: {rows} rows", Shown(kind))?;
        }
        for Bad {
            file,
            line,
            byte,
            problem,
        } in &self.bad
        {
            write!(f, "  bad: {}, line {line}", Shown(file))?;
            if let Some(byte) = byte {
                write!(f, " (byte {byte})")?;
            }
            writeln!(f, ": {problem}")?;
        }
        write!(
            f,
            "  {} requests, about {:.2} USD (list price of requests in us-east-1; storage and transfer are not part of it)",
            self.requests, self.cost_usd
        )
    }
}
