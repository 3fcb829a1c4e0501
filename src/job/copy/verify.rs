//! One row of `verify`: what stands at the destination, compared with its source. Nothing is written.
//!
//! What is compared, and how strongly, is asked with as few requests as it takes: where the manifest
//! lists what the destination has, the source is not asked at all. The first thing that differs ends
//! the row, and the row says which.

pub mod acl;

use s3haul_s3::{Head, Lane, Operation, S3Error, Tag, Tally};
use serde::{Deserialize, Serialize};

use self::acl::CannedAcl;
use super::evidence::{Known, Sameness, compare};
use super::prove::{Seen, Verdict, verdict};
use super::read::Unread;
use super::settings::Verify;
use super::settle::under_another_key;
use super::{Copier, Stop, Turn};
use crate::job::code::Code;
use crate::job::manifest::Facts;
use crate::job::outcome::{By, Ended, Evidence, Failure, Success, is_archived};
use crate::job::plan::Task;
use crate::job::report::time_text;

/// What `verify` compares besides presence, size and content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyOptions {
    /// System and user metadata, those that a copy carries.
    pub metadata: bool,
    /// Tags, as sets.
    pub tags: bool,
    /// The ACL at the destination, which is to be this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<CannedAcl>,
}

impl VerifyOptions {
    /// Whether metadata, tags and the ACL are compared.
    pub fn compared(&self) -> [bool; 3] {
        [self.metadata, self.tags, self.acl.is_some()]
    }
}

/// Which of two objects a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

impl Copier {
    /// Verifies a row.
    pub async fn verify(&self, task: &Task, options: &VerifyOptions, tally: &mut Tally) -> Turn {
        match self.verified(task, options, tally).await {
            Ok(success) => Turn::Ended(Ended::Succeeded(Box::new(success))),
            Err(Stop::Stopped) => Turn::Stopped,
            // Without credentials every row would fail: it has not been run.
            Err(Stop::Ended(_)) if self.lost.get().is_some() => Turn::Stopped,
            Err(Stop::Ended(ended)) => Turn::Ended(ended),
        }
    }

    async fn verified(
        &self,
        task: &Task,
        options: &VerifyOptions,
        tally: &mut Tally,
    ) -> Result<Success, Stop> {
        let there = match self.look(task, Lane::Small, None, tally).await {
            Ok(there) => there,
            Err(error) if under_another_key(&error) => {
                let how = "it is under another customer's key, or under one where none was given";
                return Err(different(how).into());
            }
            Err(error) => return Err(refused(&error, Side::Destination).into()),
        };
        let head_is_enough = self.options.verify == Verify::Head && !options.metadata;
        let (source, evidence) = if head_is_enough && is_listed(&task.row.facts, &there) {
            (None, Evidence::ETag)
        } else {
            let source = self
                .head_source(task, Lane::Small, tally)
                .await
                .map_err(|error| refused(&error, Side::Source))?;
            let seen = self.same_content(task, &source, &there, tally).await?;
            let evidence = concluded(task, &source, seen)?;
            (Some(source), evidence)
        };
        if let (true, Some(source)) = (options.metadata, &source) {
            same_metadata(source, &there)?;
        }
        if options.tags {
            let source = self.tags_of(task, Side::Source, tally).await?;
            let there = self.tags_of(task, Side::Destination, tally).await?;
            if let Some(how) = differing_tag(&source, &there) {
                return Err(different(how).into());
            }
        }
        if let Some(wanted) = options.acl {
            self.check_acl(task, wanted, tally).await?;
        }
        Ok(success(task, source.as_ref(), &there, evidence))
    }

    /// Compares size and content, by what the job asks for: what equal ETags or checksums of two HEADs
    /// do not prove is asked further.
    async fn same_content(
        &self,
        task: &Task,
        source: &Head,
        there: &Head,
        tally: &mut Tally,
    ) -> Result<Verdict, Stop> {
        let seen = by_known(&Seen::from(source), &Seen::from(there));
        match (self.options.verify, &seen) {
            (_, Verdict::Differs(_))
            | (Verify::Response | Verify::Head, _)
            | (Verify::Checksum, Verdict::Proved(Evidence::Checksum)) => Ok(seen),
            (Verify::Checksum, _) => {
                let version_id = task.row.version_id.as_deref();
                let source = self
                    .source_attributes(task, version_id, Lane::Small, tally)
                    .await
                    .map_err(|error| refused(&error, Side::Source))?;
                let there = self
                    .destination_attributes(task, None, Lane::Small, tally)
                    .await
                    .map_err(|error| refused(&error, Side::Destination))?;
                Ok(by_known(&Seen::from(&source), &Seen::from(&there)))
            }
            (Verify::Full, _) => {
                let read = self.read_both(task, source, there, Lane::Small, tally);
                read.await.map_err(unread)
            }
        }
    }

    async fn tags_of(
        &self,
        task: &Task,
        side: Side,
        tally: &mut Tally,
    ) -> Result<Vec<Tag>, Failure> {
        let (client, bucket, key, version_id, headers) = match side {
            Side::Source => (
                &self.source,
                &self.source_bucket,
                &task.row.key,
                task.row.version_id.as_deref(),
                self.headers.source(),
            ),
            Side::Destination => (
                &self.destination,
                &self.destination_bucket,
                &task.destination_key,
                None,
                self.headers.destination(),
            ),
        };
        let get = || client.get_object_tagging(bucket, key, version_id, headers);
        self.read(tally, Lane::Small, Operation::GetObjectTagging, get)
            .await
            .map_err(|error| refused(&error, side))
    }

    async fn check_acl(
        &self,
        task: &Task,
        wanted: CannedAcl,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let get = || {
            let (bucket, key) = (&self.destination_bucket, &task.destination_key);
            let headers = self.headers.destination();
            self.destination.get_object_acl(bucket, key, None, headers)
        };
        let found = self
            .read(tally, Lane::Small, Operation::GetObjectAcl, get)
            .await
            .map_err(|error| refused(&error, Side::Destination))?;
        match acl::difference(&found, wanted, self.bucket_owner.as_deref()) {
            Some(how) => Err(different(format!("{how}, and --acl asks for {wanted}"))),
            None => Ok(()),
        }
    }
}

/// Whether the destination has what the manifest lists: then it has what the source had.
fn is_listed(facts: &Facts, there: &Head) -> bool {
    let listed = Known {
        bytes: facts.size,
        ..Known::from(facts)
    };
    facts.size.is_some() && compare(&listed, &Known::from(there)) == Sameness::Same(Evidence::ETag)
}

/// As [`verdict`] of a source that is what it is; equal sizes alone prove nothing here.
fn by_known(source: &Seen, there: &Seen) -> Verdict {
    match verdict(source, there, Some(true)) {
        Verdict::Proved(Evidence::Head) => Verdict::Unproved(
            "the sizes are equal, and source and destination have neither ETags nor checksums that can \
             be compared"
                .to_owned(),
        ),
        seen => seen,
    }
}

/// What proved equal content; else the row's end.
fn concluded(task: &Task, source: &Head, seen: Verdict) -> Result<Evidence, Failure> {
    match seen {
        Verdict::Proved(evidence) => Ok(evidence),
        Verdict::Unproved(why) => Err(not_comparable(why)),
        Verdict::Differs(how) if has_changed(task, source) => Err(different(format!(
            "{how}; the source has changed since the manifest was made"
        ))),
        Verdict::Differs(how) => Err(different(how)),
    }
}

/// Whether the source is another object than the manifest lists.
fn has_changed(task: &Task, source: &Head) -> bool {
    let listed = task.row.facts.e_tag.as_ref();
    listed.is_some_and(|listed| *listed != source.e_tag)
}

fn same_metadata(source: &Head, there: &Head) -> Result<(), Failure> {
    if let Some(name) = super::headers::differing_metadata(source, there) {
        return Err(different(format!("{name} is another one")));
    }
    match (source.missing_meta(), there.missing_meta()) {
        (0, 0) => Ok(()),
        (a, b) if a == b => Err(not_comparable(format!(
            "{a} metadata entries cannot be seen: S3 does not show them over HTTP"
        ))),
        (a, b) => Err(different(format!(
            "the source has {a} metadata entries that S3 does not show over HTTP, the destination {b}"
        ))),
    }
}

/// The first tag that only one of two objects has, or that has another value: in no order, as S3 keeps
/// them in none.
fn differing_tag(source: &[Tag], there: &[Tag]) -> Option<String> {
    let value = |tags: &[Tag], key: &str| {
        let tag = tags.iter().find(|tag| tag.key == key);
        tag.map(|tag| tag.value.clone())
    };
    let mut keys: Vec<_> = source.iter().chain(there).map(|tag| &tag.key).collect();
    keys.sort();
    keys.into_iter().find_map(|key| {
        Some(match (value(source, key), value(there, key)) {
            (a, b) if a == b => return None,
            (Some(_), None) => format!("the tag {key:?} is missing at the destination"),
            (None, _) => format!("the destination has the tag {key:?}, and the source has not"),
            (Some(_), Some(_)) => format!("the tag {key:?} has another value"),
        })
    })
}

fn success(task: &Task, source: Option<&Head>, there: &Head, evidence: Evidence) -> Success {
    let (row, facts) = (&task.row, &task.row.facts);
    let listed = (
        facts.e_tag.clone(),
        facts.size,
        facts.last_modified.map(time_text),
        row.version_id.clone(),
    );
    let (source_e_tag, source_size, source_last_modified, source_version_id) =
        source.map_or(listed, |source| {
            (
                Some(source.e_tag.clone()),
                Some(source.object_bytes()),
                source.last_modified.map(time_text),
                source.version_id.clone().or_else(|| row.version_id.clone()),
            )
        });
    Success {
        e_tag: there.e_tag.clone(),
        version_id: there.version_id.clone(),
        bytes: Some(there.object_bytes()),
        parts: None,
        by: By::Verify,
        evidence,
        source_e_tag,
        source_version_id,
        source_size,
        source_last_modified,
        source_changed: source.is_some_and(|source| has_changed(task, source)),
        in_doubt: false,
        notes: Vec::new(),
    }
}

fn different(how: impl Into<String>) -> Failure {
    Failure::of(Code::Different, how).hinted(COPY)
}

/// What to do about an object that is not what it should be.
const COPY: &str = "copy it again: s3haul copy takes the failed rows with this report's manifest.json as --manifest";

fn not_comparable(why: String) -> Failure {
    Failure::of(Code::NotComparable, why).hinted(
        "--verify checksum compares S3's checksums where both objects have one, --verify full reads both \
         objects; what was written meanwhile is compared again by resume",
    )
}

/// What one side answered instead; nothing was compared.
fn refused(error: &S3Error, side: Side) -> Failure {
    let failure = Failure::from(error);
    match side {
        _ if error.status == Some(404) => gone(failure, side),
        Side::Source if failure.access => failure.hinted(
            "who verifies (the role, if there is one) needs s3:GetObject on the source, for --compare \
             tags s3:GetObjectTagging and for --verify checksum s3:GetObjectAttributes (with a version \
             s3:GetObjectVersion, s3:GetObjectVersionTagging, s3:GetObjectVersionAttributes), and \
             kms:Decrypt on the key of objects under KMS; without s3:ListBucket a missing object answers \
             403 too",
        ),
        Side::Destination if failure.access => failure.hinted(
            "who verifies (the role, if there is one) needs s3:GetObject on the destination, for \
             --compare tags s3:GetObjectTagging, for --compare acl s3:GetObjectAcl and for --verify \
             checksum s3:GetObjectAttributes; without s3:ListBucket a missing object answers 403 too",
        ),
        Side::Source | Side::Destination => failure,
    }
}

fn gone(failure: Failure, side: Side) -> Failure {
    match side {
        Side::Source => failure
            .hinted("the source has no such object any more: there is nothing to compare with"),
        Side::Destination => Failure {
            message: "the destination has no such object".to_owned(),
            ..failure.coded(Code::Missing).hinted(COPY)
        },
    }
}

/// Why the two could not be read to their ends.
fn unread(unread: Unread) -> Stop {
    let (error, side) = match unread {
        Unread::Stopped => return Stop::Stopped,
        Unread::Source(error) => (error, Side::Source),
        Unread::Copy(error) => (error, Side::Destination),
    };
    let failure = refused(&error, side);
    if is_archived(&error) {
        return failure
            .hinted(
                "the object is archived: restore it first, then run resume, or verify without --verify \
                 full, which reads it",
            )
            .into();
    }
    failure.into()
}
