//! The report in S3: one prefix of a bucket, and one process that writes there.
//!
//! There is no rename, no append and no lock in S3, but a PUT is whole or not at all, and can be made to
//! depend on what is there. So the journal is one object, put whole each time, on condition that it still
//! is what this process put last; and each other file on condition that it is what this process has seen.
//! Who takes a report over from a writer that has been silent puts the journal once: from then on the
//! other's writes are refused, those on their way too, and it stops.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};
use s3haul_s3::retry::back_off;
use s3haul_s3::{
    Class, HeadObject, HeaderPair, ListFrom, ListObjects, ListedPage, OnDoubt, Operation, PutBody,
    PutObject, Requests, RetryOptions, S3Client, S3Error, Tally, Throttle, ThrottleOptions,
    WholeObject,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::folder::cut;
use crate::job::StopSignals;
use crate::job::access::{AccessError, Connection};
use crate::job::manifest::ManifestFile;
use crate::job::report::journal::{self, JournalError};
use crate::job::report::passes::{CHECKPOINT, JOB, JobState, Step};

/// The journal's object, whatever its sequence.
const JOURNAL: &str = "work/journal";
/// What the proof is tried on.
const PROOF: &str = "work/conditions";
/// Who wrote `job.json`: two processes may begin the same job in the same second.
const WRITER: &str = "x-amz-meta-s3haul-writer";
/// A writer that has nothing to write says so often that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Without a good write for so long no row is begun.
const SILENT: Duration = Duration::from_secs(30);
/// A writer that has been silent for longer, by S3's clock, is taken for dead. Twice [`SILENT`].
const DEAD: Duration = Duration::from_mins(1);
/// How often a silent writer is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long an attempt may take, and for each MiB more.
const ATTEMPT: Duration = Duration::from_secs(15);
const ATTEMPT_PER_MIB: Duration = Duration::from_secs(4);
/// How often a file that changes under this process is tried again.
const ROUNDS: u32 = 5;

/// Where a job's report lies in S3, and who reaches it.
#[derive(Debug)]
pub struct BucketFolder {
    connection: Connection,
    client: S3Client,
    /// Reads, with the attempts of the job.
    requests: Requests,
    /// Writes, each once.
    once: Requests,
    retry: RetryOptions,
    runtime: Handle,
    bucket: String,
    /// What keys of the job begin with: ends in `/`.
    prefix: String,
    headers: Vec<HeaderPair>,
    /// For files that only this machine needs.
    local: TempDir,
}

/// How patient a writer is.
#[derive(Debug, Clone)]
pub struct Patience {
    /// How long the store may be out before the job stops.
    pub timeout: Duration,
    /// No longer than until this.
    pub give_up: CancellationToken,
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
        let once = RetryOptions {
            max_attempts: 1,
            ..retry.clone()
        };
        let credentials = connection.requests().credentials().clone();
        let owner = owner.map(|owner| ("x-amz-expected-bucket-owner".into(), owner.to_owned()));
        Ok(Self {
            client,
            requests: connection.requests().clone(),
            once: Requests::new(throttle, credentials, once),
            connection,
            retry,
            runtime: Handle::current(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            headers: owner.into_iter().collect(),
            local,
        })
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
            connection: Box::new(self.connection.clone()),
            bucket: self.bucket.clone(),
            key: self.key(name),
            stop: stop.clone(),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn path(&self, name: &str) -> PathBuf {
        ManifestFile::address(&self.bucket, &self.key(name))
    }

    /// Reads a file whole. What is empty was removed.
    ///
    /// # Errors
    /// S3's answer.
    pub async fn get(&self, name: &str) -> Result<Option<WholeObject>, StoreError> {
        let key = self.key(name);
        let (mut tally, operation) = (Tally::default(), Operation::GetObject);
        let get = || {
            let client = &self.client;
            client.get_whole_object(&self.bucket, &key, &self.headers)
        };
        let got = self
            .requests
            .send_uncounted(&mut tally, operation, Some(0), OnDoubt::Resend, get)
            .await;
        match got {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.status == Some(404) && error.report_code() != "NoSuchBucket" => {
                Ok(None)
            }
            Err(error) => Err(self.failed("read", name, error)),
        }
    }

    /// The journal's object as it is: where, the name of its journal, and the frames.
    pub(super) async fn journal(&self) -> Result<Option<(PathBuf, String, Vec<u8>)>, StoreError> {
        let Some(object) = self.get(JOURNAL).await? else {
            return Ok(None);
        };
        let path = self.path(JOURNAL);
        let (held, frames) = Held::parse(path.clone(), &object.bytes)?;
        Ok(Some((path, held.journal, frames.to_vec())))
    }

    async fn head(&self, name: &str) -> Result<Option<Head>, StoreError> {
        let key = self.key(name);
        let request = HeadObject {
            bucket: &self.bucket,
            key: &key,
            version_id: None,
            part_number: None,
            headers: &self.headers,
        };
        let (mut tally, operation) = (Tally::default(), Operation::HeadObject);
        let head = self
            .requests
            .send_uncounted(&mut tally, operation, None, OnDoubt::Resend, || {
                self.client.head_object(request)
            })
            .await;
        match head {
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
    pub async fn list(&self, folder: &str) -> Result<HashMap<String, Known>, StoreError> {
        let prefix = self.key(folder);
        let mut found = HashMap::new();
        let mut from = ListFrom::Start;
        loop {
            let request = ListObjects {
                bucket: &self.bucket,
                prefix: &prefix,
                from: &from,
                headers: &self.headers,
            };
            let page = self.list_page(request).await?;
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

    /// Names of the jobs below this place.
    ///
    /// # Errors
    /// S3's answer.
    pub async fn jobs(&self) -> Result<Vec<String>, StoreError> {
        let prefix = self.key("job-");
        let mut found = Vec::new();
        let mut from = ListFrom::Start;
        loop {
            let request = ListObjects {
                bucket: &self.bucket,
                prefix: &prefix,
                from: &from,
                headers: &self.headers,
            };
            let page = self.list_page(request).await?;
            let next = page.objects.iter().find_map(|object| {
                let name = object.key.strip_prefix(&self.prefix)?;
                name.split_once('/').map(|(job, _)| job.to_owned())
            });
            match (next, page.next) {
                (Some(job), _) => {
                    // Behind all that begins with the job's name and a slash.
                    from = ListFrom::After(self.key(&format!("{job}/\u{10FFFF}")));
                    found.push(job);
                }
                (None, Some(next)) => from = next,
                (None, None) => return Ok(found),
            }
        }
    }

    async fn list_page(&self, request: ListObjects<'_>) -> Result<ListedPage, StoreError> {
        let (mut tally, operation) = (Tally::default(), Operation::ListObjectsV2);
        let list = || self.client.list_objects_v2(request);
        let page = self
            .requests
            .send_uncounted(&mut tally, operation, None, OnDoubt::Resend, list)
            .await;
        page.map_err(|error| self.failed("list", "", error))
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
        let (mut tally, operation) = (Tally::default(), Operation::PutObject);
        let put = || self.client.put_object(request);
        self.requests
            .send_uncounted(&mut tally, operation, Some(bytes), OnDoubt::Resend, put)
            .await
            .map_err(|error| self.failed("write", name, error))?;
        Ok(())
    }

    /// Sends a file once.
    async fn put_once(
        &self,
        name: &str,
        bytes: &Bytes,
        condition: &Condition<'_>,
        writer: Option<&str>,
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
        let limit = ATTEMPT + ATTEMPT_PER_MIB * mib;
        let size = Some(bytes.len() as u64);
        let put = || self.client.put_object(request);
        let sent = self
            .once
            .send_uncounted(&mut tally, operation, size, OnDoubt::Return, put);
        match tokio::time::timeout(limit, sent).await {
            Err(_) => Err(Sent::Unclear(None)),
            Ok(Ok(e_tag)) => Ok(e_tag),
            Ok(Err(error)) => Err(match (error.status, error.class()) {
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
    async fn prove(&self, patience: &Patience) -> Result<(), StoreError> {
        let bytes = Bytes::from_static(b"this store honours If-None-Match and If-Match\n");
        let other = "0".repeat(32);
        let mut outage = Outage::new(patience);
        // The first makes it, where no earlier attempt has.
        let steps = [
            (Condition::Absent, false),
            (Condition::Absent, true),
            (Condition::Is(&other), true),
        ];
        for (condition, must_refuse) in steps {
            loop {
                match self.put_once(PROOF, &bytes, &condition, None).await {
                    Err(Sent::Refused) => break,
                    Ok(_) if !must_refuse => break,
                    Ok(_) => {
                        return Err(StoreError::Unconditional {
                            path: self.address(),
                            condition: condition.name(),
                        });
                    }
                    Err(Sent::Failed(error)) if error.status == Some(501) => {
                        return Err(StoreError::Unconditional {
                            path: self.address(),
                            condition: condition.name(),
                        });
                    }
                    Err(Sent::Failed(error)) => return Err(self.failed("write", PROOF, error)),
                    Err(Sent::Again(error)) => outage.wait(self, PROOF, Some(error)).await?,
                    Err(Sent::Unclear(error)) => outage.wait(self, PROOF, error).await?,
                }
            }
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str, name: &str, source: S3Error) -> StoreError {
        StoreError::S3 {
            doing,
            path: self.path(name),
            source: Box::new(source),
        }
    }
}

/// What a PUT depends on.
#[derive(Debug, Clone, Copy)]
enum Condition<'a> {
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
enum Sent {
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
    e_tag: String,
    /// Its size; what is empty was removed.
    pub bytes: u64,
}

#[derive(Debug)]
struct Head {
    known: Known,
    writer: Option<String>,
}

/// A time without a good write.
#[derive(Debug)]
struct Outage {
    since: Duration,
    failures: u32,
    patience: Patience,
}

impl Outage {
    fn new(patience: &Patience) -> Self {
        Self {
            since: now(),
            failures: 0,
            patience: patience.clone(),
        }
    }

    /// Waits before the next attempt, as long as there is patience.
    async fn wait(
        &mut self,
        folder: &BucketFolder,
        name: &str,
        error: Option<S3Error>,
    ) -> Result<(), StoreError> {
        self.failures += 1;
        let out = now().saturating_sub(self.since);
        let given_up = out >= self.patience.timeout || self.patience.give_up.is_cancelled();
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
                "the report's store does not take what is written: it is tried again"
            );
        }
        let sleep = tokio::time::sleep(wait);
        let _ = self.patience.give_up.run_until_cancelled(sleep).await;
        Ok(())
    }
}

/// Time since the machine was started, asleep or awake: a laptop that slept has been silent.
fn now() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The first line of the journal's object: whose it is, and which journal's frames follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// The journal, by its name in a folder.
    journal: String,
    /// The process that wrote it.
    writer: String,
    /// How often it did: no two are alike, nor are their ETags.
    beat: u64,
}

impl Held {
    /// What an object of the journal holds; one that is damaged is told by the frames' reader.
    fn parse(path: PathBuf, object: &[u8]) -> Result<(Self, &[u8]), StoreError> {
        let end = object.iter().position(|byte| *byte == b'\n');
        let (line, frames) = object.split_at(end.map_or(object.len(), |end| end + 1));
        match serde_json::from_slice(line) {
            Ok(held) => Ok((held, frames)),
            Err(source) => Err(StoreError::Journal {
                path,
                source: JournalError::Record { at: 0, source },
            }),
        }
    }
}

/// The job's files besides the journal as they were last seen, by name.
#[derive(Debug, Clone, Default)]
struct Files(Arc<std::sync::Mutex<HashMap<String, Known>>>);

impl Files {
    fn get(&self, name: &str) -> Option<Known> {
        self.lock().get(name).cloned()
    }

    fn set(&self, name: &str, known: Option<Known>) {
        match known {
            Some(known) => self.lock().insert(name.to_owned(), known),
            None => self.lock().remove(name),
        };
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The report in S3 as its one writer has it.
#[derive(Debug, Clone)]
pub struct Bucket {
    known: Files,
    folder: Arc<BucketFolder>,
    inner: Arc<Mutex<Inner>>,
    alive: Alive,
}

/// Whether this process is known to be the writer: rows wait for it.
#[derive(Debug, Clone)]
pub struct Alive(watch::Receiver<Duration>);

impl Alive {
    /// Returns at once, or when the report is written again.
    pub async fn wait(&self) {
        if self.silent() <= SILENT {
            return;
        }
        let mut written = self.0.clone();
        while now().saturating_sub(*written.borrow_and_update()) > SILENT {
            if written.changed().await.is_err() {
                // The writer is gone, and whoever waits is about to be told.
                std::future::pending::<()>().await;
            }
        }
    }

    fn silent(&self) -> Duration {
        now().saturating_sub(*self.0.borrow())
    }
}

#[derive(Debug)]
struct Inner {
    folder: Arc<BucketFolder>,
    patience: Patience,
    held: Held,
    /// The journal's object as this process put it last.
    e_tag: Option<String>,
    /// The frames in it.
    frames: Vec<u8>,
    known: Files,
    /// The checkpoint is this process's own: nobody's that was at work until just now.
    settled: bool,
    /// Another process has taken the report over, or the store is given up.
    over: bool,
    last_good: watch::Sender<Duration>,
}

impl Bucket {
    fn new(folder: Arc<BucketFolder>, patience: Patience, journal: String) -> Self {
        let (last_good, alive) = watch::channel(now());
        let known = Files::default();
        let inner = Inner {
            folder: Arc::clone(&folder),
            patience,
            held: Held {
                journal,
                writer: format!("{:016x}", fastrand::u64(..)),
                beat: 0,
            },
            e_tag: None,
            frames: Vec::new(),
            known: known.clone(),
            settled: false,
            over: false,
            last_good,
        };
        Self {
            known,
            folder,
            inner: Arc::new(Mutex::new(inner)),
            alive: Alive(alive),
        }
    }

    /// Prepares a new job, which [`Step::Create`] makes.
    ///
    /// # Errors
    /// The store cannot be written, or honours no conditions.
    pub async fn stage(folder: Arc<BucketFolder>, patience: Patience) -> Result<Self, StoreError> {
        folder.prove(&patience).await?;
        Ok(Self::new(folder, patience, String::new()))
    }

    /// Becomes the writer of a job that exists: at once where its last one ended well, else when that has
    /// been silent long enough.
    ///
    /// # Errors
    /// Another process is at work on it; the store cannot be read or written.
    ///
    /// # Cancellation
    /// Safe: who had it has it, or whoever comes next takes it from this one.
    pub async fn open(folder: Arc<BucketFolder>, patience: Patience) -> Result<Self, StoreError> {
        folder.prove(&patience).await?;
        let (mut first, mut looks) = (None, 0);
        loop {
            let checkpoint = folder.get(CHECKPOINT).await?;
            let journal = folder.get(JOURNAL).await?;
            let sign = match &journal {
                Some(journal) => Sign::of(journal),
                None => match folder.get(JOB).await? {
                    Some(job) => Sign::of(&job),
                    None => {
                        return Err(StoreError::Gone {
                            path: folder.path(JOB),
                        });
                    }
                },
            };
            let running = checkpoint.is_none_or(|checkpoint| is_running(&checkpoint.bytes));
            let (seen, since) = first.get_or_insert_with(|| (sign.clone(), now()));
            if running && *seen != sign {
                return Err(StoreError::Locked {
                    path: folder.address(),
                });
            }
            let silent = sign.silent.unwrap_or_default();
            if running && silent <= DEAD && now().saturating_sub(*since) <= DEAD {
                looks += 1;
                // Who lives has written something by then, unless nothing happens.
                if looks == 2 {
                    tracing::warn!(
                        report = %folder.address().display(),
                        "another process was at work on it {} s ago: if it stays silent, this one goes \
                         on when that is {} s",
                        silent.as_secs(),
                        DEAD.as_secs()
                    );
                }
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let bucket = Self::new(Arc::clone(&folder), patience.clone(), String::new());
            if bucket.inner.lock().await.fence(journal).await? {
                return Ok(bucket);
            }
            // It was written just now: by whom shows next time.
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Arc<BucketFolder> {
        &self.folder
    }

    /// What tells rows to wait.
    pub fn alive(&self) -> Alive {
        self.alive.clone()
    }

    /// Says that this process lives, where nothing else does; stops the job where it is not the writer any
    /// more.
    pub async fn keep_alive(self, signals: StopSignals) {
        loop {
            let mut inner = self.inner.lock().await;
            let idle = now().saturating_sub(*inner.last_good.borrow());
            if inner.over {
                return;
            }
            if idle >= HEARTBEAT {
                match inner.put_journal().await {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::error!(%error, "the report cannot be written any more");
                        inner.over = true;
                        signals.drain.cancel();
                        if matches!(error, StoreError::Lost { .. }) {
                            signals.abandon.cancel();
                        }
                        return;
                    }
                }
            }
            drop(inner);
            tokio::time::sleep(HEARTBEAT.saturating_sub(idle).max(LOOK)).await;
        }
    }

    /// Reads the job's journal, record by record. Another one's frames are sealed already.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read_journal(
        &self,
        name: &str,
        each: impl FnMut(journal::Record) -> Result<(), JournalError>,
    ) -> Result<u64, StoreError> {
        let mut inner = self.inner.blocking_lock();
        if inner.held.journal != name {
            inner.frames.clear();
            name.clone_into(&mut inner.held.journal);
        }
        journal::read_frames(&inner.frames[..], each).map_err(|source| StoreError::Journal {
            path: self.folder.path(JOURNAL),
            source,
        })
    }

    /// Reads a file of the job.
    ///
    /// # Errors
    /// S3's answer.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.folder.runtime.block_on(async {
            let object = self.folder.get(name).await?;
            let known = object.as_ref().map(|object| Known {
                e_tag: object.e_tag.clone(),
                bytes: object.bytes.len() as u64,
            });
            self.known.set(name, known);
            let bytes = object.map(|object| object.bytes);
            Ok(bytes.filter(|bytes| !bytes.is_empty()))
        })
    }

    /// The size of a file of the job.
    pub fn bytes_of(&self, name: &str) -> u64 {
        self.known.get(name).map_or(0, |known| known.bytes)
    }

    /// Applies steps, each durable before the next. Not on a thread of the runtime.
    ///
    /// # Errors
    /// One fails; nothing behind it is done.
    pub fn apply(&self, steps: &[Step]) -> Result<(), StoreError> {
        self.folder.runtime.block_on(async {
            for step in steps {
                // Given back after each step, so that the journal is put while a report is finished.
                let mut inner = self.inner.lock().await;
                if inner.over {
                    return Err(inner.lost());
                }
                let done = inner.perform(step).await;
                inner.over |=
                    matches!(done, Err(ref error) if !matches!(error, StoreError::Moved { .. }));
                done?;
            }
            Ok(())
        })
    }
}

/// The last sign of life of a writer.
#[derive(Debug, Clone)]
struct Sign {
    e_tag: String,
    /// How old it is, by S3's clock.
    silent: Option<Duration>,
}

impl PartialEq for Sign {
    fn eq(&self, other: &Self) -> bool {
        self.e_tag == other.e_tag
    }
}

impl Sign {
    fn of(object: &WholeObject) -> Self {
        let age = |(date, modified): (OffsetDateTime, OffsetDateTime)| {
            Duration::try_from(date - modified).unwrap_or_default()
        };
        Self {
            e_tag: object.e_tag.clone(),
            silent: object.date.zip(object.last_modified).map(age),
        }
    }
}

/// Whether a checkpoint says that somebody is at work. One that cannot be read is told by who reads it.
fn is_running(checkpoint: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct State {
        state: JobState,
    }
    serde_json::from_slice::<State>(checkpoint).is_ok_and(|at| at.state == JobState::Running)
}

impl Inner {
    fn lost(&self) -> StoreError {
        StoreError::Lost {
            path: self.folder.address(),
        }
    }

    /// Takes the journal from whoever had it, with its frames; `false` if it was written meanwhile.
    async fn fence(&mut self, journal: Option<WholeObject>) -> Result<bool, StoreError> {
        if let Some(journal) = journal {
            let (held, frames) = Held::parse(self.folder.path(JOURNAL), &journal.bytes)?;
            self.frames = frames.to_vec();
            self.held.journal = held.journal;
            self.e_tag = Some(journal.e_tag);
        }
        match self.put_journal().await {
            Ok(()) => {}
            Err(StoreError::Lost { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        *self.known.lock() = self.folder.list("").await?;
        Ok(true)
    }

    /// Puts the journal as it is now; so says who this process is, and that it lives.
    async fn put_journal(&mut self) -> Result<(), StoreError> {
        let mut outage = Outage::new(&self.patience);
        loop {
            self.held.beat += 1;
            let mut object = serde_json::to_vec(&self.held).unwrap_or_default();
            object.push(b'\n');
            object.extend_from_slice(&self.frames);
            let condition = self
                .e_tag
                .as_deref()
                .map_or(Condition::Absent, Condition::Is);
            let sent = self
                .folder
                .put_once(JOURNAL, &object.into(), &condition, None)
                .await;
            let error = match sent {
                Ok(e_tag) => {
                    self.e_tag = Some(e_tag);
                    self.last_good.send_replace(now());
                    return Ok(());
                }
                Err(Sent::Failed(error)) => {
                    return Err(self.folder.failed("write", JOURNAL, error));
                }
                Err(Sent::Again(error)) => Some(error),
                // It may be this process's own that has landed, late or without an answer.
                Err(Sent::Refused) => {
                    if self.look_for_own().await? {
                        continue;
                    }
                    return Err(self.lost());
                }
                Err(Sent::Unclear(error)) => error,
            };
            outage.wait(&self.folder, JOURNAL, error).await?;
        }
    }

    /// Whether the journal that is there is this process's; it is the one to be replaced then.
    async fn look_for_own(&mut self) -> Result<bool, StoreError> {
        let Some(found) = self.folder.get(JOURNAL).await? else {
            return Ok(self.e_tag.is_none());
        };
        let (held, _) = Held::parse(self.folder.path(JOURNAL), &found.bytes)?;
        self.e_tag = Some(found.e_tag);
        Ok(held.writer == self.held.writer)
    }

    /// Replaces a file by these bytes.
    ///
    /// Where it is not what it was thought to be the journal is put first: who is not the writer any more
    /// learns so, and changes nothing.
    async fn put(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let bytes = Bytes::from(bytes);
        let mut outage = Outage::new(&self.patience);
        let mut refused = 0;
        while refused < ROUNDS {
            let known = self.known.get(name);
            let condition = known
                .as_ref()
                .map_or(Condition::Absent, |known| Condition::Is(&known.e_tag));
            let error = match self.folder.put_once(name, &bytes, &condition, None).await {
                Ok(e_tag) => {
                    let bytes = bytes.len() as u64;
                    self.known.set(name, Some(Known { e_tag, bytes }));
                    self.settled |= name == CHECKPOINT;
                    return Ok(());
                }
                Err(Sent::Failed(error)) => return Err(self.folder.failed("write", name, error)),
                Err(Sent::Again(error)) => Some(error),
                // It is sent again: refused then, it has landed.
                Err(Sent::Unclear(error)) => error,
                Err(Sent::Refused) => {
                    refused += 1;
                    self.put_journal().await?;
                    let there = self.folder.head(name).await?;
                    self.known.set(name, there.map(|there| there.known));
                    if name == CHECKPOINT && !self.settled {
                        let path = self.folder.path(name);
                        return Err(StoreError::Moved { path });
                    }
                    continue;
                }
            };
            outage.wait(&self.folder, name, error).await?;
        }
        let path = self.folder.path(name);
        Err(StoreError::Restless { path })
    }

    /// Makes `job.json`, which makes the job: whoever comes second finds it there.
    async fn create(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut outage = Outage::new(&self.patience);
        loop {
            let writer = Some(self.held.writer.as_str());
            let sent = self
                .folder
                .put_once(JOB, &bytes, &Condition::Absent, writer);
            let error = match sent.await {
                Ok(_) => return Ok(()),
                Err(Sent::Failed(error)) => return Err(self.folder.failed("write", JOB, error)),
                Err(Sent::Refused) => {
                    let there = self.folder.head(JOB).await?;
                    let ours =
                        there.and_then(|there| there.writer).as_ref() == Some(&self.held.writer);
                    let path = self.folder.address();
                    return if ours {
                        Ok(())
                    } else {
                        Err(StoreError::Exists { path })
                    };
                }
                Err(Sent::Again(error)) => Some(error),
                Err(Sent::Unclear(error)) => error,
            };
            outage.wait(&self.folder, JOB, error).await?;
        }
    }

    async fn perform(&mut self, step: &Step) -> Result<(), StoreError> {
        match step {
            Step::Create { files } => {
                for (name, bytes) in files {
                    if name == JOB {
                        self.create(bytes).await?;
                        // From now on it can be told whether this process lives.
                        self.put_journal().await?;
                    } else {
                        self.settled = true;
                        self.put(name, bytes.clone()).await?;
                    }
                }
                Ok(())
            }
            Step::Append {
                path,
                frames,
                first,
            } => {
                if *first {
                    self.frames.clear();
                    self.held.journal.clone_from(path);
                }
                self.frames.extend_from_slice(frames);
                self.put_journal().await
            }
            Step::Extract {
                journal,
                status,
                to,
            } => {
                let damaged = |source| StoreError::Journal {
                    path: self.folder.path(JOURNAL),
                    source,
                };
                let mut rows = Vec::new();
                if self.held.journal == *journal {
                    let written = journal::extract(&self.frames[..], *status, &mut rows);
                    // Memory takes whatever is written.
                    written.map_or(Ok(0), |read| read.map_err(damaged))?;
                }
                self.put(to, rows).await
            }
            Step::Cut { from, to } => {
                let path = self.folder.path(from);
                let Some(failed) = self.folder.get(from).await? else {
                    return Err(StoreError::Gone { path });
                };
                let mut rows = Vec::new();
                cut(&failed.bytes[..], &mut rows)
                    .unwrap_or(Ok(()))
                    .map_err(|source| StoreError::FailedRows { path, source })?;
                self.put(to, rows).await
            }
            Step::Replace { path, bytes } => self.put(path, bytes.clone()).await,
            // Emptied: to write reports takes no right to delete.
            Step::Remove { path, .. } if *path == self.held.journal => {
                if self.frames.is_empty() {
                    return Ok(());
                }
                self.frames.clear();
                self.put_journal().await
            }
            Step::Remove { path, late } => {
                let there = self.known.get(path).is_some_and(|known| known.bytes > 0);
                if !there && !late {
                    return Ok(());
                }
                self.put(path, Vec::new()).await
            }
        }
    }
}
