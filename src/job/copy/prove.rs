//! What a success rests on: what S3 answered, and the look behind it that the job asks for.
//!
//! What can be compared and differs fails the row. What cannot be compared succeeds on weaker evidence,
//! which the row names and the summary counts.

use s3haul_s3::{Head, Lane, ObjectAttributes, Operation, S3Error, Tally};
use time::OffsetDateTime;

use super::evidence::{Known, Sameness, compare};
use super::settings::Verify;
use super::{Copier, Stop};
use crate::job::outcome::{Ended, Evidence, Failure, Success};
use crate::job::plan::Task;

/// What is known of the source of a copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    /// Its HEAD, where one was sent.
    pub(super) head: Option<&'a Head>,
    /// That HEAD, or the next one, is of what was copied, for certain.
    pub(super) pinned: bool,
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
                self.compare_attributes(task, lane, &success, origin.pinned, tally)
                    .await
            }
            (Verify::Full, _) => {
                self.read_copy(task, lane, &success, origin.pinned, tally)
                    .await
            }
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
        let pinned = success.source_version_id.is_some();
        let looked = match self.options.verify {
            Verify::Response | Verify::Head => return Ok(Ended::Succeeded(success)),
            Verify::Checksum => {
                self.compare_attributes(task, lane, &success, pinned, tally)
                    .await
            }
            Verify::Full => self.read_copy(task, lane, &success, pinned, tally).await,
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
        let there = self
            .look(task, lane, version_id, tally)
            .await
            .map_err(|error| cannot_verify(&error))?;
        if there.e_tag != success.e_tag {
            return Ok(replaced());
        }
        if origin.head.is_none() && task.row.facts.size == Some(there.bytes) {
            return Ok(Verdict::Proved(Evidence::Head));
        }
        let source = if let Some(head) = origin.head {
            head.clone()
        } else {
            let version_id = success.source_version_id.as_deref();
            self.head_source_version(task, version_id, lane, None, tally)
                .await?
        };
        Ok(verdict(
            &Seen::from(&source),
            &Seen::from(&there),
            origin.pinned,
        ))
    }

    async fn compare_attributes(
        &self,
        task: &Task,
        lane: Lane,
        success: &Success,
        pinned: bool,
        tally: &mut Tally,
    ) -> Result<Verdict, Stop> {
        let version_id = success.source_version_id.as_deref();
        let source = self
            .source_attributes(task, version_id, lane, tally)
            .await
            .map_err(|error| cannot_verify(&error))?;
        let version_id = success.version_id.as_deref();
        let there = self
            .destination_attributes(task, version_id, lane, tally)
            .await
            .map_err(|error| cannot_verify(&error))?;
        if there
            .e_tag
            .as_deref()
            .is_some_and(|e_tag| e_tag != success.e_tag)
        {
            return Ok(replaced());
        }
        let seen = verdict(&Seen::from(&source), &Seen::from(&there), pinned);
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
        pinned: bool,
        tally: &mut Tally,
    ) -> Result<Verdict, Stop> {
        let version_id = success.source_version_id.as_deref();
        let source = self
            .head_source_version(task, version_id, lane, None, tally)
            .await?;
        let there = self
            .look(task, lane, success.version_id.as_deref(), tally)
            .await
            .map_err(|error| cannot_verify(&error))?;
        if there.e_tag != success.e_tag {
            return Ok(replaced());
        }
        let (seen, copy) = (Seen::from(&source), Seen::from(&there));
        if source.bytes != there.bytes {
            return Ok(verdict(&seen, &copy, pinned));
        }
        let read = self.read_both(task, &source, &there, lane, tally).await?;
        Ok(match read {
            Verdict::Differs(_) if !pinned && written_since(&seen, &copy) => rewritten(),
            read => read,
        })
    }
}

/// Compares two objects that were looked at. Without a pin the source may be another one by now.
pub(super) fn verdict(source: &Seen, there: &Seen, pinned: bool) -> Verdict {
    match compare(&source.known, &there.known) {
        Sameness::Same(evidence) => Verdict::Proved(evidence),
        Sameness::Unknown => Verdict::Proved(Evidence::Head),
        Sameness::Different if !pinned && written_since(source, there) => rewritten(),
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

/// S3's times of last change have whole seconds.
fn written_since(source: &Seen, there: &Seen) -> bool {
    let second = |seen: &Seen| seen.last_modified.map(OffsetDateTime::unix_timestamp);
    second(source) >= second(there)
}

fn rewritten() -> Verdict {
    Verdict::Unproved("the source was written again since it was copied".to_owned())
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
    Failure::of("VerificationFailed", how).hinted(
        "the copy stands at the destination and is not the source: run resume, which copies it again",
    )
}

fn cannot_verify(error: &S3Error) -> Failure {
    Failure::from(error).hinted(
        "the object was copied, and cannot be looked at as --verify asks: allow s3:GetObject there, \
         for --verify checksum also s3:GetObjectAttributes on both sides (with a version \
         s3:GetObjectVersion, s3:GetObjectVersionAttributes)",
    )
}
