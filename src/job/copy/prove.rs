//! What a success rests on: what S3 answered, and the look behind it that the job asks for.
//!
//! What can be compared and differs fails the row. What cannot be compared succeeds on weaker evidence,
//! which the row names and the summary counts.

use s3haul_s3::{Head, Lane, ObjectAttributes, Operation, S3Error, Tally};
use time::OffsetDateTime;

use super::evidence::{Known, Sameness, compare};
use super::read::Unread;
use super::settings::Verify;
use super::{Copier, Stop};
use crate::job::code::Code;
use crate::job::outcome::{Ended, Evidence, Failure, Success, is_archived};
use crate::job::plan::Task;

/// What is known of the source of a copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    /// Its HEAD, where one was sent.
    pub(super) head: Option<&'a Head>,
    /// That HEAD is of what was copied, for certain.
    pub(super) pinned: bool,
}

/// Whether a version names what was copied for good: the null version may be another object by now.
pub(super) fn pins(version_id: Option<&str>) -> bool {
    version_id.is_some_and(|id| id != "null")
}

/// What a look at both objects has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are equal, as far as this evidence goes.
    Proved(Evidence),
    /// They cannot be compared, and why.
    Unproved(String),
    /// They are not equal, and in what.
    Differs(String),
}

/// What both objects are, and when they were written.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) known: Known,
    pub(super) last_modified: Option<OffsetDateTime>,
}

impl From<&Head> for Seen {
    fn from(head: &Head) -> Self {
        Self {
            known: Known::from(head),
            last_modified: head.last_modified,
        }
    }
}

impl From<&ObjectAttributes> for Seen {
    fn from(attributes: &ObjectAttributes) -> Self {
        Self {
            known: Known::from(attributes),
            last_modified: attributes.last_modified,
        }
    }
}

impl Copier {
    /// Says what proves a copy that S3 has answered with `answer`, and looks further as the job asks.
    pub(super) async fn prove(
        &self,
        task: &Task,
        lane: Lane,
        mut success: Box<Success>,
        answer: &Known,
        origin: Origin<'_>,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let listed = || Known::from(&task.row.facts);
        let source = origin.head.map_or_else(listed, Known::from);
        match compare(&source, answer) {
            Sameness::Same(evidence) => success.evidence = evidence,
            Sameness::Different if origin.pinned => {
                return Err(failed("by S3's answer the copy has another checksum or ETag").into());
            }
            Sameness::Different | Sameness::Unknown => {}
        }
        let looked = match (self.options.verify, success.evidence) {
            (Verify::Head, Evidence::Response) => {
                self.look_at_copy(task, lane, &success, origin, tally).await
            }
            (Verify::Checksum, evidence) if evidence != Evidence::Checksum => {
                self.compare_attributes(task, lane, &success, tally).await
            }
            (Verify::Full, _) => self.read_copy(task, lane, &success, tally).await,
            (Verify::Response | Verify::Head | Verify::Checksum, _) => {
                return Ok(Ended::Succeeded(success));
            }
        };
        concluded(success, looked?)
    }

    /// The look that the job asks for at a copy that was found when its answer was lost.
    pub(super) async fn prove_found(
        &self,
        task: &Task,
        lane: Lane,
        success: Box<Success>,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        if success.evidence != Evidence::Found {
            return Ok(Ended::Succeeded(success));
        }
        let looked = match self.options.verify {
            Verify::Response | Verify::Head => return Ok(Ended::Succeeded(success)),
            Verify::Checksum => self.compare_attributes(task, lane, &success, tally).await,
            Verify::Full => self.read_copy(task, lane, &success, tally).await,
        };
        concluded(success, looked?)
    }

    /// One HEAD of the copy; one of the source too where nothing else tells its size.
    async fn look_at_copy(
        &self,
        task: &Task,
        lane: Lane,
        success: &Success,
        origin: Origin<'_>,
        tally: &mut Tally,
    ) -> Result<Verdict, Stop> {
        let version_id = success.version_id.as_deref();
        let there = self.look(task, lane, version_id, tally).await;
        let there = there.map_err(|error| copy_unseen(&error))?;
        if there.e_tag != success.e_tag {
            return Ok(another(success));
        }
        if origin.head.is_none() && task.row.facts.size == Some(there.bytes) {
            return Ok(Verdict::Proved(Evidence::Head));
        }
        let there = Seen::from(&there);
        if let Some(head) = origin.head {
            let source = Seen::from(head);
            let copied = Some(true).filter(|_| origin.pinned);
            return Ok(verdict(
                &source,
                &there,
                copied.or_else(|| is_copied(success, &source)),
            ));
        }
        let version_id = success.source_version_id.as_deref();
        let source = self.head_source_version(task, version_id, lane, None, tally);
        Ok(match source.await {
            Ok(source) => {
                let source = Seen::from(&source);
                verdict(&source, &there, is_copied(success, &source))
            }
            Err(error) => source_unseen(&error)?,
        })
    }

    async fn compare_attributes(
        &self,
        task: &Task,
        lane: Lane,
        success: &Success,
        tally: &mut Tally,
    ) -> Result<Verdict, Stop> {
        let version_id = success.source_version_id.as_deref();
        let source = self.source_attributes(task, version_id, lane, tally);
        let source = match source.await {
            Ok(source) => source,
            Err(error) => return source_unseen(&error),
        };
        let version_id = success.version_id.as_deref();
        let there = self.destination_attributes(task, version_id, lane, tally);
        let there = there.await.map_err(|error| copy_unseen(&error))?;
        if there
            .e_tag
            .as_deref()
            .is_some_and(|e_tag| e_tag != success.e_tag)
        {
            return Ok(another(success));
        }
        let source = Seen::from(&source);
        let copied = is_copied(success, &source);
        let seen = verdict(&source, &Seen::from(&there), copied);
        Ok(match seen {
            Verdict::Proved(Evidence::Head) => Verdict::Unproved(
                "source and copy have no checksum that can be compared".to_owned(),
            ),
            seen => seen,
        })
    }

    pub(super) async fn source_attributes(
        &self,
        task: &Task,
        version_id: Option<&str>,
        lane: Lane,
        tally: &mut Tally,
    ) -> s3haul_s3::Result<ObjectAttributes> {
        let headers = self.headers.source_object();
        let get = || {
            let (bucket, key) = (&self.source_bucket, &task.row.key);
            self.source
                .get_object_attributes(bucket, key, version_id, None, &headers)
        };
        let operation = Operation::GetObjectAttributes;
        self.read(tally, lane, operation, get).await
    }

    pub(super) async fn destination_attributes(
        &self,
        task: &Task,
        version_id: Option<&str>,
        lane: Lane,
        tally: &mut Tally,
    ) -> s3haul_s3::Result<ObjectAttributes> {
        let headers = self.headers.destination_object();
        let get = || {
            let (bucket, key) = (&self.destination_bucket, &task.destination_key);
            self.destination
                .get_object_attributes(bucket, key, version_id, None, &headers)
        };
        let operation = Operation::GetObjectAttributes;
        self.read(tally, lane, operation, get).await
    }

    /// Reads source and copy and compares their bytes.
    async fn read_copy(
        &self,
        task: &Task,
        lane: Lane,
        success: &Success,
        tally: &mut Tally,
    ) -> Result<Verdict, Stop> {
        let version_id = success.source_version_id.as_deref();
        let source = self.head_source_version(task, version_id, lane, None, tally);
        let source = match source.await {
            Ok(source) => source,
            Err(error) => return source_unseen(&error),
        };
        let version_id = success.version_id.as_deref();
        let there = self.look(task, lane, version_id, tally).await;
        let there = there.map_err(|error| copy_unseen(&error))?;
        if there.e_tag != success.e_tag {
            return Ok(another(success));
        }
        let (seen, copy) = (Seen::from(&source), Seen::from(&there));
        let copied = is_copied(success, &seen);
        if source.bytes != there.bytes {
            return Ok(verdict(&seen, &copy, copied));
        }
        match self.read_both(task, &source, &there, lane, tally).await {
            Ok(Verdict::Differs(_)) if !copied.unwrap_or(!written_since(&seen, &copy)) => {
                Ok(rewritten())
            }
            Ok(read) => Ok(read),
            Err(unread) => unread_copy(unread),
        }
    }
}

/// What is left of the proof of a copy that could not be read, or its source.
fn unread_copy(unread: Unread) -> Result<Verdict, Stop> {
    let archived =
        |which: &str| Verdict::Unproved(format!("{which} is archived: its bytes cannot be read"));
    match unread {
        Unread::Stopped => Err(Stop::Stopped),
        Unread::Source(error) if is_archived(&error) => Ok(archived("the source")),
        Unread::Source(error) => source_unseen(&error),
        Unread::Copy(error) if is_archived(&error) => Ok(archived("the copy")),
        Unread::Copy(error) => Err(copy_unseen(&error).into()),
    }
}

/// Whether the source that was looked at is what was copied; unknown where neither a version nor an
/// ETag tells.
fn is_copied(success: &Success, source: &Seen) -> Option<bool> {
    if pins(success.source_version_id.as_deref()) {
        return Some(true);
    }
    let (copied, now) = (success.source_e_tag.as_ref()?, source.known.e_tag.as_ref()?);
    Some(copied == now)
}

/// Compares two objects that were looked at; `is_copied`: whether the source is what was copied, or
/// another one by now.
pub(super) fn verdict(source: &Seen, there: &Seen, is_copied: Option<bool>) -> Verdict {
    match compare(&source.known, &there.known) {
        Sameness::Same(evidence) => Verdict::Proved(evidence),
        Sameness::Unknown => Verdict::Proved(Evidence::Head),
        Sameness::Different if !is_copied.unwrap_or(!written_since(source, there)) => rewritten(),
        Sameness::Different => {
            let sizes = (source.known.bytes, there.known.bytes);
            Verdict::Differs(match sizes {
                (Some(a), Some(b)) if a != b => {
                    format!("the source has {a} bytes, the copy {b}")
                }
                _ => "source and copy have unequal checksums or ETags".to_owned(),
            })
        }
    }
}

/// S3's times of last change have whole seconds, and that of an object in parts is the beginning of its
/// upload: where an ETag tells, it is better.
fn written_since(source: &Seen, there: &Seen) -> bool {
    let second = |seen: &Seen| seen.last_modified.map(OffsetDateTime::unix_timestamp);
    second(source) >= second(there)
}

fn rewritten() -> Verdict {
    Verdict::Unproved("the source was written again since it was copied".to_owned())
}

/// What a source that cannot be looked at any more leaves of the proof.
fn source_unseen(error: &S3Error) -> Result<Verdict, Stop> {
    if error.status == Some(404) {
        let why = "the source was removed since it was copied";
        return Ok(Verdict::Unproved(why.to_owned()));
    }
    Err(cannot_verify(error).into())
}

/// The end of a row whose copy cannot be looked at.
fn copy_unseen(error: &S3Error) -> Failure {
    if error.status == Some(404) {
        return Failure::from(error).coded(Code::VerificationFailed).hinted(
            "S3 has answered with the copy's ETag, and the copy is not there any more: find out who \
             else deletes there, then run resume, which copies it again",
        );
    }
    cannot_verify(error)
}

/// What stands there has another ETag than S3 has answered: a version does not change.
fn another(success: &Success) -> Verdict {
    if pins(success.version_id.as_deref()) {
        Verdict::Differs("the version that S3 has answered with has another ETag now".to_owned())
    } else {
        replaced()
    }
}

pub(super) fn replaced() -> Verdict {
    Verdict::Unproved("the copy was replaced by somebody else since".to_owned())
}

/// The end of a row whose copy was looked at.
fn concluded(mut success: Box<Success>, verdict: Verdict) -> Result<Ended, Stop> {
    match verdict {
        Verdict::Proved(evidence) => success.evidence = evidence,
        Verdict::Unproved(why) => success.notes.push(format!("not verified: {why}")),
        Verdict::Differs(how) => return Err(failed(&how).into()),
    }
    Ok(Ended::Succeeded(success))
}

fn failed(how: &str) -> Failure {
    Failure::of(Code::VerificationFailed, how).hinted(
        "the copy stands at the destination and is not the source: run resume, which copies it again \
         (with --overwrite never remove it first)",
    )
}

fn cannot_verify(error: &S3Error) -> Failure {
    Failure::from(error).hinted(
        "the object was copied, and cannot be looked at as --verify asks: allow s3:GetObject on the \
         destination, for --verify checksum also s3:GetObjectAttributes on both sides, for --verify \
         full s3:GetObject on both (with a version s3:GetObjectVersion, s3:GetObjectVersionAttributes)",
    )
}
