//! CopyObject: one request for an object of at most 5 GiB.

use s3haul_s3::{Copied, CopyObject, ErrorKind, Lane, OnDoubt, Operation, S3Error, Tally};

use super::headers::{Sameness, compare};
use super::settle::{Settled, found};
use super::{Copier, Overwrite, Stop, Turn};
use crate::job::manifest::Facts;
use crate::job::outcome::{By, Ended, Evidence, Failure, Success};
use crate::job::plan::{Task, fits_one_copy};
use crate::job::report::time_text;

impl Copier {
    pub(super) async fn whole(
        &self,
        task: &Task,
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<Turn, Stop> {
        let mut notes = Vec::new();
        if self.options.overwrite == Overwrite::IfDifferent {
            notes = self.skip_if_equal(task, lane, tally).await?;
        }
        let source = self.copy_source(task, task.row.version_id.as_deref());
        let headers = self.headers.copy_object(&task.row);
        let request = CopyObject {
            bucket: &self.destination_bucket,
            key: &task.destination_key,
            source: &source,
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
                    return Ok(Turn::Ended(whole_success(task, copied, notes)));
                }
                Err(error) => error,
            };
            if error.report_code() == "PreconditionFailed" {
                // An answer that was none may hide a copy of ours.
                let ambiguous = doubts > 0 || tally.attempts > 1;
                let settled = self
                    .settle_refused(task, lane, &error, ambiguous, tally)
                    .await?;
                return Ok(Turn::Ended(settled));
            }
            if error.is_in_doubt() || tally.in_doubt {
                doubts += 1;
                let settled = self.settle_write(task, lane, None, tally).await?;
                if let Settled::Landed(ended) = settled {
                    return Ok(Turn::Ended(*ended));
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

    /// Ends the row if the destination has an equal object; else says what could not be told.
    pub(super) async fn skip_if_equal(
        &self,
        task: &Task,
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<Vec<String>, Stop> {
        let there = match self.look(task, lane, tally).await {
            Ok(head) => head,
            Err(error) if error.status == Some(404) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let source = self.head_source(task, lane, None, tally).await?;
        match compare(&source, &there) {
            // It may be what an earlier attempt of this row wrote before it died.
            Sameness::Same if !self.first_attempt && self.since_the_job_began(&there) => {
                Err(Stop::Ended(found(task, &source, &there, None)))
            }
            Sameness::Same => Err(Stop::Ended(Ended::Skipped {
                code: "DestinationEqual",
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
        match self.head_source(task, lane, None, tally).await {
            Ok(head) => !fits_one_copy(head.bytes),
            Err(_) => false,
        }
    }
}

fn whole_success(task: &Task, copied: Copied, notes: Vec<String>) -> Ended {
    let (row, mut notes) = (&task.row, notes);
    let mut facts = row.facts.clone();
    if row.version_id.is_none() && contradicts(&copied, &facts) {
        // What is recorded is what a later pass goes by: nothing is better than another object's.
        notes.push(
            "the copy's ETag is not the listed one: the source has changed since the manifest was made, \
             or is encrypted so that its ETag says nothing; it was copied as it stood"
                .to_owned(),
        );
        facts = Facts::default();
    }
    Ended::Succeeded(Box::new(Success {
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
    }))
}

/// Whether the copy is of another object than the manifest lists, as far as two MD5s tell.
fn contradicts(copied: &Copied, facts: &Facts) -> bool {
    let is_md5 = |e_tag: &str| e_tag.len() == 32 && e_tag.bytes().all(|b| b.is_ascii_hexdigit());
    let by_key = copied
        .encryption
        .as_deref()
        .is_some_and(|kind| kind != "AES256");
    let listed = facts.e_tag.as_deref().filter(|e_tag| is_md5(e_tag));
    !by_key && is_md5(&copied.e_tag) && listed.is_some_and(|listed| listed != copied.e_tag)
}

/// An error that is not S3's to explain: the source changed under a condition.
pub(super) fn source_changed(error: &S3Error) -> Failure {
    debug_assert!(error.kind == ErrorKind::Answered);
    Failure::from(error).coded("SourceChanged").hinted(
        "the source is not the object that the manifest lists any more: make a new manifest, or \
         copy it as it stands with --source-changed copy",
    )
}
