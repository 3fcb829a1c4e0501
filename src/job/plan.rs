//! What is to be done for a row: pure, from the row and the options to a task.

use s3haul_s3::Tally;
use s3haul_s3::quotas::{MAX_COPY_BYTES, MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES};
use serde::{Deserialize, Serialize};

use super::code::Code;
use super::manifest::{Rename, Row};
use super::outcome::{Ended, Failure};
use super::report::journal::OpenUpload;
use super::report::previous::Matching;

const MIB: u64 = 1 << 20;
/// `--part-size auto`: large enough that requests do not dominate, small enough that a few hundred
/// in flight keep a single large object busy.
const AUTO_PART_BYTES: u64 = 128 * MIB;

/// Size of the parts of a multipart copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartSize {
    /// 128 MiB, growing to fit 10,000 parts.
    Auto,
    /// The source object's own part size, so that the ETag comes out equal.
    MatchSource,
    /// A fixed size in bytes, growing to fit 10,000 parts.
    Bytes(u64),
}

/// What becomes of a delete marker that a manifest lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeleteMarkers {
    /// Its row is skipped.
    Skip,
    /// A delete marker is added in its place.
    Replay,
}

/// Which rows are copied with CopyObject, and which in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanOptions {
    /// Objects over this many bytes are copied in parts; at most 5 GiB, which is what CopyObject
    /// takes.
    pub multipart_threshold: u64,
    /// Size of the parts.
    pub part_size: PartSize,
    /// What becomes of delete markers; skipped where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_markers: Option<DeleteMarkers>,
    /// An object is held to the ETag that the manifest lists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held_to_e_tag: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            multipart_threshold: 1 << 30,
            part_size: PartSize::Auto,
            delete_markers: None,
            held_to_e_tag: false,
        }
    }
}

/// One row's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The row.
    pub row: Row,
    /// Where its object goes.
    pub destination_key: String,
    /// An upload that an earlier attempt of this pass left open for it.
    pub upload: Option<OpenUpload>,
    /// What it has cost already, in the other lane.
    pub tally: Tally,
}

/// Where a row goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// To CopyObject: its size is at most the threshold, or not known.
    Small(Task),
    /// To a multipart copy.
    Large(Task),
    /// To DeleteObject: it is a delete marker.
    Marker(Task),
    /// It ends without a request.
    Ended(Row, Ended),
}

impl Planned {
    /// The row.
    pub fn into_row(self) -> Row {
        match self {
            Self::Small(task) | Self::Large(task) | Self::Marker(task) => task.row,
            Self::Ended(row, _) => row,
        }
    }
}

/// Plans a row. `upload` is what an earlier attempt of this pass left open for it.
pub fn plan(
    row: Row,
    upload: Option<OpenUpload>,
    rename: &Rename,
    options: &PlanOptions,
) -> Planned {
    if let Some(problem) = &row.problem {
        let failure = Failure::of(Code::InvalidManifestRow, problem.clone());
        return Planned::Ended(row, Ended::Failed(failure));
    }
    let replay = options.delete_markers == Some(DeleteMarkers::Replay);
    if row.facts.delete_marker && !replay {
        let message = "a delete marker has no content: nothing is copied".to_owned();
        let skipped = Ended::Skipped {
            code: Code::DeleteMarker,
            message,
        };
        return Planned::Ended(row, skipped);
    }
    let Some(destination_key) = rename.destination_key(&row.key) else {
        let prefix = rename.strip_prefix.as_deref().unwrap_or_default();
        let failure = Failure::of(
            Code::PrefixNotFound,
            format!("the key does not begin with the prefix to strip, {prefix}"),
        );
        return Planned::Ended(row, Ended::Failed(failure));
    };
    // An upload that was begun is completed: nothing else would end it.
    if let Some(matching) = row.copied_before
        && upload.is_none()
    {
        let message = match matching {
            Matching::Source => "the previous report has this object as the manifest lists it",
            Matching::Key => "the previous report has this key, whatever the object has become",
        };
        let skipped = Ended::Skipped {
            code: Code::CopiedBefore,
            message: message.to_owned(),
        };
        return Planned::Ended(row, skipped);
    }
    if options.held_to_e_tag && row.facts.e_tag.is_none() && !row.facts.delete_marker {
        let message = "--source-changed fail was given, and the manifest lists no ETag here";
        let failure = Failure::of(Code::NoListedETag, message);
        return Planned::Ended(row, Ended::Failed(failure));
    }
    let over = |limit| row.facts.size.is_some_and(|size| size > limit);
    // The ETag of an object that was uploaded in parts ends in their number; one that was uploaded whole
    // keeps its own only if it is copied whole.
    let listed = row.facts.e_tag.as_deref();
    let large = match listed.filter(|_| options.part_size == PartSize::MatchSource) {
        Some(e_tag) => e_tag.contains('-') || over(MAX_COPY_BYTES),
        None => over(options.multipart_threshold),
    };
    let large = large || upload.is_some();
    let task = Task {
        row,
        destination_key,
        upload,
        tally: Tally::default(),
    };
    if task.row.facts.delete_marker {
        Planned::Marker(task)
    } else if large {
        Planned::Large(task)
    } else {
        Planned::Small(task)
    }
}

/// How an object is cut into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlan {
    /// Size of the object.
    pub object_bytes: u64,
    /// Size of every part but the last.
    pub part_bytes: u64,
}

impl PartPlan {
    /// Cuts an object of `object_bytes`, which is not empty.
    ///
    /// `source_part_bytes` is the source's own part size, where it is known and wanted. Sizes grow
    /// by whole mebibytes until 10,000 parts are enough.
    pub fn new(object_bytes: u64, part_size: PartSize, source_part_bytes: Option<u64>) -> Self {
        let wanted = match (part_size, source_part_bytes) {
            (PartSize::Bytes(bytes), _) => bytes,
            (PartSize::MatchSource, Some(bytes)) => {
                return Self {
                    object_bytes,
                    part_bytes: bytes.min(MAX_PART_BYTES),
                };
            }
            (PartSize::Auto | PartSize::MatchSource, _) => AUTO_PART_BYTES,
        };
        let least = object_bytes
            .div_ceil(u64::from(MAX_PARTS))
            .next_multiple_of(MIB);
        let part_bytes = wanted.max(least).clamp(MIN_PART_BYTES, MAX_PART_BYTES);
        Self {
            object_bytes,
            part_bytes,
        }
    }

    /// Number of parts.
    pub fn parts(&self) -> u32 {
        u32::try_from(self.object_bytes.div_ceil(self.part_bytes)).unwrap_or(u32::MAX)
    }

    /// First and last byte of a part, both inclusive; parts count from 1.
    pub fn range(&self, part_number: u32) -> (u64, u64) {
        let first = u64::from(part_number.saturating_sub(1)) * self.part_bytes;
        (first, (first + self.part_bytes).min(self.object_bytes) - 1)
    }

    /// Size of a part.
    pub fn bytes(&self, part_number: u32) -> u64 {
        let (first, last) = self.range(part_number);
        last + 1 - first
    }
}

/// Whether CopyObject takes an object of this size.
pub fn fits_one_copy(bytes: u64) -> bool {
    bytes <= MAX_COPY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::manifest::{Facts, Place};
    use proptest::prelude::*;

    fn row(size: Option<u64>, e_tag: Option<&str>) -> Row {
        Row {
            ordinal: 0,
            after: Place::default(),
            key: "a/b".into(),
            spelt: None,
            version_id: None,
            facts: Facts {
                size,
                e_tag: e_tag.map(Into::into),
                ..Facts::default()
            },
            problem: None,
            is_latest: false,
            copied_before: None,
            behind_older: false,
            doubted: false,
        }
    }

    #[test]
    fn size_decides_and_an_unknown_size_tries_one_request() {
        let options = PlanOptions {
            multipart_threshold: 100,
            ..PlanOptions::default()
        };
        for (size, large) in [(None, false), (Some(100), false), (Some(101), true)] {
            let planned = plan(row(size, None), None, &Rename::default(), &options);
            assert_eq!(matches!(planned, Planned::Large(_)), large, "{size:?}");
        }
    }

    #[test]
    fn match_source_sends_what_was_uploaded_in_parts_in_parts() {
        let options = PlanOptions {
            part_size: PartSize::MatchSource,
            ..PlanOptions::default()
        };
        for (e_tag, large) in [("abc-2", true), ("abc", false)] {
            let planned = plan(
                row(Some(1), Some(e_tag)),
                None,
                &Rename::default(),
                &options,
            );
            assert_eq!(matches!(planned, Planned::Large(_)), large, "{e_tag}");
        }
    }

    #[test]
    fn rows_that_cannot_run_end_here() {
        let options = PlanOptions::default();
        let bad = Row {
            problem: Some("why".into()),
            ..row(None, None)
        };
        assert!(matches!(
            plan(bad, None, &Rename::default(), &options),
            Planned::Ended(..)
        ));
        let rename = Rename {
            prefix: String::new(),
            strip_prefix: Some("x/".into()),
        };
        let planned = plan(row(None, None), None, &rename, &options);
        let Planned::Ended(_, Ended::Failed(failure)) = planned else {
            panic!("{planned:?}")
        };
        assert_eq!(failure.code, "PrefixNotFound");
    }

    #[test]
    fn rows_that_were_copied_before_are_skipped_unless_an_upload_is_open() {
        let options = PlanOptions::default();
        let copied = || Row {
            copied_before: Some(Matching::Source),
            ..row(Some(1), None)
        };
        let planned = plan(copied(), None, &Rename::default(), &options);
        let skipped = |planned: &Planned| matches!(planned, Planned::Ended(_, Ended::Skipped { code, .. }) if *code == Code::CopiedBefore);
        assert!(skipped(&planned), "{planned:?}");
        let upload = OpenUpload {
            ordinal: 0,
            key: "a/b".into(),
            upload_id: "u".into(),
            part_bytes: MIN_PART_BYTES,
            object_bytes: 1,
            source_e_tag: "e".into(),
            source_version_id: None,
            checksum: None,
            looks: None,
        };
        let planned = plan(copied(), Some(upload), &Rename::default(), &options);
        assert!(matches!(planned, Planned::Large(_)), "{planned:?}");
        // What fails by itself is no row of an earlier job's.
        let rename = Rename {
            prefix: String::new(),
            strip_prefix: Some("x/".into()),
        };
        let planned = plan(copied(), None, &rename, &options);
        assert!(matches!(planned, Planned::Ended(_, Ended::Failed(_))));
    }

    #[test]
    fn delete_markers_are_skipped_or_replayed() {
        for (delete_markers, replayed) in [
            (None, false),
            (Some(DeleteMarkers::Skip), false),
            (Some(DeleteMarkers::Replay), true),
        ] {
            let options = PlanOptions {
                delete_markers,
                ..PlanOptions::default()
            };
            let mut marker = row(None, None);
            marker.facts.delete_marker = true;
            match plan(marker, None, &Rename::default(), &options) {
                Planned::Marker(task) => assert!(replayed && task.destination_key == "a/b"),
                Planned::Ended(_, Ended::Skipped { code, .. }) => {
                    assert!(!replayed && code == Code::DeleteMarker);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn parts_cover_the_object_once(
            object_bytes in 1u64..=50_000_000_000_000,
            part in proptest::option::of(MIN_PART_BYTES..=MAX_PART_BYTES),
        ) {
            let part_size = part.map_or(PartSize::Auto, PartSize::Bytes);
            let plan = PartPlan::new(object_bytes, part_size, None);
            prop_assert!(plan.part_bytes >= MIN_PART_BYTES && plan.part_bytes <= MAX_PART_BYTES);
            prop_assert!((1..=MAX_PARTS).contains(&plan.parts()));
            prop_assert_eq!(plan.range(1).0, 0);
            prop_assert_eq!(plan.range(plan.parts()).1, object_bytes - 1);
            for part in [1, plan.parts() / 2, plan.parts() - 1] {
                if (1..plan.parts()).contains(&part) {
                    prop_assert_eq!(plan.range(part).1 + 1, plan.range(part + 1).0);
                    prop_assert_eq!(plan.bytes(part), plan.part_bytes);
                }
            }
        }
    }
}
