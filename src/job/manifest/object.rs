//! A manifest's file as an object in S3: pinned by its ETag, read in blocks.
//!
//! A block whose connection breaks is asked for again, so that a file of gigabytes survives faults, and
//! what is in memory does not depend on its size. Reading blocks: never on the thread of the requests.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use s3haul_s3::{GetObject, HeadObject, OnDoubt, Operation, Requests, S3Client, S3Error, Tally};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{ManifestError, ManifestFile};
use crate::job::access::Connection;

/// What one request reads.
const BLOCK_BYTES: u64 = 1 << 20;
/// Blocks that are asked for before they are needed.
const AHEAD: u64 = 3;
/// Blocks in memory besides those: the columns of a Parquet file are read in turn, each from its own.
const KEPT: usize = 24;

/// An object, as it was when it was looked at.
#[derive(Debug, Clone)]
pub(super) struct Object(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    asked: Asked,
    runtime: Handle,
    stop: CancellationToken,
    blocks: Mutex<Blocks>,
}

/// What is asked for.
#[derive(Debug, Clone)]
struct Asked {
    client: S3Client,
    requests: Requests,
    bucket: String,
    key: String,
    e_tag: String,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Blocks {
    /// The last ones that came.
    kept: VecDeque<(u64, Bytes)>,
    /// Numbers of those that are on their way.
    asked: BTreeSet<u64>,
    coming: JoinSet<(u64, s3haul_s3::Result<Bytes>)>,
}

impl Object {
    /// Looks at an object. Not on a thread of the runtime.
    pub(super) fn look(
        connection: &Connection,
        bucket: &str,
        key: &str,
        stop: &CancellationToken,
    ) -> Result<Self, ManifestError> {
        let runtime = Handle::current();
        let requests = connection.requests().clone();
        let looked = stop.run_until_cancelled(async {
            let client = connection.manifest(bucket).await?;
            let request = HeadObject {
                bucket,
                key,
                version_id: None,
                part_number: None,
                headers: &[],
            };
            let (mut tally, operation) = (Tally::default(), Operation::HeadObject);
            let head = requests
                .send_uncounted(&mut tally, operation, None, OnDoubt::Resend, || {
                    client.head_object(request)
                })
                .await;
            Ok::<_, ManifestError>((client, head))
        });
        let looked = runtime.block_on(looked);
        let (client, head) = looked.ok_or(ManifestError::Stopped)??;
        let head = head.map_err(|source| ManifestError::Object {
            path: ManifestFile::address(bucket, key),
            source: Box::new(source),
        })?;
        let asked = Asked {
            client,
            requests,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            e_tag: head.e_tag,
            bytes: head.bytes,
        };
        Ok(Self(Arc::new(Inner {
            asked,
            runtime,
            stop: stop.clone(),
            blocks: Mutex::default(),
        })))
    }

    pub(super) fn e_tag(&self) -> &str {
        &self.0.asked.e_tag
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.asked.bytes
    }

    /// Up to `most` bytes from `at` on, as many as lie together; none at the end.
    pub(super) fn some_at(&self, at: u64, most: usize) -> io::Result<Bytes> {
        if at >= self.bytes() || most == 0 {
            return Ok(Bytes::new());
        }
        let block = self.block(at / BLOCK_BYTES)?;
        let from = usize::try_from(at % BLOCK_BYTES).unwrap_or(usize::MAX);
        let to = block.len().min(from.saturating_add(most));
        Ok(block.slice(from.min(to)..to))
    }

    /// A block, and those behind it asked for.
    fn block(&self, number: u64) -> io::Result<Bytes> {
        let Inner {
            asked,
            runtime,
            stop,
            blocks,
        } = &*self.0;
        let mut blocks = blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = &mut *blocks;
        let last = asked.bytes.saturating_sub(1) / BLOCK_BYTES;
        for wanted in number..=last.min(number + AHEAD) {
            let here = blocks.kept.iter().any(|(kept, _)| *kept == wanted);
            if !here && blocks.asked.insert(wanted) {
                blocks.coming.spawn_on(asked.clone().get(wanted), runtime);
            }
        }
        loop {
            if let Some((_, block)) = blocks.kept.iter().find(|(kept, _)| *kept == number) {
                return Ok(block.clone());
            }
            let coming = stop.run_until_cancelled(blocks.coming.join_next());
            let (came, block) = match runtime.block_on(coming) {
                Some(Some(Ok(came))) => came,
                Some(Some(Err(panic))) => return Err(io::Error::other(panic)),
                Some(None) => return Err(io::Error::other("a block was never asked for")),
                None => return Err(io::Error::other(ManifestError::Stopped)),
            };
            blocks.asked.remove(&came);
            match block {
                Ok(block) => blocks.kept.push_back((came, block)),
                Err(error) if came == number => return Err(self.failed(error)),
                // It is asked for again once it is needed.
                Err(_) => {}
            }
            if blocks.kept.len() > KEPT {
                blocks.kept.pop_front();
            }
        }
    }

    fn failed(&self, error: S3Error) -> io::Error {
        let Asked {
            bucket, key, e_tag, ..
        } = &self.0.asked;
        if error.status == Some(412) {
            return io::Error::other(ManifestError::Changed {
                path: ManifestFile::address(bucket, key),
                found: "another one".to_owned(),
                expected: e_tag.clone(),
            });
        }
        io::Error::other(error)
    }
}

impl Asked {
    async fn get(self, number: u64) -> (u64, s3haul_s3::Result<Bytes>) {
        let first = number * BLOCK_BYTES;
        let end = (first + BLOCK_BYTES).min(self.bytes);
        let request = GetObject {
            bucket: &self.bucket,
            key: &self.key,
            version_id: None,
            range: (first, end.saturating_sub(1)),
            if_match: Some(&self.e_tag),
            headers: &[],
        };
        let (mut tally, operation) = (Tally::default(), Operation::GetObject);
        let (bytes, resend) = (Some(end - first), OnDoubt::Resend);
        let get = || self.client.get_object(request);
        let sent = self
            .requests
            .send_uncounted(&mut tally, operation, bytes, resend, get)
            .await;
        (number, sent.map(Bytes::from))
    }
}

/// Reads an object from a byte on.
#[derive(Debug)]
pub(super) struct ObjectReader {
    object: Object,
    at: u64,
}

impl ObjectReader {
    pub(super) fn new(object: Object, at: u64) -> Self {
        Self { object, at }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let some = self.object.some_at(self.at, buffer.len())?;
        if let Some(into) = buffer.get_mut(..some.len()) {
            into.copy_from_slice(&some);
        }
        self.at += some.len() as u64;
        Ok(some.len())
    }
}
