//! In doubt is a state: after a time-out, a lost answer or a crash nothing is guessed.
//!
//! A 412, a time-out and NoSuchUpload are questions, not answers. They are settled by looking: the
//! row succeeded if the destination has what it writes, written since the job began.

use s3haul_s3::{Head, Lane, OnDoubt, Operation, S3Error, Tally};

use super::evidence::{Known, Sameness, compare};
use super::whole::source_changed;
use super::{Copier, Overwrite, Stop};
use crate::job::code::Code;
use crate::job::outcome::{By, Ended, Evidence, Failure, Success};
use crate::job::plan::Task;
use crate::job::report::time_text;

/// What a look at the destination said of a write in doubt.
#[derive(Debug)]
pub(super) enum Settled {
    /// It has what the row writes: the row has succeeded.
    Landed(Box<Ended>),
    /// It has no object there.
    Absent,
    /// It has another one, or it cannot be told.
    Other,
}

/// What a multipart copy knows of its result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) source: &'a Head,
    /// The ETag that Complete gives; unknown after a crash.
    pub(super) e_tag: Option<&'a str>,
    pub(super) parts: u32,
}

impl Copier {
    /// Looks whether a write whose answer was lost has landed.
    ///
    /// # Errors
    /// The destination or the source could not be looked at.
    pub(super) async fn settle_write(
        &self,
        task: &Task,
        lane: Lane,
        expected: Option<Expected<'_>>,
        tally: &mut Tally,
    ) -> Result<Settled, Stop> {
        let there = match self.look(task, lane, None, tally).await {
            Ok(head) => head,
            Err(error) if error.status == Some(404) => return Ok(Settled::Absent),
            Err(error) if under_another_key(&error) => return Ok(Settled::Other),
            Err(error) => return Err(cannot_look(&error).into()),
        };
        if !self.since_the_job_began(&there) {
            return Ok(Settled::Other);
        }
        let source = match expected {
            Some(expected) => expected.source.clone(),
            None => self.head_source(task, lane, tally).await?,
        };
        let landed = match expected {
            Some(Expected {
                e_tag: Some(e_tag), ..
            }) if there.e_tag == e_tag => true,
            Some(_) if same(&source, &there) == Sameness::Different => false,
            Some(expected) => self.in_as_many_parts(&there, expected.parts, &source),
            None => self.is_copy(&source, &there),
        };
        if !landed {
            return Ok(Settled::Other);
        }
        let parts = expected.map(|expected| expected.parts);
        Ok(Settled::Landed(Box::new(found(
            task, &source, &there, parts,
        ))))
    }

    /// Looks at the destination, with its checksum where we may have it: of an object under a KMS key
    /// it is for those who may decrypt.
    pub(super) async fn look(
        &self,
        task: &Task,
        lane: Lane,
        version_id: Option<&str>,
        tally: &mut Tally,
    ) -> s3haul_s3::Result<Head> {
        let looked = self.head_destination(task, lane, version_id, true, tally);
        match looked.await {
            Err(error) if error.status == Some(403) => {
                self.head_destination(task, lane, version_id, false, tally)
                    .await
            }
            looked => looked,
        }
    }

    /// Says what a 412 means.
    ///
    /// `ambiguous`: a write of this row may have landed already, sent by this attempt or, unless it
    /// is the first, by an earlier one.
    pub(super) async fn settle_refused(
        &self,
        task: &Task,
        lane: Lane,
        refusal: &S3Error,
        ambiguous: bool,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let listed = self.headers.listed_e_tag(&task.row).is_some();
        let dated = self.options.object.has_date_condition();
        match about_the_source(refusal, listed, dated) {
            Some(About::ETag) => return Err(source_changed(refusal).into()),
            Some(About::Date) => {
                return Err(Failure::from(refusal).hinted(DATE_CONDITION).into());
            }
            None => {}
        }
        if self.options.overwrite != Overwrite::Never {
            // No condition of ours: a policy's, or a store's of its own.
            return Err(Failure::from(refusal).into());
        }
        if !ambiguous && self.first_attempt {
            return Ok(exists());
        }
        match self.look(task, lane, None, tally).await {
            Ok(there) => {
                self.settle_existing(task, lane, &there, ambiguous, tally)
                    .await
            }
            // It was there a moment ago: somebody else removes objects.
            Err(error) if error.status == Some(404) => Err(Failure::from(refusal)
                .coded(Code::DestinationConflict)
                .into()),
            Err(error) => Err(cannot_look(&error).into()),
        }
    }

    /// Says how a row ends that must not overwrite the object which is there.
    ///
    /// What was there before the job began, no write of ours has put there.
    pub(super) async fn settle_existing(
        &self,
        task: &Task,
        lane: Lane,
        there: &Head,
        ambiguous: bool,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        if !ambiguous && self.first_attempt || !self.since_the_job_began(there) {
            return Ok(exists());
        }
        let source = self.head_source(task, lane, tally).await?;
        if self.is_copy(&source, there) {
            return Ok(found(task, &source, there, None));
        }
        let message = "an object that this row would not write was put there since the job began: \
            it was left alone";
        Err(Failure::of(Code::DestinationConflict, message).into())
    }

    /// Aborts uploads of ours for this key that no record knows: a Create was executed and its
    /// answer lost. Others' uploads are never touched.
    pub(super) async fn abort_unrecorded(
        &self,
        task: &Task,
        tally: &mut Tally,
    ) -> Result<(), Stop> {
        let key = &task.destination_key;
        // No other row of this key has an upload that it has not noted yet.
        let creating = self.uploads.creating(key);
        let alone = creating.write().await;
        let list = || {
            let (bucket, headers) = (&self.destination_bucket, self.headers.destination());
            self.destination
                .list_multipart_uploads_of(bucket, key, headers)
        };
        let operation = Operation::ListMultipartUploads;
        let mut uploads = self
            .send(tally, Lane::Large, operation, None, OnDoubt::Resend, list)
            .await?;
        uploads.retain(|upload| {
            let ours = self.arn.is_some() && upload.initiator_id == self.arn;
            let since = upload.initiated.is_some_and(|at| at >= self.began);
            let known = self.uploads.contains(&upload.upload_id);
            upload.key == *key && ours && since && !known
        });
        drop(alone);
        for upload in uploads {
            self.abort(key, &upload.upload_id, Lane::Large, tally)
                .await?;
        }
        Ok(())
    }

    fn is_copy(&self, source: &Head, there: &Head) -> bool {
        match same(source, there) {
            Sameness::Same(_) => true,
            Sameness::Different => false,
            Sameness::Unknown => self.headers.same_metadata(source, there),
        }
    }

    fn in_as_many_parts(&self, there: &Head, parts: u32, source: &Head) -> bool {
        there
            .e_tag
            .rsplit_once('-')
            .is_some_and(|(_, count)| count == parts.to_string())
            && there.bytes == source.bytes
            && self.headers.same_metadata(source, there)
    }

    /// LastModified has whole seconds, and so has the time at which the job began.
    pub(super) fn since_the_job_began(&self, head: &Head) -> bool {
        head.last_modified.is_some_and(|at| at >= self.began)
    }
}

/// Which condition on the source a 412 is about.
enum About {
    /// The ETag that the manifest lists.
    ETag,
    /// When it was last modified.
    Date,
}

/// What to do about a row whose source was, or was not, modified since the date asked for.
pub(super) const DATE_CONDITION: &str = "the source does not meet --if-modified-since or \
    --if-unmodified-since, and was not copied: --modified-after and --modified-before leave such rows \
    out instead, where the manifest lists dates";

/// S3's `<Condition>` names the header that failed; where a store names none, the conditions that
/// were sent tell. Complete has none about the source.
fn about_the_source(refusal: &S3Error, listed: bool, dated: bool) -> Option<About> {
    match &refusal.condition {
        Some(condition) => {
            let condition = condition.to_ascii_lowercase();
            let of_source = condition.strip_prefix("x-amz-copy-source-")?;
            Some(if of_source.contains("since") {
                About::Date
            } else {
                About::ETag
            })
        }
        None if refusal.operation != "CopyObject" => None,
        None if listed => Some(About::ETag),
        None => dated.then_some(About::Date),
    }
}

/// A HEAD of an object is a bad request if it has the wrong customer's key, or one too many or too few.
pub(super) fn under_another_key(error: &S3Error) -> bool {
    error.operation == "HeadObject" && error.status == Some(400)
}

fn exists() -> Ended {
    Ended::Skipped {
        code: Code::DestinationExists,
        message: "the destination has an object of this key: it was left alone".to_owned(),
    }
}

pub(super) fn cannot_look(error: &S3Error) -> Failure {
    Failure::from(error).hinted(
        "the answer to a write was lost, and the destination cannot be looked at to settle it: \
         allow s3:GetObject and s3:ListBucket there, then run resume",
    )
}

fn same(source: &Head, there: &Head) -> Sameness {
    compare(&Known::from(source), &Known::from(there))
}

/// The end of a row whose object a HEAD has shown at the destination.
pub(super) fn found(task: &Task, source: &Head, there: &Head, parts: Option<u32>) -> Ended {
    let by = if there.e_tag.contains('-') {
        By::Multipart
    } else {
        By::Copy
    };
    Ended::Succeeded(Box::new(Success {
        e_tag: there.e_tag.clone(),
        version_id: there.version_id.clone(),
        bytes: Some(there.bytes),
        parts,
        by,
        evidence: Evidence::Found,
        source_e_tag: Some(source.e_tag.clone()),
        source_version_id: source
            .version_id
            .clone()
            .or_else(|| task.row.version_id.clone()),
        source_size: Some(source.bytes),
        source_last_modified: source.last_modified.map(time_text),
        source_changed: false,
        in_doubt: true,
        notes: Vec::new(),
    }))
}
