//! One upload: its creation, its parts, its completion, its abortion.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures::stream::{FuturesUnordered, StreamExt};
use md5::{Digest, Md5};
use s3haul_s3::{
    CompleteMultipartUpload, Completed, CopiedPart, CopySource, CreateMultipartUpload, Head,
    HeaderPair, Lane, OnDoubt, Operation, S3Error, Tally, UploadPartCopy,
};
use tokio::sync::oneshot;

use super::{Layout, Lost, lost, pinned_version};
use crate::job::copy::evidence::Known;
use crate::job::copy::headers::fingerprint;
use crate::job::copy::settle::{Expected, Settled};
use crate::job::copy::{Copier, Stop};
use crate::job::outcome::{By, Ended, Evidence, Success};
use crate::job::plan::{PartPlan, Task};
use crate::job::report::journal::OpenUpload;
use crate::job::report::passes::hex;
use crate::job::report::{Event, time_text};

/// How often an upload is aborted whose parts may still be landing.
const MAX_ABORTS: u32 = 5;

/// What one multipart copy works on.
pub(super) struct Copying<'a> {
    pub(super) task: &'a Task,
    pub(super) source: &'a Head,
    pub(super) copy_source: CopySource,
    pub(super) upload: OpenUpload,
    pub(super) plan: PartPlan,
}

impl Copier {
    pub(super) async fn create(
        &self,
        task: &Task,
        source: &Head,
        layout: &Layout,
        headers: &[HeaderPair],
        tally: &mut Tally,
    ) -> Result<OpenUpload, Stop> {
        let request = CreateMultipartUpload {
            bucket: &self.destination_bucket,
            key: &task.destination_key,
            headers,
        };
        let source_part_bytes = match layout {
            Layout::Parts(bytes) => Some(*bytes),
            Layout::Any | Layout::Whole => None,
        };
        let part_size = self.options.plan.part_size;
        let part_bytes = PartPlan::new(source.bytes, part_size, source_part_bytes).part_bytes;
        let mut doubts = 0;
        let created = loop {
            let sent = {
                // Rows of this key that look for uploads without a record wait until this has one.
                let creating = self.uploads.creating(&task.destination_key);
                let _creating = creating.read().await;
                let send = || self.destination.create_multipart_upload(request);
                let operation = Operation::CreateMultipartUpload;
                let sent = self
                    .send(tally, Lane::Large, operation, None, OnDoubt::Return, send)
                    .await;
                if let Ok(created) = &sent {
                    self.uploads.insert(task.row.ordinal, &created.upload_id);
                }
                sent
            };
            match sent {
                Ok(created) => break created,
                Err(error) if error.is_in_doubt() => {
                    doubts += 1;
                    // The last one too: a row that failed leaves no upload behind.
                    self.abort_unrecorded(task, tally).await?;
                    if doubts >= self.max_attempts {
                        return Err(error.into());
                    }
                    self.pause(doubts).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let (algorithm, kind) = self.headers.checksum(source);
        let kind = kind.as_str();
        Ok(OpenUpload {
            ordinal: task.row.ordinal,
            key: task.destination_key.clone(),
            upload_id: created.upload_id,
            part_bytes,
            object_bytes: source.bytes,
            source_e_tag: source.e_tag.clone(),
            source_version_id: source.version_id.clone(),
            checksum: Some(format!("{algorithm}/{kind}")),
            looks: Some(fingerprint(headers)),
        })
    }

    /// Copies the parts that are missing from `parts`. The inner error is the first of a part; by
    /// then none is in flight.
    pub(super) async fn copy_parts(
        &self,
        copying: &Copying<'_>,
        parts: &mut BTreeMap<u32, CopiedPart>,
        tally: &mut Tally,
    ) -> Result<Result<(), S3Error>, Stop> {
        let headers = self.headers.upload_part_copy(&copying.upload.source_e_tag);
        let missing: Vec<u32> = (1..=copying.plan.parts())
            .filter(|part| !parts.contains_key(part))
            .collect();
        let mut missing = missing.into_iter().peekable();
        let mut in_flight = FuturesUnordered::new();
        let mut failed = None;
        loop {
            let share = self
                .throttle
                .large_share(self.large_in_hand.load(Ordering::Relaxed));
            while failed.is_none()
                && !self.drain.is_cancelled()
                && in_flight.len() < share as usize
                && let Some(part_number) = missing.next()
            {
                in_flight.push(self.copy_part(copying, part_number, &headers));
            }
            match in_flight.next().await {
                None => break,
                Some((cost, copied)) => {
                    add(tally, &cost);
                    match copied {
                        Ok(part) => {
                            self.wrote.cancel();
                            parts.insert(part.part_number, part);
                        }
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
            }
        }
        match failed {
            Some(error) => Ok(Err(error)),
            None if missing.peek().is_some() => Err(Stop::Stopped),
            None => Ok(Ok(())),
        }
    }

    async fn copy_part(
        &self,
        copying: &Copying<'_>,
        part_number: u32,
        headers: &[s3haul_s3::HeaderPair],
    ) -> (Tally, s3haul_s3::Result<CopiedPart>) {
        let range = copying.plan.range(part_number);
        let request = UploadPartCopy {
            bucket: &self.destination_bucket,
            key: &copying.upload.key,
            upload_id: &copying.upload.upload_id,
            part_number,
            source: &copying.copy_source,
            // S3 takes a range only of a source over 5 MiB.
            range: (copying.plan.parts() > 1).then_some(range),
            headers,
        };
        let bytes = Some(copying.plan.bytes(part_number));
        let mut tally = Tally::default();
        let send = || self.destination.upload_part_copy(request);
        let operation = Operation::UploadPartCopy;
        let sent = self
            .send(
                &mut tally,
                Lane::Large,
                operation,
                bytes,
                OnDoubt::Resend,
                send,
            )
            .await;
        (tally, sent)
    }

    /// Completes the upload, and gives what S3 answered of the object; what is in doubt about it is
    /// settled.
    pub(super) async fn complete(
        &self,
        copying: &Copying<'_>,
        parts: &[CopiedPart],
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<(Ended, Option<Known>), Lost> {
        let headers = self.headers.complete(copying.upload.checksum.as_deref());
        let request = CompleteMultipartUpload {
            bucket: &self.destination_bucket,
            key: &copying.upload.key,
            upload_id: &copying.upload.upload_id,
            parts,
            object_bytes: copying.upload.object_bytes,
            headers: &headers,
        };
        let e_tag = multipart_e_tag(parts);
        let mut doubts = 0;
        loop {
            let send = || self.destination.complete_multipart_upload(request);
            let operation = Operation::CompleteMultipartUpload;
            let sent = self
                .send(tally, Lane::Large, operation, None, OnDoubt::Return, send)
                .await;
            let error = match sent {
                Ok(completed) => {
                    *open = None;
                    let answer = self.answered(Known::from(&completed));
                    return Ok((multipart_success(copying, completed), Some(answer)));
                }
                Err(error) => error,
            };
            let code = error.report_code();
            if code == "PreconditionFailed" {
                // The upload is of no more use, whatever the refusal means.
                let (task, ambiguous) = (copying.task, doubts > 0);
                let settled = self.settle_refused(task, Lane::Large, &error, ambiguous, tally);
                return Ok((settled.await?, None));
            }
            if code != "NoSuchUpload" && !error.is_in_doubt() && doubts == 0 {
                return Err(lost(error));
            }
            let expected = Expected {
                source: copying.source,
                e_tag: e_tag.as_deref(),
                parts: copying.plan.parts(),
            };
            if code == "NoSuchUpload" {
                *open = None;
            }
            let settled = self
                .settle_write(copying.task, Lane::Large, Some(expected), tally)
                .await?;
            if let Settled::Landed(ended) = settled {
                // What is there may be another row's of the same key and content: an upload that is not
                // known to be gone stays open, to be aborted.
                return Ok((*ended, None));
            }
            doubts += 1;
            if !error.is_in_doubt() || doubts >= self.max_attempts {
                return Err(lost(error));
            }
            self.pause(doubts).await;
        }
    }

    /// Aborts an upload until S3 says that it is gone.
    pub(in crate::job::copy) async fn abort(
        &self,
        key: &str,
        upload_id: &str,
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<(), Stop> {
        let abort = || {
            let (bucket, headers) = (&self.destination_bucket, self.headers.destination());
            self.destination
                .abort_multipart_upload(bucket, key, upload_id, headers)
        };
        let headers = self.headers.destination_object();
        let list = || {
            let bucket = &self.destination_bucket;
            self.destination
                .list_parts(bucket, key, upload_id, &headers)
        };
        for round in 1..=MAX_ABORTS {
            let operation = Operation::AbortMultipartUpload;
            let aborted = self
                .send(tally, lane, operation, None, OnDoubt::Resend, abort)
                .await;
            match aborted {
                Err(error) if error.report_code() == "NoSuchUpload" => return Ok(()),
                Err(error) => return Err(error.into()),
                // A part that we gave up waiting for may land after the abort, and stay.
                Ok(()) if !tally.in_doubt || round == MAX_ABORTS => return Ok(()),
                Ok(()) => {}
            }
            let operation = Operation::ListParts;
            let listed = self
                .send(tally, lane, operation, None, OnDoubt::Resend, list)
                .await;
            if listed.is_err() {
                return Ok(());
            }
            self.pause(round).await;
        }
        Ok(())
    }

    /// Reports an upload and waits until no crash can forget it.
    pub(super) async fn opened(&self, upload: &OpenUpload) -> Result<(), Stop> {
        let (durable, recorded) = oneshot::channel();
        let event = Event::UploadOpened {
            upload: Box::new(upload.clone()),
            durable,
        };
        self.events.send(event).await.map_err(|_| Stop::Stopped)?;
        recorded.await.map_err(|_| Stop::Stopped)
    }
}

/// The ETag that S3 gives an object of these parts: the MD5 of their MD5s, and their number. `None`
/// where a part's ETag is no MD5.
fn multipart_e_tag(parts: &[CopiedPart]) -> Option<String> {
    let mut md5 = Md5::new();
    for part in parts {
        let digits = part.e_tag.as_bytes();
        if digits.len() != 32 {
            return None;
        }
        for pair in digits.chunks(2) {
            let byte = std::str::from_utf8(pair).ok()?;
            md5.update([u8::from_str_radix(byte, 16).ok()?]);
        }
    }
    Some(format!("{}-{}", hex(&md5.finalize()), parts.len()))
}

fn multipart_success(copying: &Copying<'_>, completed: Completed) -> Ended {
    let (task, source) = (copying.task, copying.source);
    let listed = task.row.facts.e_tag.as_deref();
    Ended::Succeeded(Box::new(Success {
        e_tag: completed.e_tag,
        version_id: completed.version_id,
        bytes: Some(source.bytes),
        parts: Some(copying.plan.parts()),
        by: By::Multipart,
        evidence: Evidence::Response,
        source_e_tag: Some(source.e_tag.clone()),
        source_version_id: pinned_version(task, source).map(str::to_owned),
        source_size: Some(source.bytes),
        source_last_modified: source.last_modified.map(time_text),
        source_changed: listed.is_some_and(|listed| listed != source.e_tag),
        in_doubt: false,
        notes: Vec::new(),
    }))
}

/// Adds what a request has cost that ran beside others.
pub(in crate::job::copy) fn add(tally: &mut Tally, cost: &Tally) {
    tally.requests += cost.requests;
    tally.throttled += cost.throttled;
    tally.attempts = tally.attempts.max(cost.attempts);
    tally.in_doubt |= cost.in_doubt;
    tally.landed |= cost.landed;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_e_tag_of_parts() {
        let part = |e_tag: &str| CopiedPart {
            part_number: 1,
            e_tag: e_tag.into(),
            checksum: None,
        };
        let parts = [
            part("0cc175b9c0f1b6a831c399e269772661"),
            part("92eb5ffee6ae2fec3ad71c777531578f"),
        ];
        assert_eq!(
            multipart_e_tag(&parts).unwrap(),
            "96e024ba2074fe77e8e965ba43a704be-2"
        );
        assert_eq!(multipart_e_tag(&[part("abc-2")]), None);
    }
}
