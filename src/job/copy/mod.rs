//! One task: a row's object from the source to the destination.
//!
//! [`Copier::copy_small`] sends CopyObject, [`Copier::copy_large`] copies in parts; what is in doubt
//! after either is settled in `settle`, and `prove` says what a success rests on.

mod archived;
mod carry;
pub mod evidence;
pub mod headers;
mod multipart;
mod prove;
pub mod read;
pub mod settings;
mod settle;
pub mod uploads;
pub mod verify;
pub mod versions;
mod whole;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_channel::Sender;
use s3haul_s3::retry::back_off;
use s3haul_s3::{
    Class, CopySource, ErrorKind, Head, HeadObject, HeaderPair, IdentityError, Lane, OnDoubt,
    Operation, Requests, RetryOptions, S3Client, S3Error, Tally, Throttle,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::headers::JobHeaders;
use self::settings::{Annotations, ObjectSettings, StorageClass, Verify};
use self::uploads::Uploads;
use super::manifest::Facts;
use super::outcome::{Ended, Failure};
use super::plan::{PartSize, PlanOptions, Task};
use super::report::Event;

/// What happens to an object that the destination has already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overwrite {
    /// It is replaced.
    #[default]
    Always,
    /// It stays, and the row is skipped: `If-None-Match: *`.
    Never,
    /// It stays if a HEAD shows that it is equal; where that cannot be told it is replaced.
    IfDifferent,
}

/// What happens to a source object that is not what the manifest lists any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceChanged {
    /// It is copied as it stands.
    #[default]
    Copy,
    /// Its row fails.
    Fail,
}

/// How objects are copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOptions {
    /// What happens to objects that are there already.
    pub overwrite: Overwrite,
    /// What happens to objects that changed since the manifest was made.
    pub source_changed: SourceChanged,
    /// Canned ACL of every copy; none is sent where there is none.
    pub acl: Option<String>,
    /// Requests that read say that the requester pays.
    pub requester_pays: bool,
    /// Expected owner of the source bucket.
    pub source_account: Option<String>,
    /// Expected owner of the destination bucket.
    pub destination_account: Option<String>,
    /// What the copies look like besides.
    #[serde(default)]
    pub object: ObjectSettings,
    /// How much a copy is looked at behind S3's answer.
    #[serde(default)]
    pub verify: Verify,
    /// Which objects are copied in parts, and in which.
    pub plan: PlanOptions,
    /// Longest time for one request with all its attempts, in milliseconds.
    pub row_timeout_ms: u64,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            overwrite: Overwrite::default(),
            source_changed: SourceChanged::default(),
            acl: Some("bucket-owner-full-control".to_owned()),
            requester_pays: false,
            source_account: None,
            destination_account: None,
            object: ObjectSettings::default(),
            verify: Verify::default(),
            plan: PlanOptions::default(),
            row_timeout_ms: 24 * 60 * 60 * 1000,
        }
    }
}

impl CopyOptions {
    /// Whether something must be known of a source before CopyObject that the manifest does not list.
    pub fn needs_head(&self, listed: &Facts) -> bool {
        let class = self.object.storage_class == StorageClass::Preserve;
        class && listed.storage_class.is_none()
            || self.plan.part_size == PartSize::MatchSource && listed.e_tag.is_none()
    }

    /// Requests that read for a row, beside those that copy: the most, where an answer decides.
    pub fn reads(&self, listed: &Facts, in_parts: bool) -> u64 {
        let before = if in_parts {
            let tags = self.object.tags.is_none();
            let layout = self.plan.part_size == PartSize::MatchSource;
            1 + u64::from(layout) + u64::from(tags) + u64::from(self.object.lists_annotations())
        } else {
            u64::from(self.needs_head(listed))
        };
        let behind = match self.verify {
            Verify::Response => 0,
            // Without a listed size the source is asked too.
            Verify::Head => 1 + u64::from(!in_parts && listed.size.is_none()),
            Verify::Checksum => 2,
            Verify::Full => 2 + 2 * listed.size.unwrap_or_default().div_ceil(read::BLOCK_BYTES),
        };
        before + behind
    }
}

/// How a worker's turn with a task ended.
#[derive(Debug)]
pub enum Turn {
    /// The row has ended.
    Ended(Ended),
    /// The row proved large: it goes to the other lane.
    Large,
    /// The job is stopping: the row is not done, and what it has sent is kept for the next attempt.
    Stopped,
}

/// What copies: the clients of both sides, and what all rows share.
#[derive(Debug)]
pub struct Copier {
    /// Client of the destination's region, which copies.
    pub destination: S3Client,
    /// Client of the source's region, which reads its metadata and tags.
    pub source: S3Client,
    /// The one place that retries.
    pub requests: Requests,
    /// Its throttle.
    pub throttle: Throttle,
    /// Source bucket.
    pub source_bucket: String,
    /// Destination bucket.
    pub destination_bucket: String,
    /// How objects are copied.
    pub options: CopyOptions,
    /// Header pairs that all rows share.
    pub headers: JobHeaders,
    /// S3's time when the job was created.
    pub began: OffsetDateTime,
    /// No earlier attempt or pass can have written a row's object.
    pub first_attempt: bool,
    /// Times that a write in doubt is sent again, and a request attempted.
    pub max_attempts: u32,
    /// The ARN of our credentials: S3 names it as the initiator of our uploads.
    pub arn: Option<String>,
    /// Where uploads are reported.
    pub events: Sender<Event>,
    /// No more rows, no more parts.
    pub drain: CancellationToken,
    /// Told when a write has succeeded.
    pub wrote: CancellationToken,
    /// Large objects in hand.
    pub large_in_hand: AtomicU32,
    /// Mebibytes of objects that are being read, of all that may be.
    pub reading: Semaphore,
    /// Large versions that chains may have in hand.
    pub large_versions: Semaphore,
    /// Uploads in hand.
    pub uploads: Uploads,
    /// Why there are no credentials any more, once that is so.
    pub lost: Arc<OnceLock<String>>,
    /// Canonical user ID of the destination bucket's owner, where rows are compared with it.
    pub bucket_owner: Option<String>,
}

/// A row's end in the middle of a function: `?` hands it up.
#[derive(Debug)]
enum Stop {
    Ended(Ended),
    Stopped,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Ended(Ended::Failed(failure))
    }
}

impl From<S3Error> for Stop {
    fn from(error: S3Error) -> Self {
        Failure::from(&error).into()
    }
}

impl Copier {
    /// Copies an object whose size is at most the threshold, or not known.
    pub async fn copy_small(&self, task: &Task, tally: &mut Tally) -> Turn {
        let ended = match self.whole(task, Lane::Small, None, tally).await {
            Ok(Turn::Ended(ended)) | Err(Stop::Ended(ended)) => ended,
            Ok(turn) => return turn,
            Err(Stop::Stopped) => return Turn::Stopped,
        };
        self.end(task, ended, Lane::Small, tally).await
    }

    /// Copies an object that is over the threshold, as the manifest or a request said.
    pub async fn copy_large(&self, task: &Task, tally: &mut Tally) -> Turn {
        self.large_in_hand.fetch_add(1, Ordering::Relaxed);
        let _in_hand = InHand(&self.large_in_hand);
        match self.multipart(task, tally).await {
            Ok(ended) | Err(Stop::Ended(ended)) => self.end(task, ended, Lane::Large, tally).await,
            Err(Stop::Stopped) => Turn::Stopped,
        }
    }

    /// What follows a row's end on either path: the look that the job asks for at a copy that was
    /// found, the fate of an archived source, the names of what was left out.
    async fn end(&self, task: &Task, ended: Ended, lane: Lane, tally: &mut Tally) -> Turn {
        let ended = match ended {
            Ended::Succeeded(mut success) => {
                success.notes.extend(left_out(&self.options.object));
                match self.prove_found(task, lane, success, tally).await {
                    Ok(ended) | Err(Stop::Ended(ended)) => ended,
                    Err(Stop::Stopped) => return Turn::Stopped,
                }
            }
            Ended::Failed(failure) if failure.is_archived_source() => {
                self.archived(task, failure, lane, tally).await
            }
            ended => ended,
        };
        match ended {
            // Without credentials every row would fail: it has not been run.
            Ended::Failed(_) if self.lost.get().is_some() => Turn::Stopped,
            ended => Turn::Ended(ended),
        }
    }

    /// The source of a copy, pinned to a version where one is known.
    fn copy_source(&self, task: &Task, version_id: Option<&str>) -> CopySource {
        CopySource {
            bucket: self.source_bucket.clone(),
            key: task.row.key.clone(),
            version_id: version_id.map(str::to_owned),
        }
    }

    async fn head_source(
        &self,
        task: &Task,
        lane: Lane,
        tally: &mut Tally,
    ) -> s3haul_s3::Result<Head> {
        let version_id = task.row.version_id.as_deref();
        self.head_source_version(task, version_id, lane, None, tally)
            .await
    }

    async fn head_source_version(
        &self,
        task: &Task,
        version_id: Option<&str>,
        lane: Lane,
        part_number: Option<u32>,
        tally: &mut Tally,
    ) -> s3haul_s3::Result<Head> {
        let mut headers = self.headers.source_object();
        headers.push(with_checksum());
        let request = HeadObject {
            bucket: &self.source_bucket,
            key: &task.row.key,
            version_id,
            part_number,
            headers: &headers,
        };
        let send = || self.source.head_object(request);
        self.read(tally, lane, Operation::HeadObject, send).await
    }

    async fn head_destination(
        &self,
        task: &Task,
        lane: Lane,
        version_id: Option<&str>,
        checksum: bool,
        tally: &mut Tally,
    ) -> s3haul_s3::Result<Head> {
        let mut headers = self.headers.destination_object();
        headers.extend(checksum.then(with_checksum));
        let request = HeadObject {
            bucket: &self.destination_bucket,
            key: &task.destination_key,
            version_id,
            part_number: None,
            headers: &headers,
        };
        let send = || self.destination.head_object(request);
        self.read(tally, lane, Operation::HeadObject, send).await
    }

    /// Sends a request that changes nothing: sent again it tells the same.
    async fn read<T, F, Fut>(
        &self,
        tally: &mut Tally,
        lane: Lane,
        operation: Operation,
        request: F,
    ) -> s3haul_s3::Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = s3haul_s3::Result<T>>,
    {
        self.send(tally, lane, operation, None, OnDoubt::Resend, request)
            .await
    }

    /// Waits before a write that was settled as absent is sent again.
    async fn pause(&self, doubts: u32) {
        let pause = back_off(
            &RetryOptions::default(),
            Class::Transient,
            doubts,
            None,
            fastrand::f64(),
        );
        tokio::time::sleep(pause).await;
    }

    /// Credentials that are gone for good stop the job: no row could be run any more.
    fn note_lost(&self, error: &S3Error) {
        let source = error.source.as_ref();
        let identity = source.and_then(|source| source.downcast_ref::<IdentityError>());
        let why = match identity {
            Some(identity) => {
                let hint = identity.hint().unwrap_or_default();
                format!("{}\n{hint}", identity.told())
            }
            None if error.kind == ErrorKind::Credentials => error.message.clone(),
            None => return,
        };
        let _ = self.lost.set(why);
        self.drain.cancel();
    }

    /// Sends a request until it is answered for good, or the row's time is up.
    async fn send<T, F, Fut>(
        &self,
        tally: &mut Tally,
        lane: Lane,
        operation: Operation,
        bytes: Option<u64>,
        on_doubt: OnDoubt,
        request: F,
    ) -> s3haul_s3::Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = s3haul_s3::Result<T>>,
    {
        let limit = Duration::from_millis(self.options.row_timeout_ms);
        let sent = self
            .requests
            .send(tally, lane, operation, bytes, on_doubt, request);
        match tokio::time::timeout(limit, sent).await {
            Ok(Err(error)) => {
                self.note_lost(&error);
                Err(error)
            }
            Ok(answer) => answer,
            Err(_) => Err(S3Error {
                operation: operation.name(),
                kind: ErrorKind::TimedOut,
                code: None,
                status: None,
                message: format!(
                    "no answer for good within the row's {} s",
                    limit.as_secs_f64()
                ),
                condition: None,
                storage_class: None,
                access_tier: None,
                request_id: None,
                extended_request_id: None,
                bucket_region: None,
                retry_after: None,
                clock_ahead_seconds: None,
                source: None,
            }),
        }
    }
}

/// Asks a HEAD for the checksum.
fn with_checksum() -> HeaderPair {
    ("x-amz-checksum-mode".into(), "ENABLED".to_owned())
}

/// What a copy does without because a flag allows it: the row says so.
fn left_out(settings: &ObjectSettings) -> impl Iterator<Item = String> {
    let tags = settings.tags.as_ref().is_some_and(Vec::is_empty);
    let annotations = settings.annotations == Annotations::Exclude;
    [
        (tags, "tags were left out, as --tags none asks"),
        (
            annotations,
            "annotations were left out, as --annotations exclude asks",
        ),
    ]
    .into_iter()
    .filter(|(left_out, _)| *left_out)
    .map(|(_, note)| note.to_owned())
}

/// Counts a large object while it lives.
struct InHand<'a>(&'a AtomicU32);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
