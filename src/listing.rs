//! What is in a bucket: a parallel listing, of current objects or of all versions.
//!
//! It starts flat, page after page, and splits the key space where pages say that there is more: see `walk.rs`.

pub mod rows;
mod walk;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use s3haul_s3::{
    HeaderPair, Lane, ListObjects, ListedObject, ListedPage, OnDoubt, Operation, Requests,
    S3Client, S3Error, Tally,
};
use tokio::sync::mpsc;

use self::walk::{Ask, Walk};
use crate::job::manifest::key::encode;

/// Pages asked for at once, at most: each may be a megabyte in memory.
const MAX_ASKED: usize = 64;
/// Pages that wait to be taken before no more are asked for.
const MAX_WAITING: usize = 4;

/// What is listed, and how it is asked for.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Sends, under a throttle of its own.
    pub requests: Requests,
    /// Of the bucket's region.
    pub client: S3Client,
    /// The bucket.
    pub bucket: String,
    /// What keys begin with, one of them.
    pub prefixes: Vec<String>,
    /// All versions and delete markers, not only the current objects.
    pub versions: bool,
    /// Headers of every request.
    pub headers: Vec<HeaderPair>,
    /// Requests in flight at most; with one the listing is not split.
    pub concurrency: usize,
}

/// How far a listing is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Objects, versions and delete markers listed.
    pub listed: AtomicU64,
    /// Rows written.
    pub rows: AtomicU64,
}

/// Why a listing is not whole.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// S3 refused a page, or did not give it.
    #[error("cannot list the bucket {bucket}")]
    Page {
        /// The bucket.
        bucket: String,
        /// Its answer.
        source: Box<S3Error>,
    },
    /// The store does not list keys in the order of their bytes.
    #[error(
        "the bucket {bucket} lists the key {} behind a later one: a listing in parts would lose keys",
        encode(key)
    )]
    Order {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// Nobody takes the pages any more.
    #[error("the listing was stopped")]
    Stopped,
}

impl Listing {
    /// Hands each object, or each version, to `pages` exactly once, in no order.
    ///
    /// # Errors
    /// A page is refused, or cannot be had in all attempts. What was handed over till then is not all.
    ///
    /// # Cancellation
    /// Dropped, it asks for nothing more.
    pub async fn run(
        &self,
        pages: mpsc::Sender<Vec<ListedObject>>,
        progress: Arc<Progress>,
    ) -> Result<(), ListingError> {
        let most = self.concurrency.min(MAX_ASKED);
        let mut walk = Walk::new(self.prefixes.clone(), !self.versions, most > 1);
        let mut asked = FuturesUnordered::new();
        let mut waiting = VecDeque::new();
        loop {
            let room = most.min(self.requests.throttle().limit() as usize);
            while asked.len() < room && waiting.len() < MAX_WAITING {
                let Some(ask) = walk.next() else { break };
                asked.push(self.ask(ask));
            }
            // What is asked for goes on while nobody takes a page: it would be late otherwise.
            tokio::select! {
                room = pages.reserve(), if !waiting.is_empty() => {
                    let room = room.map_err(|_| ListingError::Stopped)?;
                    if let Some(page) = waiting.pop_front() {
                        room.send(page);
                    }
                }
                Some((ask, answer)) = asked.next() => match answer {
                    Ok(page) => {
                        let objects = self.taken(&mut walk, &ask, page)?;
                        progress.listed.fetch_add(objects.len() as u64, Ordering::Relaxed);
                        if !objects.is_empty() {
                            waiting.push_back(objects);
                        }
                    }
                    Err(error) if walk.failed(&ask) => {
                        tracing::warn!(bucket = self.bucket, %error, "no page behind a key: listing on without splits");
                    }
                    Err(error) => return Err(ListingError::Page {
                        bucket: self.bucket.clone(),
                        source: Box::new(error),
                    }),
                },
                else => return Ok(()),
            }
        }
    }

    fn taken(
        &self,
        walk: &mut Walk,
        ask: &Ask,
        page: ListedPage,
    ) -> Result<Vec<ListedObject>, ListingError> {
        walk.answered(ask, page)
            .map_err(|walk::OutOfOrder(key)| ListingError::Order {
                bucket: self.bucket.clone(),
                key,
            })
    }

    async fn ask(&self, ask: Ask) -> (Ask, s3haul_s3::Result<ListedPage>) {
        let request = ListObjects {
            bucket: &self.bucket,
            prefix: &ask.prefix,
            from: &ask.from,
            headers: &self.headers,
        };
        let mut tally = Tally::default();
        let (lane, resend) = (Lane::Small, OnDoubt::Resend);
        let answer = if self.versions {
            let send = || self.client.list_object_versions(request);
            let operation = Operation::ListObjectVersions;
            let sent = self
                .requests
                .send(&mut tally, lane, operation, None, resend, send);
            sent.await
        } else {
            let send = || self.client.list_objects_v2(request);
            let operation = Operation::ListObjectsV2;
            let sent = self
                .requests
                .send(&mut tally, lane, operation, None, resend, send);
            sent.await
        };
        (ask, answer)
    }
}
