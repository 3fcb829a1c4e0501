//! A multipart copy: HEAD, tags, Create, UploadPartCopy for each part, Complete.
//!
//! Every part is pinned to the version and ETag of one HEAD: nothing lands mixed. When the row fails
//! or the job stops, no more parts are sent and those in flight are waited for; only then is the
//! upload aborted, or kept for the next attempt.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures::stream::{FuturesUnordered, StreamExt};
use md5::{Digest, Md5};
use s3haul_s3::{
    CompleteMultipartUpload, Completed, CopiedPart, CopySource, CreateMultipartUpload, Head, Lane,
    OnDoubt, Operation, S3Error, Tag, Tally, UploadPartCopy,
};
use tokio::sync::oneshot;

use super::settings::{checksum, tagging_header};
use super::settle::{Expected, Settled};
use super::whole::source_changed;
use super::{Copier, Overwrite, SourceChanged, Stop, Turn};
use crate::job::outcome::{By, Ended, Evidence, Failure, Success};
use crate::job::plan::{PartPlan, PartSize, Task};
use crate::job::report::journal::OpenUpload;
use crate::job::report::passes::hex;
use crate::job::report::{Event, time_text};

/// How often a copy is begun again because its source or its upload changed under it.
const MAX_STARTS: u32 = 3;
/// How often an upload is aborted whose parts may still be landing.
const MAX_ABORTS: u32 = 5;

/// What UploadPartCopy leaves behind and HEAD does not tell of.
const NOT_CARRIED: &str = "annotations are not carried by a multipart copy, if the source has any";

/// Why an upload came to nothing, and whether to begin again.
enum Lost {
    /// The source is another object than the one that was pinned.
    SourceChanged(S3Error),
    /// The upload is gone or must be made again (409 on Complete).
    Upload(S3Error),
    /// The row ends.
    Stop(Stop),
}

impl From<Stop> for Lost {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// What one multipart copy works on.
struct Copying<'a> {
    task: &'a Task,
    source: &'a Head,
    copy_source: CopySource,
    upload: OpenUpload,
    plan: PartPlan,
}

impl Copier {
    pub(super) async fn multipart(&self, task: &Task, tally: &mut Tally) -> Result<Ended, Stop> {
        // The row's upload, as long as there is one.
        let mut open = task.upload.clone();
        let ended = self.starts(task, &mut open, tally).await;
        let ended = match (ended, open) {
            // Kept for the next attempt.
            (Err(Stop::Stopped), _) => return Err(Stop::Stopped),
            _ if self.lost.get().is_some() => return Err(Stop::Stopped),
            (ended, None) => ended,
            (Ok(ended) | Err(Stop::Ended(ended)), Some(upload)) => {
                Ok(self.clean_up(ended, &upload, tally).await)
            }
        };
        self.uploads.remove(task.row.ordinal);
        ended
    }

    /// Copies until the row ends, and begins again where the source or the upload changed under it.
    async fn starts(
        &self,
        task: &Task,
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let mut notes = Vec::new();
        if open.is_none() && !self.first_attempt {
            // An attempt that died may have created one and not lived to record it.
            self.abort_unrecorded(task, tally).await?;
        }
        if open.is_none() {
            notes = match self.look_first(task, tally).await {
                Err(Stop::Ended(ended)) => return self.found_first(task, ended, tally).await,
                looked => looked?,
            };
        }
        for start in 1.. {
            if self.drain.is_cancelled() {
                return Err(Stop::Stopped);
            }
            let source = self.head_source(task, Lane::Large, None, tally).await?;
            self.check_source(task, &source)?;
            if source.bytes == 0 {
                // No part copy of nothing: the object shrank since it was listed.
                return self.instead_whole(task, tally).await;
            }
            let (error, failure) = match self.attempt(task, &source, open, tally).await {
                Ok(Ended::Succeeded(mut success)) => {
                    success.notes.append(&mut notes);
                    return Ok(Ended::Succeeded(success));
                }
                Ok(ended) => return Ok(ended),
                Err(Lost::Stop(stop)) => return Err(stop),
                Err(Lost::SourceChanged(error)) => {
                    let failure = source_changed(&error);
                    if self.options.source_changed == SourceChanged::Fail {
                        return Err(failure.into());
                    }
                    (error, failure)
                }
                Err(Lost::Upload(error)) => {
                    let failure = Failure::from(&error);
                    (error, failure)
                }
            };
            if start >= MAX_STARTS {
                return Err(failure.into());
            }
            tracing::debug!(key = %task.row.spelling, %error, "begins a multipart copy again");
            self.abort_open(task, open, tally).await?;
        }
        Err(Stop::Stopped)
    }

    /// Terabytes should not be copied to learn at the end that they were not wanted.
    async fn look_first(&self, task: &Task, tally: &mut Tally) -> Result<Vec<String>, Stop> {
        match self.options.overwrite {
            Overwrite::Always => Ok(Vec::new()),
            Overwrite::IfDifferent => self.skip_if_equal(task, Lane::Large, tally).await,
            Overwrite::Never => {
                if let Ok(there) = self.look(task, Lane::Large, tally).await {
                    let ended = self
                        .settle_existing(task, Lane::Large, &there, false, tally)
                        .await?;
                    return Err(Stop::Ended(ended));
                }
                Ok(Vec::new())
            }
        }
    }

    /// A copy of an earlier attempt, which may have failed or died before it had tagged it.
    async fn found_first(
        &self,
        task: &Task,
        ended: Ended,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let Ended::Succeeded(success) = &ended else {
            return Ok(ended);
        };
        let version_id = success.source_version_id.as_deref();
        let tags = self.source_tags(task, version_id, tally).await?;
        self.tagged(task, ended, &tags, tally).await
    }

    /// What the manifest lists, where that is a condition; what cannot be carried.
    fn check_source(&self, task: &Task, source: &Head) -> Result<(), Stop> {
        if let Some(listed) = self.headers.listed_e_tag(&task.row)
            && listed != source.e_tag
        {
            let message = format!(
                "the manifest lists ETag {listed}, the source has {}",
                source.e_tag
            );
            return Err(Failure::of("SourceChanged", message).into());
        }
        if source.missing_meta() > 0 {
            return Err(Failure::of(
                "MetadataNotReadable",
                format!(
                    "{} metadata entries of the source cannot be read over REST, and a multipart \
                     copy would lose them",
                    source.missing_meta()
                ),
            )
            .into());
        }
        Ok(())
    }

    async fn instead_whole(&self, task: &Task, tally: &mut Tally) -> Result<Ended, Stop> {
        match self.whole(task, Lane::Large, tally).await? {
            Turn::Ended(ended) => Ok(ended),
            Turn::Large | Turn::Stopped => Err(Stop::Stopped),
        }
    }

    /// One upload, from its creation or from where an earlier attempt left it, to its end.
    async fn attempt(
        &self,
        task: &Task,
        source: &Head,
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<Ended, Lost> {
        let tags = self
            .source_tags(task, pinned_version(task, source), tally)
            .await?;
        let (upload, mut parts) = match self.take_up(task, source, open, tally).await? {
            Taken::Upload(upload, parts) => (upload, parts),
            Taken::Ended(ended) => return Ok(self.tagged(task, ended, &tags, tally).await?),
            Taken::Nothing => {
                let upload = self.create(task, source, &tags, tally).await?;
                *open = Some(upload.clone());
                self.opened(&upload).await?;
                (upload, BTreeMap::new())
            }
        };
        let copying = Copying {
            task,
            source,
            copy_source: self.copy_source(task, pinned_version(task, source)),
            plan: PartPlan {
                object_bytes: upload.object_bytes,
                part_bytes: upload.part_bytes,
            },
            upload,
        };
        if let Err(error) = self.copy_parts(&copying, &mut parts, tally).await? {
            return Err(lost(error));
        }
        let parts: Vec<CopiedPart> = parts.into_values().collect();
        let ended = self.complete(&copying, &parts, open, tally).await?;
        Ok(self.tagged(task, ended, &tags, tally).await?)
    }

    async fn source_tags(
        &self,
        task: &Task,
        version_id: Option<&str>,
        tally: &mut Tally,
    ) -> Result<Vec<Tag>, Stop> {
        let get = || {
            let (key, headers) = (&task.row.key, self.headers.source());
            self.source
                .get_object_tagging(&self.source_bucket, key, version_id, headers)
        };
        let operation = Operation::GetObjectTagging;
        Ok(self
            .send(tally, Lane::Large, operation, None, OnDoubt::Resend, get)
            .await?)
    }

    /// Takes up what an earlier attempt left, if it is still there and the source is still the same.
    async fn take_up(
        &self,
        task: &Task,
        source: &Head,
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<Taken, Stop> {
        let Some(upload) = open.clone() else {
            return Ok(Taken::Nothing);
        };
        let same = upload.source_e_tag == source.e_tag
            && upload.object_bytes == source.bytes
            && upload.source_version_id == source.version_id;
        if !same {
            self.abort_open(task, open, tally).await?;
            return Ok(Taken::Nothing);
        }
        let list = || {
            let (bucket, headers) = (&self.destination_bucket, self.headers.destination());
            self.destination
                .list_parts(bucket, &upload.key, &upload.upload_id, headers)
        };
        let operation = Operation::ListParts;
        let listed = self
            .send(tally, Lane::Large, operation, None, OnDoubt::Resend, list)
            .await;
        let plan = PartPlan {
            object_bytes: upload.object_bytes,
            part_bytes: upload.part_bytes,
        };
        match listed {
            Ok(listed) => {
                let parts = listed
                    .into_iter()
                    .filter(|part| (1..=plan.parts()).contains(&part.part_number))
                    .filter(|part| part.bytes == plan.bytes(part.part_number))
                    .map(|part| {
                        let part_number = part.part_number;
                        let (e_tag, checksum) = (part.e_tag, part.checksum);
                        (
                            part_number,
                            CopiedPart {
                                part_number,
                                e_tag,
                                checksum,
                            },
                        )
                    })
                    .collect();
                Ok(Taken::Upload(upload, parts))
            }
            Err(error) if error.report_code() == "NoSuchUpload" => {
                // Completed by an attempt that died before it could say so, or aborted by others.
                *open = None;
                let expected = Expected {
                    source,
                    e_tag: None,
                    parts: plan.parts(),
                };
                let settled = self
                    .settle_write(task, Lane::Large, Some(expected), tally)
                    .await?;
                if let Settled::Landed(ended) = settled {
                    return Ok(Taken::Ended(*ended));
                }
                self.closed(task).await?;
                Ok(Taken::Nothing)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn create(
        &self,
        task: &Task,
        source: &Head,
        tags: &[Tag],
        tally: &mut Tally,
    ) -> Result<OpenUpload, Stop> {
        let headers = self.headers.create(source, tags);
        let request = CreateMultipartUpload {
            bucket: &self.destination_bucket,
            key: &task.destination_key,
            headers: &headers,
        };
        let part_bytes = self.part_plan(task, source, tally).await?.part_bytes;
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
        let (algorithm, kind) = checksum(source);
        Ok(OpenUpload {
            ordinal: task.row.ordinal,
            key: task.destination_key.clone(),
            upload_id: created.upload_id,
            part_bytes,
            object_bytes: source.bytes,
            source_e_tag: source.e_tag.clone(),
            source_version_id: source.version_id.clone(),
            checksum: Some(format!("{algorithm}/{kind}")),
        })
    }

    async fn part_plan(
        &self,
        task: &Task,
        source: &Head,
        tally: &mut Tally,
    ) -> Result<PartPlan, Stop> {
        let part_size = self.options.plan.part_size;
        let mut source_part_bytes = None;
        if part_size == PartSize::MatchSource && source.e_tag.contains('-') {
            let first = self.head_source(task, Lane::Large, Some(1), tally).await?;
            let fits = |bytes: u64| {
                bytes > 0
                    && first
                        .parts_count()
                        .is_some_and(|count| u64::from(count) == source.bytes.div_ceil(bytes))
            };
            source_part_bytes = Some(first.bytes).filter(|bytes| fits(*bytes));
        }
        Ok(PartPlan::new(source.bytes, part_size, source_part_bytes))
    }

    /// Copies the parts that are missing from `parts`. The inner error is the first of a part; by
    /// then none is in flight.
    async fn copy_parts(
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

    /// Completes the upload; what is in doubt about it is settled.
    async fn complete(
        &self,
        copying: &Copying<'_>,
        parts: &[CopiedPart],
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<Ended, Lost> {
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
                    return Ok(multipart_success(copying, completed));
                }
                Err(error) => error,
            };
            let code = error.report_code();
            if code == "PreconditionFailed" {
                // The upload is of no more use, whatever the refusal means.
                let (task, ambiguous) = (copying.task, doubts > 0);
                let settled = self.settle_refused(task, Lane::Large, &error, ambiguous, tally);
                return Ok(settled.await?);
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
                *open = None;
                return Ok(*ended);
            }
            doubts += 1;
            if !error.is_in_doubt() || doubts >= self.max_attempts {
                return Err(lost(error));
            }
            self.pause(doubts).await;
        }
    }

    /// Aborts the row's upload before the row goes on without it.
    async fn abort_open(
        &self,
        task: &Task,
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<(), Stop> {
        if let Some(upload) = open {
            self.abort(&upload.key, &upload.upload_id, Lane::Large, tally)
                .await?;
            *open = None;
        }
        self.closed(task).await
    }

    /// Aborts the upload of a row that has ended, no part of which is in flight any more. An upload
    /// that stays is never silent: the row then fails, and names it.
    async fn clean_up(&self, ended: Ended, upload: &OpenUpload, tally: &mut Tally) -> Ended {
        let (key, upload_id) = (&upload.key, &upload.upload_id);
        let Err(Stop::Ended(not_aborted)) = self.abort(key, upload_id, Lane::Large, tally).await
        else {
            return ended;
        };
        let failure = match (ended, not_aborted) {
            (Ended::Failed(failure), _) | (_, Ended::Failed(failure)) => failure,
            (ended, _) => return ended,
        };
        Ended::Failed(failure.hinted(format!(
            "its upload {upload_id} could not be aborted and keeps its parts: abort it, or have \
             the bucket's lifecycle do so (AbortIncompleteMultipartUpload)"
        )))
    }

    /// Aborts an upload until S3 says that it is gone.
    pub(super) async fn abort(
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
        let list = || {
            let (bucket, headers) = (&self.destination_bucket, self.headers.destination());
            self.destination.list_parts(bucket, key, upload_id, headers)
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

    /// Tags over 2 KB do not fit the header of Create; the object is tagged once it is there.
    async fn tagged(
        &self,
        task: &Task,
        ended: Ended,
        tags: &[Tag],
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let Ended::Succeeded(success) = &ended else {
            return Ok(ended);
        };
        if tags.is_empty() || tagging_header(tags).is_some() {
            return Ok(ended);
        }
        let (key, version_id) = (&task.destination_key, success.version_id.as_deref());
        let put = || {
            let (bucket, headers) = (&self.destination_bucket, self.headers.destination());
            self.destination
                .put_object_tagging(bucket, key, version_id, tags, headers)
        };
        let operation = Operation::PutObjectTagging;
        let put = self
            .send(tally, Lane::Large, operation, None, OnDoubt::Resend, put)
            .await;
        match put {
            Ok(()) => Ok(ended),
            Err(error) => Err(Failure::from(&error)
                .hinted("the object was copied, and stands at the destination without its tags")
                .into()),
        }
    }

    /// Reports an upload and waits until no crash can forget it.
    async fn opened(&self, upload: &OpenUpload) -> Result<(), Stop> {
        let (durable, recorded) = oneshot::channel();
        let event = Event::UploadOpened {
            upload: Box::new(upload.clone()),
            durable,
        };
        self.events.send(event).await.map_err(|_| Stop::Stopped)?;
        recorded.await.map_err(|_| Stop::Stopped)
    }

    /// Reports that the row's upload is gone.
    async fn closed(&self, task: &Task) -> Result<(), Stop> {
        let event = Event::UploadClosed {
            ordinal: task.row.ordinal,
        };
        self.events.send(event).await.map_err(|_| Stop::Stopped)
    }
}

/// Whether a copy that came to nothing is worth another start.
fn lost(error: S3Error) -> Lost {
    match (error.report_code(), error.operation) {
        ("PreconditionFailed", "UploadPartCopy") => Lost::SourceChanged(error),
        ("NoSuchUpload" | "ConditionalRequestConflict" | "InvalidPart", _) => Lost::Upload(error),
        _ => Lost::Stop(error.into()),
    }
}

/// What an earlier attempt left of a row's upload.
enum Taken {
    /// The upload and its parts.
    Upload(OpenUpload, BTreeMap<u32, CopiedPart>),
    /// It was completed: the row has ended.
    Ended(Ended),
    /// Nothing that can be used.
    Nothing,
}

/// The version that every request of a copy names.
fn pinned_version<'a>(task: &'a Task, source: &'a Head) -> Option<&'a str> {
    task.row
        .version_id
        .as_deref()
        .or(source.version_id.as_deref())
}

fn add(tally: &mut Tally, cost: &Tally) {
    tally.requests += cost.requests;
    tally.throttled += cost.throttled;
    tally.attempts = tally.attempts.max(cost.attempts);
    tally.in_doubt |= cost.in_doubt;
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
        notes: vec![NOT_CARRIED.to_owned()],
    }))
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
