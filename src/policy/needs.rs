//! Which requests a job sends, and so what it must be allowed: a pure function of its flags.

use std::collections::{BTreeMap, BTreeSet};

use s3haul_s3::Tag;

use super::actions::{Known, On, table};
use crate::job::copy::Overwrite;
use crate::job::copy::headers::tagging_header;
use crate::job::copy::settings::{Annotations, Archived, ObjectSettings, Verify};
use crate::job::manifest::Versions;
use crate::job::plan::DeleteMarkers;
use crate::job::spec::JobSpec;

/// A bucket by its part in the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// What is copied lies there.
    Source,
    /// It is copied to there.
    Destination,
    /// The manifest lies there, and an inventory's data files.
    Manifest,
    /// The report is written there.
    Report,
}

impl Place {
    /// Its name, in documents and reasons.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Manifest => "manifest",
            Self::Report => "report",
        }
    }
}

/// One action that the job needs, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// On which bucket, or its key.
    pub place: Place,
    /// On the bucket itself, its objects, or the KMS key of these.
    pub on: On,
    /// The IAM action.
    pub action: &'static str,
    /// What it is for: a clause for each request.
    pub reasons: BTreeSet<String>,
    /// No object is copied without it.
    pub essential: bool,
}

/// What of a job's surroundings its flags do not say.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Of manifest and report, those that lie in S3.
    pub in_s3: Vec<Place>,
    /// Of source and destination, those with objects under KMS keys that are not S3's own.
    pub under_keys: Vec<Place>,
    /// `check` looks at both sides before the job.
    pub checked: bool,
}

/// A kind of request that the job sends.
struct Sent {
    operation: &'static str,
    place: Place,
    reason: &'static str,
    /// No object can be copied without it.
    essential: bool,
}

/// What the job must be allowed, in the order of places, each action once.
pub fn needs(job: &JobSpec, around: &Surroundings) -> Vec<Need> {
    let mut found = BTreeMap::<_, (BTreeSet<String>, bool)>::new();
    for sent in requests(job, around) {
        let rows = table().iter().filter(|row| row.operation == sent.operation);
        for row in rows {
            let fact = |token: &str| fact(job, around, &sent, token);
            let place = if row.of_source {
                Place::Source
            } else {
                sent.place
            };
            let holds = row.holds(fact);
            let reason = match holds {
                Known::No => continue,
                Known::Yes => sent.reason.to_owned(),
                Known::Maybe => {
                    // That no version is named goes without saying.
                    let when = row.when.iter().filter(|(_, holds)| *holds);
                    let when: Vec<_> = when
                        .filter(|(token, _)| fact(token) == Known::Maybe)
                        .map(|&(token, _)| phrase(token))
                        .collect();
                    if when.is_empty() {
                        sent.reason.to_owned()
                    } else {
                        format!("{} ({})", sent.reason, when.join(", "))
                    }
                }
            };
            let (reasons, essential) = found.entry((place, row.on, row.action)).or_default();
            reasons.insert(format!("{}: {reason}", sent.operation));
            // What only tells a missing object from a refused one copies none, but where that is asked first.
            let tells = row.when.iter().any(|(token, _)| *token == "missing-object")
                && sent.reason != IF_DIFFERENT;
            *essential |= sent.essential && !tells;
        }
    }
    let need = |((place, on, action), (reasons, essential))| Need {
        place,
        on,
        action,
        reasons,
        essential,
    };
    found.into_iter().map(need).collect()
}

/// What a token of the table says of the requests of which it holds.
fn phrase(token: &str) -> &'static str {
    match token {
        "versionId" => "of a version",
        "source-tagged" | "x-amz-tagging" => "of objects with tags",
        "source-annotated" => "of objects with annotations",
        "missing-object" => "404 in place of 403 for an object that is not there",
        "source-kms" | "destination-kms" | "object-kms" => "of objects under the key",
        _ => "of some objects",
    }
}

/// What a job sends for one purpose.
fn sent(
    place: Place,
    operations: &[&'static str],
    reason: &'static str,
    essential: bool,
) -> impl Iterator<Item = Sent> {
    operations.iter().map(move |operation| Sent {
        operation,
        place,
        reason,
        essential,
    })
}

fn requests(job: &JobSpec, around: &Surroundings) -> Vec<Sent> {
    let copying = copying(job)
        .into_iter()
        .flat_map(|(place, operations, reason)| sent(place, operations, reason, true));
    let in_s3 = around.in_s3.iter().flat_map(|place| match place {
        Place::Report => sent(
            *place,
            REPORT,
            "writes the report, and reads it again",
            true,
        ),
        _ => sent(
            *place,
            &["HeadObject", "GetObject"],
            "reads the manifest",
            true,
        ),
    });
    let regions = [Place::Source, Place::Destination].into_iter();
    let regions = regions.chain(around.in_s3.iter().copied());
    let found = regions.flat_map(|place| sent(place, &["HeadBucket"], "finds its region", false));
    let useful = [
        (&["HeadObject"][..], "settles a write whose answer was lost"),
        (
            &["ListMultipartUploads", "ListParts"],
            "goes on with an upload in a resume",
        ),
        (&["AbortMultipartUpload"], "leaves no parts behind"),
    ];
    let useful = useful
        .into_iter()
        .flat_map(|(operations, reason)| sent(Place::Destination, operations, reason, false));
    let checked = [
        (Place::Source, SOURCE_CHECK),
        (Place::Destination, DESTINATION_CHECK),
    ];
    let checked = checked.into_iter().filter(|_| around.checked);
    let checked =
        checked.flat_map(|(place, asked)| sent(place, asked, "check: unknown without it", false));
    copying
        .chain(in_s3)
        .chain(found)
        .chain(useful)
        .chain(checked)
        .collect()
}

const REPORT: &[&str] = &["HeadObject", "GetObject", "PutObject", "ListObjectsV2"];
const SOURCE_CHECK: &[&str] = &["GetBucketVersioning", "GetBucketRequestPayment"];
const DESTINATION_CHECK: &[&str] = &[
    "GetBucketVersioning",
    "GetBucketOwnershipControls",
    "GetBucketEncryption",
    "GetObjectLockConfiguration",
    "GetBucketLifecycleConfiguration",
];

/// Why the destination is looked at before a copy.
const IF_DIFFERENT: &str = "--overwrite if-different";

/// Without these no object is copied, or not every object.
fn copying(job: &JobSpec) -> Vec<(Place, &'static [&'static str], &'static str)> {
    const PARTS: &[&str] = &[
        "CreateMultipartUpload",
        "UploadPartCopy",
        "CompleteMultipartUpload",
    ];
    let object = &job.copy.object;
    let (source, destination) = (Place::Source, Place::Destination);
    let mut all: Vec<(_, &'static [_], _)> = vec![
        (destination, &["CopyObject"], "copies whole objects"),
        (destination, PARTS, "copies in parts"),
        (source, &["HeadObject"], "sees what is copied in parts"),
    ];
    if object.tags.is_none() {
        all.push((
            source,
            &["GetObjectTagging"],
            "tags of what is copied in parts",
        ));
    }
    if tags_may_fit_no_header(object) {
        all.push((
            destination,
            &["PutObjectTagging"],
            "tags that fit no header",
        ));
    }
    if object.lists_annotations() {
        let reason = "annotations of what is copied in parts";
        all.push((
            source,
            &["ListObjectAnnotations", "GetObjectAnnotation"],
            reason,
        ));
        all.push((destination, &["PutObjectAnnotation"], reason));
    }
    if job.copy.plan.delete_markers == Some(DeleteMarkers::Replay) {
        let reason = "--delete-markers replay: adds a marker";
        all.push((destination, &["DeleteObject"], reason));
    }
    if job.read.versions == Some(Versions::All) {
        all.push((destination, &["GetBucketVersioning"], "--versions all"));
    }
    if matches!(object.archived, Archived::Restore { .. }) {
        all.push((source, &["RestoreObject"], "--archived restore"));
    }
    if job.copy.overwrite == Overwrite::IfDifferent {
        all.push((destination, &["HeadObject"], IF_DIFFERENT));
    }
    match job.copy.verify {
        Verify::Response => {}
        Verify::Head => all.push((destination, &["HeadObject"], "--verify head")),
        Verify::Checksum => {
            all.push((source, &["GetObjectAttributes"], "--verify checksum"));
            all.push((destination, &["GetObjectAttributes"], "--verify checksum"));
        }
        Verify::Full => {
            all.push((source, &["GetObject"], "--verify full"));
            all.push((destination, &["GetObject"], "--verify full"));
        }
    }
    all
}

/// Whether a set of tags may be longer than S3 takes in a header.
fn tags_may_fit_no_header(object: &ObjectSettings) -> bool {
    object.tags.as_ref().is_none_or(|tags| {
        let tag = |(key, value): &(String, String)| Tag {
            key: key.clone(),
            value: value.clone(),
        };
        let tags: Vec<_> = tags.iter().map(tag).collect();
        !tags.is_empty() && tagging_header(&tags).is_none()
    })
}

/// Whether a version in the request is one of the source.
fn of_source(sent: &Sent) -> bool {
    sent.place == Place::Source || matches!(sent.operation, "CopyObject" | "UploadPartCopy")
}

/// Whether a token of the table holds of the requests of one kind.
fn fact(job: &JobSpec, around: &Surroundings, sent: &Sent, token: &str) -> Known {
    let (copy, object) = (&job.copy, &job.copy.object);
    let makes = matches!(sent.operation, "CopyObject" | "CreateMultipartUpload");
    match token {
        // Parts are pinned to a version where there are any; a column of versions may be empty.
        "versionId" if of_source(sent) => Known::Maybe,
        "versionId" => match sent.operation {
            "PutObjectTagging" | "PutObjectAnnotation" => Known::Maybe,
            // The version that was made is looked at.
            "HeadObject" | "GetObject" | "GetObjectAttributes"
                if sent.place == Place::Destination && copy.verify != Verify::Response =>
            {
                Known::Maybe
            }
            _ => Known::No,
        },
        "source-tagged" if object.tags.is_none() => Known::Maybe,
        "x-amz-tagging" if makes => match &object.tags {
            None if sent.operation == "CreateMultipartUpload" => Known::Maybe,
            None => Known::No,
            Some(tags) => Known::from(!tags.is_empty()),
        },
        "source-annotated" if object.annotations == Annotations::Copy => Known::Maybe,
        "x-amz-acl" => Known::from(makes && copy.acl.is_some() && object.grants.is_empty()),
        "x-amz-grant-*" => Known::from(makes && !object.grants.is_empty()),
        "x-amz-object-lock-mode" => Known::from(makes && object.retention.is_some()),
        "x-amz-object-lock-legal-hold" => Known::from(makes && object.legal_hold.is_some()),
        "If-Match" => Known::from(sent.place == Place::Report),
        // Of each HEAD, of each copy: a manifest is old.
        "missing-object" => Known::Maybe,
        "source-kms" if around.under_keys.contains(&Place::Source) => Known::Maybe,
        "object-kms"
            if sent.place == Place::Source && around.under_keys.contains(&Place::Source) =>
        {
            Known::Maybe
        }
        "object-kms"
            if sent.place == Place::Destination
                && around.under_keys.contains(&Place::Destination) =>
        {
            Known::Maybe
        }
        "x-amz-checksum-mode" => Known::Yes,
        "destination-kms" if around.under_keys.contains(&Place::Destination) => Known::Maybe,
        // What an answer shows besides is not what it is asked for.
        _ => Known::No,
    }
}
