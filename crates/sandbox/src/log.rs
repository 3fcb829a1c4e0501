//! What was asked of the server, and what it answered.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use hyper::HeaderMap;
use serde::Serialize;
use tokio::sync::Notify;

use crate::exchange::Exchange;
use crate::operation::Operation;

/// Headers that are credentials, or say nothing.
const SILENT: [&str; 4] = [
    "x-amz-security-token",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-user-agent",
];

/// A request, as it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Its place among all requests, from 1, in the order of arrival.
    pub number: u64,
    /// When it arrived: milliseconds after the first request.
    pub arrived_ms: u64,
    /// What it was.
    pub operation: Operation,
    /// Its bucket; empty when it names none.
    pub bucket: String,
    /// Its key; empty when it names none.
    pub key: String,
    /// Query parameters that say what it is about: `uploadId`, `partNumber`, `versionId`, markers and the like.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Its `x-amz-*` and `if-*` headers and `range`, names in lower case; no credentials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The ARN of whoever's access key it names, right signature or not.
    pub principal: Option<String>,
    /// The status; none when nothing was answered.
    pub status: Option<u16>,
    /// The code of the error, of one in a 200 too.
    pub error_code: Option<String>,
    /// The kind of fault that hit it.
    pub fault: Option<String>,
    /// `x-amz-request-id`.
    pub request_id: String,
    /// Requests in flight when it arrived, itself included.
    pub in_flight: usize,
}

impl LogEntry {
    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// The part number of an upload of a part.
    pub fn part_number(&self) -> Option<u32> {
        self.parameter("partNumber")?.parse().ok()
    }
}

/// The requests that a sandbox has ended, in the order of their ends. Cheap to clone; all clones are the same log.
#[derive(Clone, Debug, Default)]
pub struct RequestLog(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    off: AtomicBool,
    keeps_none: AtomicBool,
    first: OnceLock<Instant>,
    arrived: AtomicU64,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
    entries: Mutex<Vec<LogEntry>>,
    sink: Mutex<Option<Sink>>,
    changed: Notify,
}

struct Sink(Box<dyn Write + Send>);

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

impl RequestLog {
    /// All entries since the last [`clear`](Self::clear).
    pub fn entries(&self) -> Vec<LogEntry> {
        self.lock().clone()
    }

    /// The entries of one operation.
    pub fn of(&self, operation: Operation) -> Vec<LogEntry> {
        self.lock()
            .iter()
            .filter(|entry| entry.operation == operation)
            .cloned()
            .collect()
    }

    /// How many requests of one operation ended.
    pub fn count(&self, operation: Operation) -> usize {
        self.lock()
            .iter()
            .filter(|entry| entry.operation == operation)
            .count()
    }

    /// Forgets the entries and the largest number in flight.
    pub fn clear(&self) {
        self.lock().clear();
        self.0
            .max_in_flight
            .store(self.0.in_flight.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// How many requests arrived since the start, logged or not.
    pub fn arrived(&self) -> u64 {
        self.0.arrived.load(Ordering::SeqCst)
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::SeqCst)
    }

    /// The largest number of requests in flight at once since the last [`clear`](Self::clear), logged or not.
    pub fn max_in_flight(&self) -> usize {
        self.0.max_in_flight.load(Ordering::SeqCst)
    }

    /// Writes entries to the sink only, and keeps none.
    pub fn keep_none(&self) {
        self.0.keeps_none.store(true, Ordering::SeqCst);
    }

    /// Stops keeping and writing entries, for runs of millions; numbers in flight are still counted.
    pub fn switch_off(&self) {
        self.0.off.store(true, Ordering::SeqCst);
    }

    /// Keeps entries again.
    pub fn switch_on(&self) {
        self.0.off.store(false, Ordering::SeqCst);
    }

    /// Writes each entry to `sink` as well, as a line of JSON, flushed.
    pub fn write_to(&self, sink: impl Write + Send + 'static) {
        *self.0.sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(Sink(Box::new(sink)));
    }

    /// Waits until the entries satisfy a test; returns at once if they do.
    ///
    /// # Cancellation
    /// Dropping the future only ends the wait.
    pub async fn wait_until(&self, mut test: impl FnMut(&[LogEntry]) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if test(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn has_sink(&self) -> bool {
        self.0
            .sink
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<LogEntry>> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an arrival.
    pub(crate) fn arrive(&self) -> InFlight {
        let elapsed = self.0.first.get_or_init(Instant::now).elapsed();
        let number = self.0.arrived.fetch_add(1, Ordering::SeqCst) + 1;
        let in_flight = self.0.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.max_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        InFlight {
            log: self.clone(),
            number,
            arrived_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            in_flight,
            entry: None,
        }
    }
}

/// A request from its arrival to its end; what ends without an answer is logged without a status.
pub(crate) struct InFlight {
    log: RequestLog,
    pub(crate) number: u64,
    arrived_ms: u64,
    in_flight: usize,
    entry: Option<Box<LogEntry>>,
}

impl InFlight {
    /// Begins the entry.
    pub(crate) fn describe(&mut self, exchange: &Exchange, headers: &HeaderMap) {
        let (off, keeps_none) = (&self.log.0.off, &self.log.0.keeps_none);
        if off.load(Ordering::Relaxed)
            || (keeps_none.load(Ordering::Relaxed) && !self.log.has_sink())
        {
            return;
        }
        let headers = headers
            .iter()
            .filter(|(name, _)| {
                let name = name.as_str();
                (name.starts_with("x-amz-") || name.starts_with("if-") || name == "range")
                    && !SILENT.contains(&name)
                    && !name.ends_with("-customer-key")
            })
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        let query = exchange
            .query
            .iter()
            .filter(|(name, _)| !name.starts_with("X-Amz-") && name != "x-id")
            .cloned()
            .collect();
        self.entry = Some(Box::new(LogEntry {
            number: self.number,
            arrived_ms: self.arrived_ms,
            operation: exchange.operation,
            bucket: exchange.bucket.clone(),
            key: exchange.key.clone(),
            query,
            headers,
            principal: exchange
                .identity
                .as_ref()
                .map(|identity| identity.principal.arn()),
            status: None,
            error_code: None,
            fault: None,
            request_id: exchange.request_id.clone(),
            in_flight: self.in_flight,
        }));
    }

    pub(crate) fn fault(&mut self, name: &str) {
        if let Some(entry) = &mut self.entry {
            entry.fault = Some(name.to_owned());
        }
    }

    pub(crate) fn answered(&mut self, status: u16, error_code: Option<String>) {
        if let Some(entry) = &mut self.entry {
            entry.status = Some(status);
            entry.error_code = error_code;
        }
    }

    /// Writes the entry now: of an answer before it is sent, so that who has the answer sees the entry.
    pub(crate) fn write(&mut self) {
        let Some(entry) = self.entry.take() else {
            return;
        };
        if let Some(Sink(sink)) = &mut *self
            .log
            .0
            .sink
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            && let Ok(mut line) = serde_json::to_vec(&entry)
        {
            line.push(b'\n');
            if let Err(error) = sink.write_all(&line).and_then(|()| sink.flush()) {
                tracing::warn!(%error, "cannot write the request log");
            }
        }
        if !self.log.0.keeps_none.load(Ordering::Relaxed) {
            self.log.lock().push(*entry);
        }
        self.log.0.changed.notify_waiters();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.write();
        self.log.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.log.0.changed.notify_waiters();
    }
}
