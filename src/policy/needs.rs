//! Which requests a job sends, and so what it must be allowed: a pure function of its flags.

use std::collections::{BTreeMap, BTreeSet};

use s3haul_s3::Tag;

use super::actions::{Known, On, table};
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
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings {
    /// The manifest lies in S3.
    pub manifest_in_s3: bool,
    /// The report does.
    pub report_in_s3: bool,
    /// Sources are under KMS keys that are not those of S3.
    pub source_keys: bool,
    /// Copies are.
    pub destination_keys: bool,
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
pub fn needs(job: &JobSpec, around: Surroundings) -> Vec<Need> {
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
                    let when = row.when.iter();
                    let when: Vec<_> = when
                        .filter(|(token, _)| fact(token) == Known::Maybe)
                        .map(|&(token, holds)| phrase(token, holds))
                        .collect();
                    format!("{} ({})", sent.reason, when.join(", "))
                }
            };
            let (reasons, essential) = found.entry((place, row.on, row.action)).or_default();
            reasons.insert(format!("{}: {reason}", sent.operation));
            *essential |= sent.essential;
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

/// What a token of the table that may hold says of the requests of which it does.
fn phrase(token: &str, holds: bool) -> &'static str {
    match (token, holds) {
        ("versionId", true) => "of a version",
        ("versionId", false) => "of no version in particular",
        ("source-tagged" | "x-amz-tagging", true) => "of objects with tags",
        ("source-annotated", true) => "of objects with annotations",
        ("missing-object", true) => "tells an object that is missing from one that is refused",
        ("source-kms" | "destination-kms" | "object-kms", true) => "of objects under the key",
        _ => "of some objects",
    }
}

fn requests(job: &JobSpec, around: Surroundings) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut all = |place: Place, operations: &[&'static str], reason, essential| {
        for operation in operations {
            sent.push(Sent {
                operation,
                place,
                reason,
                essential,
            });
        }
    };
    let object = &job.copy.object;
    let (source, destination) = (Place::Source, Place::Destination);
    // Without these no object is copied, or not every object.
    let parts = &[
        "CreateMultipartUpload",
        "UploadPartCopy",
        "CompleteMultipartUpload",
    ];
    all(destination, &["CopyObject"], "copies whole objects", true);
    all(destination, parts, "copies in parts", true);
    let asked = "size, metadata and version of what is copied in parts";
    all(source, &["HeadObject"], asked, true);
    if object.tags.is_none() {
        let asked = "tags of what is copied in parts";
        all(source, &["GetObjectTagging"], asked, true);
    }
    if tags_may_fit_no_header(object) {
        let put = "tags that fit no header";
        all(destination, &["PutObjectTagging"], put, true);
    }
    if object.lists_annotations() {
        let annotations = "annotations of what is copied in parts";
        let asked = &["ListObjectAnnotations", "GetObjectAnnotation"];
        all(source, asked, annotations, true);
        all(destination, &["PutObjectAnnotation"], annotations, true);
    }
    if job.copy.plan.delete_markers == Some(DeleteMarkers::Replay) {
        let adds = "--delete-markers replay: adds a marker";
        all(destination, &["DeleteObject"], adds, true);
    }
    if job.read.versions == Some(Versions::All) {
        all(
            destination,
            &["GetBucketVersioning"],
            "--versions all",
            true,
        );
    }
    if matches!(object.archived, Archived::Restore { .. }) {
        all(source, &["RestoreObject"], "--archived restore", true);
    }
    let proofs: &[_] = match job.copy.verify {
        Verify::Response | Verify::Head => &[],
        Verify::Checksum => &["GetObjectAttributes"],
        Verify::Full => &["GetObject"],
    };
    all(source, proofs, "--verify", true);
    all(destination, proofs, "--verify", true);
    if job.copy.verify == Verify::Head {
        all(destination, &["HeadObject"], "--verify", true);
    }
    if around.manifest_in_s3 {
        let read = &["HeadObject", "GetObject"];
        all(Place::Manifest, read, "reads the manifest", true);
        let found = "finds its region";
        all(Place::Manifest, &["HeadBucket"], found, false);
    }
    if around.report_in_s3 {
        let asked = &[
            "HeadBucket",
            "HeadObject",
            "GetObject",
            "PutObject",
            "ListObjectsV2",
        ];
        let kept = "writes the report, and reads it again in a resume";
        all(Place::Report, asked, kept, true);
    }
    let found = "whether it is there, and its region";
    all(source, &["HeadBucket"], found, false);
    all(destination, &["HeadBucket"], found, false);
    let settled = "settles a write whose answer was lost, and sees what is there";
    all(destination, &["HeadObject"], settled, false);
    let found = "goes on with an upload after a lost answer or in a resume";
    all(
        destination,
        &["ListMultipartUploads", "ListParts"],
        found,
        false,
    );
    let left = "leaves no parts behind";
    all(destination, &["AbortMultipartUpload"], left, false);
    if around.checked {
        let looked = "check: unknown without it";
        let asked = &["GetBucketVersioning", "GetBucketRequestPayment"];
        all(source, asked, looked, false);
        let asked = &[
            "GetBucketVersioning",
            "GetBucketOwnershipControls",
            "GetBucketEncryption",
            "GetObjectLockConfiguration",
            "GetBucketLifecycleConfiguration",
        ];
        all(destination, asked, looked, false);
    }
    sent
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
fn fact(job: &JobSpec, around: Surroundings, sent: &Sent, token: &str) -> Known {
    let (copy, object) = (&job.copy, &job.copy.object);
    let makes = matches!(sent.operation, "CopyObject" | "CreateMultipartUpload");
    match token {
        "versionId" if of_source(sent) && job.lists_versions() => Known::Yes,
        // Parts are pinned to a version where there are any, and manifests may list them.
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
        "source-kms" if around.source_keys => Known::Maybe,
        "object-kms" if sent.place == Place::Source && around.source_keys => Known::Maybe,
        "object-kms" if sent.place == Place::Destination && around.destination_keys => Known::Maybe,
        "x-amz-checksum-mode" => Known::Yes,
        "destination-kms" if around.destination_keys => Known::Maybe,
        // What an answer shows besides is not what it is asked for.
        _ => Known::No,
    }
}
