//! The objects of a job's report: reads, conditional writes, and how long they are tried.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use md5::{Digest, Md5};
use s3haul_s3::retry::back_off;
use s3haul_s3::{
    Class, HeadObject, HeaderPair, ListFrom, ListObjects, ListedPage, OnDoubt, Operation, PutBody,
    PutObject, Requests, RetryOptions, S3Client, S3Error, Tally, Throttle, ThrottleOptions,
    WholeObject,
};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{HEARTBEAT, ROUNDS};
use crate::job::access::{AccessError, Connection};
use crate::job::manifest::ManifestFile;
use crate::job::report::passes::JOB;
use crate::job::report::store::StoreError;
use crate::job::shard::Shard;
use crate::job::spec::report_timeout_ms;

/// What the proof is tried on.
const PROOF: &str = "work/conditions";
/// Who wrote `job.json`: two processes may begin the same job in the same second.
const WRITER: &str = "x-amz-meta-s3haul-writer";
/// How long an attempt may take, and for each MiB more.
const ATTEMPT: Duration = Duration::from_secs(15);
const ATTEMPT_PER_MIB: Duration = Duration::from_secs(4);
/// Attempts for a manifest that lies in the report, with their back-off some ten minutes: it is waited for
/// like the report.
const MANIFEST_ATTEMPTS: u32 = 60;
/// How long a write may take when the job is given up.
const LAST: Duration = Duration::from_secs(5);

/// Where a job's report lies in S3, and who reaches it.
#[derive(Debug)]
pub struct BucketFolder {
    connection: Connection,
    client: S3Client,
    /// Reads, and files sent before the job begins.
    requests: Requests,
    /// Of writes, each of which is sent once at a time: it holds nothing back.
    throttle: Throttle,
    retry: RetryOptions,
    pub(super) runtime: Handle,
    bucket: String,
    /// What keys of the job begin with: ends in `/`.
    prefix: String,
    headers: Vec<HeaderPair>,
    /// For files that only this machine needs.
    local: Arc<TempDir>,
}

/// How patient a writer is.
#[derive(Debug, Clone)]
pub struct Patience {
    /// How long the store may be out before the job stops.
    pub timeout: Duration,
    /// No longer than until this.
    pub give_up: CancellationToken,
}

impl Default for Patience {
    /// That of a job that says nothing, and of whoever only reads.
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(report_timeout_ms()),
            give_up: CancellationToken::new(),
        }
    }
}

impl BucketFolder {
    /// The folder of a job, `address` with its name; whether it is there is not asked.
    ///
    /// # Errors
    /// The bucket cannot be reached.
    pub async fn find(
        connection: Connection,
        (bucket, prefix): (&str, &str),
        owner: Option<&str>,
        retry: RetryOptions,
        local: TempDir,
    ) -> Result<Self, AccessError> {
        let client = connection.report(bucket).await?;
        let throttle = Throttle::new(&ThrottleOptions::default());
        let owner = owner.map(|owner| ("x-amz-expected-bucket-owner".into(), owner.to_owned()));
        Ok(Self {
            client,
            requests: connection.requests().clone(),
            throttle,
            connection,
            retry,
            runtime: Handle::current(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            headers: owner.into_iter().collect(),
            local: Arc::new(local),
        })
    }

    /// A folder in this one.
    #[must_use]
    pub fn within(&self, name: &str) -> Self {
        Self {
            connection: self.connection.clone(),
            client: self.client.clone(),
            requests: self.requests.clone(),
            throttle: self.throttle.clone(),
            retry: self.retry.clone(),
            runtime: self.runtime.clone(),
            bucket: self.bucket.clone(),
            prefix: format!("{}{name}/", self.prefix),
            headers: self.headers.clone(),
            local: Arc::clone(&self.local),
        }
    }

    /// How it is named to the user.
    pub fn address(&self) -> PathBuf {
        let folder = self.prefix.trim_end_matches('/');
        ManifestFile::address(&self.bucket, folder)
    }

    /// The bucket, and what keys of the job begin with.
    pub fn place(&self) -> (&str, &str) {
        (&self.bucket, &self.prefix)
    }

    /// A folder on this machine, which is gone when this process ends.
    pub fn local(&self) -> &Path {
        self.local.path()
    }

    /// A file of the job, to be read as a manifest is.
    pub fn file(&self, name: &str, stop: &CancellationToken) -> ManifestFile {
        ManifestFile::Object {
            connection: Box::new(self.connection.clone().with_attempts(MANIFEST_ATTEMPTS)),
            bucket: self.bucket.clone(),
            key: self.key(name),
            stop: stop.clone(),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        ManifestFile::address(&self.bucket, &self.key(name))
    }

    /// Reads a file whole. What is empty was removed.
    ///
    /// # Errors
    /// S3's answer.
    pub async fn get(
        &self,
        name: &str,
        patience: &Patience,
    ) -> Result<Option<WholeObject>, StoreError> {
        // On the runtime's own thread, which has read the bytes: what another thread frees goes back to the
        // system late, some 50 MiB late where a report has many files.
        let get = || {
            let (client, bucket) = (self.client.clone(), self.bucket.clone());
            let (key, headers) = (self.key(name), self.headers.clone());
            let mut reading = JoinSet::new();
            let read = async move { client.get_whole_object(&bucket, &key, &headers).await };
            reading.spawn_on(read, &self.runtime);
            async move {
                match reading.join_next().await {
                    Some(Ok(read)) => read,
                    Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                    None => std::future::pending().await,
                }
            }
        };
        let got = self.send(Operation::GetObject, Some(0), name, patience, get);
        match got.boxed().await? {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.status == Some(404) && error.report_code() != "NoSuchBucket" => {
                Ok(None)
            }
            Err(error) => Err(self.failed("read", name, error)),
        }
    }

    /// Sends what may be sent again until it is answered, or the store has been out for too long.
    async fn send<T, F, Fut>(
        &self,
        operation: Operation,
        bytes: Option<u64>,
        name: &str,
        patience: &Patience,
        mut request: F,
    ) -> Result<Result<T, S3Error>, StoreError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        let mut outage = Outage::new(patience);
        loop {
            let mut tally = Tally::default();
            let sent = self
                .requests
                .send_uncounted(&mut tally, operation, bytes, OnDoubt::Resend, &mut request)
                .await;
            match sent {
                Err(error) if error.class() != Class::Permanent => {
                    outage.wait(self, name, Some(error)).await?;
                }
                answer => return Ok(answer),
            }
        }
    }

    pub(super) async fn head(
        &self,
        name: &str,
        patience: &Patience,
    ) -> Result<Option<Head>, StoreError> {
        let key = self.key(name);
        let request = HeadObject {
            bucket: &self.bucket,
            key: &key,
            version_id: None,
            part_number: None,
            headers: &self.headers,
        };
        let head = || self.client.head_object(request);
        let head = self.send(Operation::HeadObject, None, name, patience, head);
        match head.await? {
            Ok(head) => Ok(Some(Head {
                writer: head.header(WRITER).map(str::to_owned),
                known: Known {
                    e_tag: head.e_tag,
                    bytes: head.bytes,
                },
            })),
            Err(error) if error.status == Some(404) => Ok(None),
            Err(error) => Err(self.failed("look at", name, error)),
        }
    }

    /// Names and sizes of the files below a folder of the job.
    ///
    /// # Errors
    /// S3's answer.
    pub async fn list(
        &self,
        folder: &str,
        patience: &Patience,
    ) -> Result<HashMap<String, Known>, StoreError> {
        let prefix = self.key(folder);
        let mut found = HashMap::new();
        let mut from = ListFrom::Start;
        loop {
            let page = self.page(&prefix, &from, patience).await?;
            for object in page.objects {
                let (e_tag, bytes) = (object.e_tag, object.bytes);
                if let Some(name) = object.key.strip_prefix(&self.prefix) {
                    found.insert(name.to_owned(), Known { e_tag, bytes });
                }
            }
            match page.next {
                Some(next) => from = next,
                None => return Ok(found),
            }
        }
    }

    /// Names of the jobs below this place, those of several shards among them.
    ///
    /// # Errors
    /// S3's answer.
    pub async fn jobs(&self) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        let mut after = None;
        while let Some(job) = self.folder_after("job-", after.as_deref()).await? {
            // One that did not come to be may have left what the store was tried on.
            let is_one = self.has_job(&job).await?;
            if is_one || self.first_shard(&format!("{job}/")).await?.is_some() {
                found.push(job.clone());
            }
            after = Some(job);
        }
        Ok(found)
    }

    /// The first shard of the job below `place`, which ends in `/` or is empty.
    ///
    /// # Errors
    /// S3's answer.
    pub async fn first_shard(&self, place: &str) -> Result<Option<Shard>, StoreError> {
        let mut after = None;
        let begin = format!("{place}shard-");
        while let Some(name) = self.folder_after(&begin, after.as_deref()).await? {
            let shard = Shard::of_folder(name.strip_prefix(place).unwrap_or(&name));
            if shard.is_some() && self.has_job(&name).await? {
                return Ok(shard);
            }
            after = Some(name);
        }
        Ok(None)
    }

    async fn has_job(&self, folder: &str) -> Result<bool, StoreError> {
        let job = format!("{folder}/{JOB}");
        Ok(self.head(&job, &Patience::default()).await?.is_some())
    }

    /// The first folder below this place whose name begins so, behind another one.
    async fn folder_after(
        &self,
        begin: &str,
        after: Option<&str>,
    ) -> Result<Option<String>, StoreError> {
        let (prefix, patience) = (self.key(begin), Patience::default());
        // Behind all that begins with the folder's name and a slash.
        let behind = |folder| ListFrom::After(self.key(&format!("{folder}/\u{10FFFF}")));
        let mut from = after.map_or(ListFrom::Start, behind);
        loop {
            let page = self.page(&prefix, &from, &patience).await?;
            let next = page.objects.iter().find_map(|object| {
                let rest = object.key.strip_prefix(&prefix)?;
                rest.split_once('/')
                    .map(|(rest, _)| format!("{begin}{rest}"))
            });
            match (next, page.next) {
                (None, Some(next)) => from = next,
                (next, _) => return Ok(next),
            }
        }
    }

    /// Names of the folders in this one that begin so, in order. What lies in them is passed over a page at
    /// a time.
    ///
    /// # Errors
    /// S3's answer.
    pub async fn folders(&self, begin: &str) -> Result<Vec<String>, StoreError> {
        let (prefix, patience) = (self.key(begin), Patience::default());
        let mut found: Vec<String> = Vec::new();
        let mut from = ListFrom::Start;
        loop {
            let page = self.page(&prefix, &from, &patience).await?;
            for object in &page.objects {
                let name = object.key.strip_prefix(&self.prefix);
                if let Some((folder, _)) = name.and_then(|name| name.split_once('/'))
                    && found.last().is_none_or(|last| last != folder)
                {
                    found.push(folder.to_owned());
                }
            }
            let Some(next) = page.next else {
                return Ok(found);
            };
            let last = page.objects.last();
            let folder = last.and_then(|last| last.key.strip_prefix(&self.prefix)?.split_once('/'));
            from = match folder {
                // Behind all that begins with the folder's name and a slash.
                Some((folder, _)) => ListFrom::After(self.key(&format!("{folder}/\u{10FFFF}"))),
                None => next,
            };
        }
    }

    /// Replaces a file that has no one writer, since whoever writes it writes the same: only if it still is
    /// what it was when it was looked at, and not at all where it is what is to be written.
    ///
    /// # Errors
    /// S3's answer, or the file changes again and again.
    pub async fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let patience = Patience::default();
        let mut outage = Outage::new(&patience);
        let mut refused = 0;
        while refused < ROUNDS {
            let there = self.get(name, &patience).await?;
            if there.as_ref().is_some_and(|there| there.bytes == bytes) {
                return Ok(());
            }
            let condition = there
                .as_ref()
                .map_or(Condition::Absent, |there| Condition::Is(&there.e_tag));
            let put = self.put_once(name, &bytes, &condition, None, &patience);
            match put.await {
                Ok(_) => return Ok(()),
                Err(Sent::Failed(error)) => return Err(self.failed("write", name, error)),
                // Somebody else was faster: it is looked at again.
                Err(Sent::Refused) => refused += 1,
                Err(Sent::Again(error)) => outage.wait(self, name, Some(error)).await?,
                Err(Sent::Unclear(error)) => outage.wait(self, name, error).await?,
            }
        }
        let path = self.path(name);
        Err(StoreError::Restless { path })
    }

    async fn page(
        &self,
        prefix: &str,
        from: &ListFrom,
        patience: &Patience,
    ) -> Result<ListedPage, StoreError> {
        let request = ListObjects {
            bucket: &self.bucket,
            prefix,
            from,
            headers: &self.headers,
        };
        let list = || self.client.list_objects_v2(request);
        let page = self.send(Operation::ListObjectsV2, None, "", patience, list);
        page.await?.map_err(|error| self.failed("list", "", error))
    }

    /// Sends a file from disk, that nobody else writes.
    ///
    /// # Errors
    /// S3's answer, or the file cannot be read.
    pub async fn send_file(
        &self,
        name: &str,
        path: &Path,
        md5: [u8; 16],
        bytes: u64,
    ) -> Result<(), StoreError> {
        let request = PutObject {
            bucket: &self.bucket,
            key: &self.key(name),
            body: PutBody::File(path),
            content_md5: md5,
            headers: &self.headers,
        };
        let (patience, put) = (Patience::default(), || self.client.put_object(request));
        let sent = self.send(Operation::PutObject, Some(bytes), name, &patience, put);
        sent.await?
            .map_err(|error| self.failed("write", name, error))?;
        Ok(())
    }

    /// Sends a file once.
    pub(super) async fn put_once(
        &self,
        name: &str,
        bytes: &Bytes,
        condition: &Condition<'_>,
        writer: Option<&str>,
        patience: &Patience,
    ) -> Result<String, Sent> {
        let mut headers = self.headers.clone();
        headers.push(match condition {
            Condition::Absent => ("if-none-match".into(), "*".to_owned()),
            Condition::Is(e_tag) => ("if-match".into(), format!("\"{e_tag}\"")),
        });
        headers.extend(writer.map(|writer| (WRITER.into(), writer.to_owned())));
        let request = PutObject {
            bucket: &self.bucket,
            key: &self.key(name),
            body: PutBody::Bytes(bytes),
            content_md5: Md5::digest(bytes).into(),
            headers: &headers,
        };
        let (mut tally, operation) = (Tally::default(), Operation::PutObject);
        let mib = u32::try_from(bytes.len() >> 20).unwrap_or(u32::MAX);
        let once = RetryOptions {
            max_attempts: 1,
            attempt_timeout: Some(ATTEMPT + ATTEMPT_PER_MIB * mib),
            ..self.retry.clone()
        };
        let credentials = self.requests.credentials().clone();
        let once = Requests::new(self.throttle.clone(), credentials, once);
        let size = Some(bytes.len() as u64);
        let put = || self.client.put_object(request);
        let sent = once.send_uncounted(&mut tally, operation, size, OnDoubt::Return, put);
        // What is in hand when the drain has taken too long is worth a moment more.
        let too_late = async {
            patience.give_up.cancelled().await;
            tokio::time::sleep(LAST).await;
        };
        let sent = tokio::select! {
            biased;
            sent = sent => Some(sent),
            () = too_late => None,
        };
        match sent {
            None => Err(Sent::Unclear(None)),
            Some(Ok(put)) => Ok(put.e_tag),
            Some(Err(error)) => Err(match (error.status, error.class()) {
                (Some(412), _) => Sent::Refused,
                // What was to be replaced is gone.
                (Some(404), _) if error.report_code() == "NoSuchKey" => Sent::Refused,
                _ if error.is_in_doubt() => Sent::Unclear(Some(error)),
                (_, Class::Permanent) => Sent::Failed(error),
                _ => Sent::Again(error),
            }),
        }
    }

    /// Proves that the store honours conditions: else two processes could write one report.
    pub(super) async fn prove(&self, patience: &Patience) -> Result<(), StoreError> {
        let bytes = Bytes::from_static(b"this store honours If-None-Match and If-Match\n");
        let other = "0".repeat(32);
        let mut outage = Outage::new(patience);
        // The first makes it, where no earlier attempt has; the last must be taken, as some stores compare
        // what they are given with its quotes.
        let steps = [
            (Some(Condition::Absent), None),
            (Some(Condition::Absent), Some(false)),
            (Some(Condition::Is(&other)), Some(false)),
            (None, Some(true)),
        ];
        for (condition, taken) in steps {
            let mut rounds = 0;
            loop {
                let there = match condition {
                    Some(_) => None,
                    None => self.head(PROOF, patience).await?,
                };
                let there = there.map(|there| there.known.e_tag);
                let is = there.as_deref().map_or(Condition::Absent, Condition::Is);
                let condition = condition.unwrap_or(is);
                let put = self.put_once(PROOF, &bytes, &condition, None, patience);
                match (put.await, taken) {
                    (Ok(_), None | Some(true)) | (Err(Sent::Refused), None | Some(false)) => break,
                    // Another process may have tried it in between.
                    (Err(Sent::Refused), Some(true)) if rounds < ROUNDS => rounds += 1,
                    (Ok(_) | Err(Sent::Refused), _) => {
                        return Err(self.unconditional(&condition));
                    }
                    (Err(Sent::Failed(error)), _) if error.status == Some(501) => {
                        return Err(self.unconditional(&condition));
                    }
                    (Err(Sent::Failed(error)), _) => {
                        return Err(self.failed("write", PROOF, error));
                    }
                    (Err(Sent::Again(error)), _) => outage.wait(self, PROOF, Some(error)).await?,
                    (Err(Sent::Unclear(error)), _) => outage.wait(self, PROOF, error).await?,
                }
            }
        }
        Ok(())
    }

    fn unconditional(&self, condition: &Condition<'_>) -> StoreError {
        StoreError::Unconditional {
            path: self.address(),
            condition: condition.name(),
        }
    }

    pub(super) fn failed(&self, doing: &'static str, name: &str, source: S3Error) -> StoreError {
        StoreError::S3 {
            doing,
            path: self.path(name),
            source: Box::new(source),
        }
    }
}

/// What a PUT depends on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition<'a> {
    /// That there is nothing.
    Absent,
    /// That it is still this.
    Is(&'a str),
}

impl Condition<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Absent => "If-None-Match",
            Self::Is(_) => "If-Match",
        }
    }
}

/// Why a PUT has no result.
#[derive(Debug)]
pub(super) enum Sent {
    /// Its condition was not met.
    Refused,
    /// It may have been carried out.
    Unclear(Option<S3Error>),
    /// It was not carried out, and may be when it is sent again.
    Again(S3Error),
    /// It was refused for good.
    Failed(S3Error),
}

/// A file as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub(super) e_tag: String,
    /// Its size; what is empty was removed.
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) struct Head {
    pub(super) known: Known,
    pub(super) writer: Option<String>,
}

/// A time without a good write.
#[derive(Debug)]
pub(super) struct Outage {
    since: Duration,
    failures: u32,
    patience: Patience,
}

impl Outage {
    pub(super) fn new(patience: &Patience) -> Self {
        Self {
            since: now(),
            failures: 0,
            patience: patience.clone(),
        }
    }

    /// Waits before the next attempt, as long as there is patience.
    pub(super) async fn wait(
        &mut self,
        folder: &BucketFolder,
        name: &str,
        error: Option<S3Error>,
    ) -> Result<(), StoreError> {
        // From the first failure on: a process that was asleep meanwhile tries again.
        if self.failures == 0 {
            self.since = now();
        }
        self.failures += 1;
        let out = now().saturating_sub(self.since);
        let late = self.failures > 1 && out >= self.patience.timeout;
        let given_up = late || self.patience.give_up.is_cancelled();
        if given_up {
            return Err(StoreError::Out {
                path: folder.path(name),
                seconds: out.as_secs(),
                source: error.map(Box::new),
            });
        }
        let class = error.as_ref().map_or(Class::Transient, S3Error::class);
        let after = error.as_ref().and_then(|error| error.retry_after);
        // The store is not asked less often than a writer must be heard of.
        let wait = back_off(&folder.retry, class, self.failures, after, fastrand::f64());
        let wait = wait
            .min(HEARTBEAT / 3)
            .min(self.patience.timeout.saturating_sub(out));
        if self.failures == 3 {
            let error = error.map_or_else(|| "no answer in time".to_owned(), |e| e.to_string());
            tracing::warn!(
                path = %folder.path(name).display(),
                error,
                "the report's store refuses or does not answer: it is tried again"
            );
        }
        let sleep = tokio::time::sleep(wait);
        let _ = self.patience.give_up.run_until_cancelled(sleep).await;
        Ok(())
    }
}

/// Time since the machine was started, asleep or awake: a laptop that slept has been silent.
pub(super) fn now() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
