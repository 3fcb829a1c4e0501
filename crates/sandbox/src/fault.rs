//! Faults as data: which requests they hit, and what happens to those.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::operation::Operation;

/// A fault on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The operation that it hits; every one when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The keys that it hits; every one when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyFilter>,
    /// The query parameter that a request must have; any or none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Which of the requests that fit, counted from 1; every one by default.
    #[serde(default)]
    pub when: When,
    /// What happens to them.
    pub kind: FaultKind,
}

/// Which keys a fault hits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyFilter {
    /// This key.
    Exact(String),
    /// Keys with this in them.
    Contains(String),
}

/// Which of the requests that fit a fault it hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// All.
    #[default]
    Every,
    /// The n-th, from 1.
    Nth(u64),
    /// The first n.
    First(u64),
    /// From the first number to the second, both included, from 1.
    FromTo(u64, u64),
    /// Each by chance, the same ones for the same seed.
    Probability {
        /// From 0 to 1.
        p: f64,
        /// What the chances are made of.
        seed: u64,
    },
}

impl When {
    /// Whether the n-th request, from 1, is hit.
    pub fn hits(self, n: u64) -> bool {
        match self {
            Self::Every => true,
            Self::Nth(nth) => n == nth,
            Self::First(last) => n <= last,
            Self::FromTo(first, last) => (first..=last).contains(&n),
            Self::Probability { p, seed } => {
                fastrand::Rng::with_seed(crate::store::content::mix(seed ^ n)).f64() < p
            }
        }
    }
}

/// What happens to a request that a fault hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The connection is closed before the request's body is read. Without an operation and a key, it is closed as
    /// soon as it is accepted, and connections are what is counted.
    Refuse,
    /// The connection is reset (RST) after the request's head, before anything is done.
    Reset,
    /// Nothing is ever answered, nothing is done; it ends when the client goes.
    Hang,
    /// The work is done and the answer's headers are sent, then half of its body, then the connection closes.
    CutBody,
    /// 200 with an `<Error>` of this code; the work is not done.
    ErrorInOk(String),
    /// 200 with an `<Error>` of this code; the work is done.
    ErrorInOkAfterWork(String),
    /// The work is done; the answer's ETag is empty.
    EmptyETag,
    /// An error answer; the work is not done.
    Error {
        /// The HTTP status.
        status: u16,
        /// S3's code.
        code: String,
        /// The message; some words of the sandbox's by default.
        #[serde(default)]
        message: String,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// 503 SlowDown for requests above a rate: a token bucket with a tenth of a second's burst, at least one.
    /// Only refusals count as hits.
    SlowDownAbove {
        /// The rate.
        requests_per_second: f64,
    },
    /// The work begins after so many milliseconds. Other faults may follow.
    Latency(u64),
    /// 400 ExpiredToken; the work is not done.
    ExpireToken,
    /// The work is done, then the connection closes without an answer.
    AnswerLost,
    /// The work is done when the fault is removed, also if the client has gone meanwhile: a request that was on
    /// its way for long.
    Hold,
    /// The work is done and 200 is sent at once, with white space for a while before the XML, as S3 keeps long
    /// requests alive. Answers that are not XML with 200 are left as they are.
    Trickle {
        /// Milliseconds between spaces.
        every_ms: u64,
        /// How many spaces.
        spaces: u32,
    },
}

impl FaultKind {
    /// Names the kind as the request log does.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::Hang => "hang",
            Self::CutBody => "cut_body",
            Self::ErrorInOk(_) => "error_in_ok",
            Self::ErrorInOkAfterWork(_) => "error_in_ok_after_work",
            Self::EmptyETag => "empty_e_tag",
            Self::Error { .. } => "error",
            Self::SlowDownAbove { .. } => "slow_down_above",
            Self::Latency(_) => "latency",
            Self::ExpireToken => "expire_token",
            Self::AnswerLost => "answer_lost",
            Self::Hold => "hold",
            Self::Trickle { .. } => "trickle",
        }
    }

    /// 503 SlowDown, as S3 words it.
    pub fn slow_down() -> Self {
        Self::Error {
            status: 503,
            code: "SlowDown".to_owned(),
            message: "Please reduce your request rate.".to_owned(),
            retry_after: None,
        }
    }

    /// 500 InternalError, as S3 words it.
    pub fn internal_error() -> Self {
        Self::Error {
            status: 500,
            code: "InternalError".to_owned(),
            message: "We encountered an internal error. Please try again.".to_owned(),
            retry_after: None,
        }
    }
}

impl Fault {
    /// A fault on every request of an operation.
    pub fn on(operation: Operation, kind: FaultKind) -> Self {
        Self {
            operation: Some(operation),
            key: None,
            parameter: None,
            when: When::Every,
            kind,
        }
    }

    /// A fault on every request.
    pub fn on_all(kind: FaultKind) -> Self {
        Self {
            operation: None,
            key: None,
            parameter: None,
            when: When::Every,
            kind,
        }
    }

    /// Limits it to some of the requests that fit.
    #[must_use]
    pub fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    /// Limits it to one key.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self {
            key: Some(KeyFilter::Exact(key.into())),
            ..self
        }
    }

    /// Limits it to keys with this in them.
    #[must_use]
    pub fn key_contains(self, part: impl Into<String>) -> Self {
        Self {
            key: Some(KeyFilter::Contains(part.into())),
            ..self
        }
    }

    /// Limits it to requests with a query parameter, such as those of a listing that begin behind a key.
    #[must_use]
    pub fn with_parameter(self, name: impl Into<String>) -> Self {
        Self {
            parameter: Some(name.into()),
            ..self
        }
    }

    fn is_at_accept(&self) -> bool {
        self.kind == FaultKind::Refuse
            && self.operation.is_none()
            && self.key.is_none()
            && self.parameter.is_none()
    }

    fn fits(&self, operation: Operation, key: &str, query: &[(String, String)]) -> bool {
        let has = |wanted: &String| query.iter().any(|(name, _)| name == wanted);
        !self.is_at_accept()
            && self.parameter.as_ref().is_none_or(has)
            && self.operation.is_none_or(|wanted| wanted == operation)
            && match &self.key {
                None => true,
                Some(KeyFilter::Exact(wanted)) => key == wanted,
                Some(KeyFilter::Contains(part)) => key.contains(part.as_str()),
            }
    }
}

/// The faults of a sandbox. Cheap to clone; all clones are the same faults.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<RwLock<Vec<Arc<Active>>>>);

#[derive(Debug)]
struct Active {
    fault: Fault,
    /// Requests that fit.
    seen: AtomicU64,
    hits: AtomicU64,
    removed: AtomicBool,
    /// Closed when it is removed: what is held goes on.
    held: Semaphore,
    bucket: Mutex<TokenBucket>,
}

/// A fault that was added: what it did so far.
#[derive(Clone, Debug)]
pub struct FaultHandle(Arc<Active>);

impl PartialEq for FaultHandle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl FaultHandle {
    /// How many requests it hit.
    pub fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// How many requests fitted its operation and key, hit or not.
    pub fn seen(&self) -> u64 {
        self.0.seen.load(Ordering::SeqCst)
    }

    /// Ends it; what it holds goes on.
    pub fn remove(&self) {
        self.0.removed.store(true, Ordering::SeqCst);
        self.0.held.close();
    }

    /// Waits until it is removed.
    pub(crate) async fn removed(&self) {
        let _ = self.0.held.acquire().await;
    }
}

impl Faults {
    /// Adds a fault. Those added first are asked first; the first that hits, latencies aside, is the only one.
    pub fn add(&self, fault: Fault) -> FaultHandle {
        let active = Arc::new(Active {
            fault,
            seen: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            held: Semaphore::new(0),
            bucket: Mutex::default(),
        });
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&active));
        FaultHandle(active)
    }

    /// Ends all faults.
    pub fn clear(&self) {
        for active in self
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            FaultHandle(active).remove();
        }
    }

    /// Whether the next connection is closed at once.
    pub(crate) fn refuses_connection(&self) -> bool {
        self.active()
            .iter()
            .filter(|active| active.fault.is_at_accept())
            .any(|active| active.hit())
    }

    /// What happens to a request: milliseconds of delay, then perhaps one other kind.
    pub(crate) fn decide(
        &self,
        operation: Operation,
        key: &str,
        query: &[(String, String)],
    ) -> Fate {
        let mut fate = Fate::default();
        for active in self
            .active()
            .iter()
            .filter(|active| active.fault.fits(operation, key, query))
        {
            match &active.fault.kind {
                FaultKind::Latency(milliseconds) => {
                    if active.hit() {
                        fate.delay += Duration::from_millis(*milliseconds);
                    }
                }
                _ if fate.kind.is_some() => {}
                kind => {
                    if active.hit() {
                        fate.kind = Some(kind.clone());
                        fate.held =
                            (*kind == FaultKind::Hold).then(|| FaultHandle(Arc::clone(active)));
                    }
                }
            }
        }
        fate
    }

    fn active(&self) -> Vec<Arc<Active>> {
        let faults = self.0.read().unwrap_or_else(PoisonError::into_inner);
        faults
            .iter()
            .filter(|active| !active.removed.load(Ordering::SeqCst))
            .cloned()
            .collect()
    }
}

/// What the faults have in store for a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fate {
    pub(crate) delay: Duration,
    pub(crate) kind: Option<FaultKind>,
    /// The fault that holds it.
    pub(crate) held: Option<FaultHandle>,
}

impl Active {
    fn hit(&self) -> bool {
        let n = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let hit = self.fault.when.hits(n)
            && match self.fault.kind {
                FaultKind::SlowDownAbove {
                    requests_per_second,
                } => {
                    let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
                    !bucket.take(requests_per_second, Instant::now())
                }
                _ => true,
            };
        if hit {
            self.hits.fetch_add(1, Ordering::SeqCst);
        }
        hit
    }
}

/// Lets requests through at a rate.
#[derive(Debug, Default)]
struct TokenBucket {
    tokens: f64,
    last: Option<Instant>,
}

impl TokenBucket {
    fn take(&mut self, per_second: f64, now: Instant) -> bool {
        let burst = (per_second / 10.0).max(1.0);
        self.tokens = match self.last {
            None => burst,
            Some(last) => {
                (self.tokens + now.duration_since(last).as_secs_f64() * per_second).min(burst)
            }
        };
        self.last = Some(now);
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when() {
        for (when, expected) in [
            (When::Every, "xxxxxx"),
            (When::Nth(3), "--x---"),
            (When::First(2), "xx----"),
            (When::FromTo(2, 4), "-xxx--"),
            (When::FromTo(5, 100), "----xx"),
            (When::Probability { p: 0.0, seed: 1 }, "------"),
            (When::Probability { p: 1.0, seed: 1 }, "xxxxxx"),
        ] {
            let hits: String = (1..=6)
                .map(|n| if when.hits(n) { 'x' } else { '-' })
                .collect();
            assert_eq!(hits, expected, "{when:?}");
        }
        let chance = When::Probability { p: 0.25, seed: 9 };
        let hits = (1..=4000).filter(|n| chance.hits(*n)).count();
        assert!((800..1200).contains(&hits), "{hits}");
        assert_eq!(hits, (1..=4000).filter(|n| chance.hits(*n)).count());
    }

    #[test]
    fn faults_count_what_fits_and_what_they_hit() {
        let faults = Faults::default();
        let reset = faults.add(
            Fault::on(Operation::CopyObject, FaultKind::Reset)
                .key_contains("b")
                .when(When::Nth(2)),
        );
        let slow = faults.add(Fault::on_all(FaultKind::Latency(5)));
        let fates: Vec<Fate> = ["a", "b1", "b2", "b3"]
            .map(|key| faults.decide(Operation::CopyObject, key, &[]))
            .to_vec();
        assert_eq!(fates[2].kind, Some(FaultKind::Reset));
        assert!(
            fates
                .iter()
                .all(|fate| fate.delay == Duration::from_millis(5))
        );
        assert_eq!(fates.iter().filter(|fate| fate.kind.is_some()).count(), 1);
        assert_eq!((reset.seen(), reset.hits(), slow.hits()), (3, 1, 4));
        reset.remove();
        assert_eq!(faults.decide(Operation::CopyObject, "b", &[]).kind, None);
    }

    #[test]
    fn a_fault_fits_by_a_query_parameter() {
        let faults = Faults::default();
        let refused = Fault::on(Operation::ListObjectsV2, FaultKind::Reset);
        faults.add(refused.with_parameter("start-after"));
        let of = |name: &str| {
            let query = [(name.to_owned(), "x".to_owned())];
            faults.decide(Operation::ListObjectsV2, "", &query).kind
        };
        assert_eq!(of("start-after"), Some(FaultKind::Reset));
        assert_eq!(of("prefix"), None);
    }

    #[test]
    fn a_rate_is_held() {
        let mut bucket = TokenBucket::default();
        let start = Instant::now();
        let through = (0..1000)
            .filter(|n| bucket.take(100.0, start + Duration::from_millis(*n)))
            .count();
        assert!((105..=110).contains(&through), "{through}");
    }

    #[test]
    fn a_refusal_of_everything_is_at_accept() {
        let faults = Faults::default();
        let refuse = faults.add(Fault::on_all(FaultKind::Refuse).when(When::First(1)));
        assert_eq!(faults.decide(Operation::CopyObject, "k", &[]).kind, None);
        assert!(faults.refuses_connection());
        assert!(!faults.refuses_connection());
        assert_eq!(refuse.hits(), 1);
    }

    #[test]
    fn faults_are_read_from_json() {
        let faults: Vec<Fault> = serde_json::from_str(
            r#"[{"operation": "CopyObject", "key": {"contains": "x"}, "when": {"first": 3}, "kind": "reset"},
                {"kind": {"error": {"status": 503, "code": "SlowDown", "retry_after": 1}}},
                {"operation": "UploadPartCopy", "when": {"from_to": [2, 4]}, "kind": {"error_in_ok": "InternalError"}},
                {"when": {"probability": {"p": 0.1, "seed": 1}}, "kind": {"latency": 20}}]"#,
        )
        .expect("faults");
        assert_eq!(
            faults[0],
            Fault::on(Operation::CopyObject, FaultKind::Reset)
                .key_contains("x")
                .when(When::First(3))
        );
        assert_eq!(faults[2].when, When::FromTo(2, 4));
    }
}
