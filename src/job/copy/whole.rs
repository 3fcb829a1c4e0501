//! CopyObject: one request for an object of at most 5 GiB.

use s3haul_s3::{Copied, CopyObject, ErrorKind, Head, Lane, OnDoubt, Operation, S3Error, Tally};

use super::carry::Carried;
use super::evidence::{Known, Sameness, compare, is_md5, is_opaque};
use super::prove::{Origin, pins};
use super::settings::StorageClass;
use super::settle::{Settled, found, under_another_key};
use super::{Copier, Overwrite, Stop, Turn};
use crate::job::code::Code;
use crate::job::manifest::Facts;
use crate::job::outcome::{By, Ended, Evidence, Failure, Success};
use crate::job::plan::{PartSize, Task, fits_one_copy};
use crate::job::report::time_text;

impl Copier {
    /// `source` is its HEAD, where one was sent.
    pub(super) async fn whole(
        &self,
        task: &Task,
        lane: Lane,
        source: Option<&Head>,
        tally: &mut Tally,
    ) -> Result<Turn, Stop> {
        let mut notes = Vec::new();
        if self.options.overwrite == Overwrite::IfDifferent {
            notes = match self.skip_if_equal(task, lane, tally).await {
                Err(Stop::Ended(ended)) => {
                    let ended = self.carry_found(task, ended, lane, tally).await?;
                    return Ok(Turn::Ended(ended));
                }
                looked => looked?,
            };
        }
        let looked;
        let source = match source {
            None if self.options.needs_head(&task.row.facts) => {
                looked = self.head_source(task, lane, tally).await?;
                if self.options.plan.part_size == PartSize::MatchSource && in_parts(&looked) {
                    return Ok(Turn::Large);
                }
                Some(&looked)
            }
            source => source,
        };
        let class = self.preserved_class(task, source);
        let copy_source = self.copy_source(task, task.row.version_id.as_deref());
        let headers = self.headers.copy_object(&task.row, class);
        let request = CopyObject {
            bucket: &self.destination_bucket,
            key: &task.destination_key,
            source: &copy_source,
            headers: &headers,
        };
        // Sent again, an unconditional copy lands the same; a conditional one would meet itself.
        let never = self.options.overwrite == Overwrite::Never;
        let on_doubt = if never {
            OnDoubt::Return
        } else {
            OnDoubt::Resend
        };
        let bytes = task.row.facts.size;
        let mut doubts = 0;
        loop {
            let send = || self.destination.copy_object(request);
            let sent = self
                .send(tally, lane, Operation::CopyObject, bytes, on_doubt, send)
                .await;
            let error = match sent {
                Ok(copied) => {
                    self.wrote.cancel();
                    let ended = self.copied(task, lane, copied, source, notes, tally);
                    return Ok(Turn::Ended(ended.await?));
                }
                Err(error) => error,
            };
            if error.report_code() == "PreconditionFailed" {
                // An answer that was none may hide a copy of ours.
                let ambiguous = doubts > 0 || tally.attempts > 1;
                let settled = self
                    .settle_refused(task, lane, &error, ambiguous, tally)
                    .await?;
                let ended = self.carry_found(task, settled, lane, tally).await?;
                return Ok(Turn::Ended(ended));
            }
            if error.is_in_doubt() || tally.in_doubt {
                doubts += 1;
                let settled = self.settle_write(task, lane, None, tally).await?;
                if let Settled::Landed(ended) = settled {
                    let ended = self.carry_found(task, *ended, lane, tally).await?;
                    return Ok(Turn::Ended(ended));
                }
                let again = never && error.is_in_doubt() && doubts < self.max_attempts;
                if again && !self.drain.is_cancelled() {
                    self.pause(doubts).await;
                    continue;
                }
            }
            if self.is_too_large(task, &error, lane, tally).await {
                return Ok(Turn::Large);
            }
            return Err(error.into());
        }
    }

    /// What follows CopyObject's answer.
    async fn copied(
        &self,
        task: &Task,
        lane: Lane,
        copied: Copied,
        source: Option<&Head>,
        notes: Vec<String>,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let answer = self.answered(Known::from(&copied));
        let version_id = copied.source_version_id.as_deref();
        let origin = Origin {
            head: source,
            pinned: pins(version_id)
                && source.is_some_and(|head| head.version_id.as_deref() == version_id),
        };
        let settings = &self.options.object;
        let customer_key =
            settings.customer_key.is_some() || settings.source_customer_key.is_some();
        let success = whole_success(task, copied, customer_key, notes);
        let ended = Ended::Succeeded(Box::new(success));
        match self.tag_behind(task, ended, lane, tally).await? {
            Ended::Succeeded(success) => {
                self.prove(task, lane, success, &answer, origin, tally)
                    .await
            }
            ended => Ok(ended),
        }
    }

    /// What goes behind a copy that was found. One in parts is of an attempt in the other lane, which
    /// may have died before it had carried all of it.
    async fn carry_found(
        &self,
        task: &Task,
        ended: Ended,
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        match &ended {
            Ended::Succeeded(success) if success.by == By::Multipart => {
                self.found_first(task, ended, tally).await
            }
            _ => self.tag_behind(task, ended, lane, tally).await,
        }
    }

    /// New tags that are too long for CopyObject's header go behind it.
    async fn tag_behind(
        &self,
        task: &Task,
        ended: Ended,
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let carried = Carried {
            tags: self.headers.new_tags().unwrap_or_default().to_vec(),
            ..Carried::default()
        };
        self.carry_behind(task, ended, &carried, lane, tally).await
    }

    /// What S3 answered of a copy; it does not say that the ETag under our key is no MD5.
    pub(super) fn answered(&self, known: Known) -> Known {
        let customer_key = self.options.object.customer_key.is_some();
        Known {
            opaque_e_tag: known.opaque_e_tag || customer_key,
            ..known
        }
    }

    /// The source's storage class, where the job keeps it: as the manifest lists it, else as a HEAD
    /// shows it, which names none that is STANDARD.
    pub(super) fn preserved_class<'a>(
        &self,
        task: &'a Task,
        source: Option<&'a Head>,
    ) -> Option<&'a str> {
        if self.options.object.storage_class != StorageClass::Preserve {
            return None;
        }
        let listed = task.row.facts.storage_class.as_deref();
        listed.or_else(|| source?.header("x-amz-storage-class"))
    }

    /// Ends the row if the destination has an equal object; else says what could not be told.
    pub(super) async fn skip_if_equal(
        &self,
        task: &Task,
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<Vec<String>, Stop> {
        let there = match self.look(task, lane, None, tally).await {
            Ok(head) => head,
            Err(error) if error.status == Some(404) => return Ok(Vec::new()),
            Err(error) if under_another_key(&error) => {
                let note = "the destination had an object under another customer's key, or none, that \
                    could not be compared";
                return Ok(vec![note.to_owned()]);
            }
            Err(error) => return Err(error.into()),
        };
        let source = self.head_source(task, lane, tally).await?;
        match compare(&Known::from(&source), &Known::from(&there)) {
            // It may be what an earlier attempt of this row wrote before it died.
            Sameness::Same(_) if !self.first_attempt && self.since_the_job_began(&there) => {
                Err(Stop::Ended(found(task, &source, &there, None)))
            }
            Sameness::Same(_) => Err(Stop::Ended(Ended::Skipped {
                code: Code::DestinationEqual,
                message: "the destination has an object of equal size and digest".to_owned(),
            })),
            Sameness::Different => Ok(Vec::new()),
            Sameness::Unknown => Ok(vec![
                "the destination had an object of equal size that could not be compared".to_owned(),
            ]),
        }
    }

    /// S3 answers InvalidRequest to a source over 5 GiB; only a HEAD tells that from other reasons.
    async fn is_too_large(
        &self,
        task: &Task,
        error: &S3Error,
        lane: Lane,
        tally: &mut Tally,
    ) -> bool {
        if error.report_code() != "InvalidRequest" || lane == Lane::Large {
            return false;
        }
        match self.head_source(task, lane, tally).await {
            Ok(head) => !fits_one_copy(head.bytes),
            Err(_) => false,
        }
    }
}

/// Whether an object was uploaded in parts.
pub(super) fn in_parts(head: &Head) -> bool {
    head.e_tag.contains('-')
}

fn whole_success(task: &Task, copied: Copied, customer_key: bool, notes: Vec<String>) -> Success {
    let (row, mut notes) = (&task.row, notes);
    let mut facts = row.facts.clone();
    if row.version_id.is_none() && !customer_key && contradicts(&copied, &facts) {
        // What is recorded is what a later pass goes by: nothing is better than another object's.
        notes.push(
            "the copy's ETag is not the listed one: the source has changed since the manifest was made, \
             or is encrypted so that its ETag says nothing; it was copied as it stood"
                .to_owned(),
        );
        facts = Facts::default();
    }
    Success {
        e_tag: copied.e_tag,
        version_id: copied.version_id,
        bytes: facts.size,
        parts: None,
        by: By::Copy,
        evidence: Evidence::Response,
        source_e_tag: facts.e_tag,
        source_version_id: copied
            .source_version_id
            .or_else(|| task.row.version_id.clone()),
        source_size: facts.size,
        source_last_modified: facts.last_modified.map(time_text),
        source_changed: false,
        in_doubt: false,
        notes,
    }
}

/// Whether the copy is of another object than the manifest lists, as far as two MD5s tell.
fn contradicts(copied: &Copied, facts: &Facts) -> bool {
    let listed = facts.e_tag.as_deref().filter(|e_tag| is_md5(e_tag));
    !is_opaque(copied.encryption.as_deref(), false)
        && is_md5(&copied.e_tag)
        && listed.is_some_and(|listed| listed != copied.e_tag)
}

/// The end of a row whose source is not what the row's conditions ask for.
pub(super) fn source_changed(error: &S3Error) -> Failure {
    debug_assert!(error.kind == ErrorKind::Answered);
    Failure::from(error).coded(Code::SourceChanged).hinted(
        "the source is not the object that the manifest lists any more: make a new manifest, or \
         copy it as it stands with --source-changed copy",
    )
}
