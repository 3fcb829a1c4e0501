//! The one place that retries.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::credentials::Credentials;
use crate::error::{ErrorKind, Result, S3Error};
use crate::operation::{Operation, attempt_timeout};
use crate::retry::{Class, RetryOptions, back_off};
use crate::throttle::{Lane, Permit, Throttle};

/// How often one request may find its credentials expired before that is taken for its answer.
const MAX_RENEWALS: u32 = 3;

/// A time-out that is noticed so late was over while the process did not run.
const WAS_STOPPED: Duration = Duration::from_secs(1);

/// How long answers that came while the process was stopped are waited for.
const UNREAD: Duration = Duration::from_secs(5);

/// What one row has cost so far; reported.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Requests sent.
    pub requests: u64,
    /// Answers that were throttling.
    pub throttled: u64,
    /// The largest number of attempts that one of its requests took.
    pub attempts: u32,
    /// Whether it was in doubt at some time if a write had been carried out.
    pub in_doubt: bool,
    /// Whether one of its writes has put something under its key, or may have.
    pub landed: bool,
}

/// What to do when a write may have been carried out although no answer says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDoubt {
    /// The request is idempotent: send it again.
    Resend,
    /// Hand the doubt back to the caller at once, to settle.
    Return,
}

/// What the process has sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Requests sent, of all kinds but those of STS.
    pub requests: u64,
    /// Answers that were throttling.
    pub throttled: u64,
    /// Answers that were results.
    pub successes: u64,
}

/// Sends requests until they are answered for good. Clones share totals, throttle and credentials.
///
/// Each attempt goes: credentials ready, permit, rate token, send with a time-out, classify; then, if it is
/// worth another attempt, a back-off without the permit.
#[derive(Clone)]
pub struct Requests {
    throttle: Throttle,
    credentials: Credentials,
    retry: Arc<RetryOptions>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    throttled: AtomicU64,
    successes: AtomicU64,
}

/// What one request has behind it.
struct Course {
    operation: Operation,
    timeout: Duration,
    on_doubt: OnDoubt,
    lane: Option<Lane>,
    /// Attempts sent.
    attempts: u32,
    /// Attempts that count.
    counted: u32,
    /// Retryable answers, free ones included: what the back-off grows with.
    failures: u32,
    renewals: u32,
    /// Whether an answer that said nothing was taken for one about our clock.
    clock_suspected: bool,
    /// The successes of the job when this request was last answered, or first sent.
    successes: u64,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("throttle", &self.throttle)
            .field("retry", &self.retry)
            .field("totals", &self.totals())
            .finish_non_exhaustive()
    }
}

impl Requests {
    /// Sends with these credentials, under this throttle.
    pub fn new(throttle: Throttle, credentials: Credentials, retry: RetryOptions) -> Self {
        Self {
            throttle,
            credentials,
            retry: Arc::new(retry),
            counters: Arc::default(),
        }
    }

    /// Sends what `request` makes until it is answered for good, and counts it in `tally`.
    ///
    /// `bytes` is what the request copies, for the time-out of its attempts. `request` is called once an
    /// attempt.
    ///
    /// # Errors
    ///
    /// The last answer, if it is permanent or the attempts are used up; with [`OnDoubt::Return`] the first
    /// one that leaves a write in doubt.
    ///
    /// # Cancellation
    ///
    /// A dropped future gives back its permit and closes its connection. A write may then have been carried out.
    pub async fn send<T, F, Fut>(
        &self,
        tally: &mut Tally,
        lane: Lane,
        operation: Operation,
        bytes: Option<u64>,
        on_doubt: OnDoubt,
        request: F,
    ) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let course = self.course(operation, bytes, on_doubt, Some(lane));
        self.run(tally, course, request).await
    }

    /// As [`send`](Self::send), but past the throttle: for the requests of preflight and report.
    ///
    /// # Errors
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    pub async fn send_uncounted<T, F, Fut>(
        &self,
        tally: &mut Tally,
        operation: Operation,
        bytes: Option<u64>,
        on_doubt: OnDoubt,
        request: F,
    ) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let course = self.course(operation, bytes, on_doubt, None);
        self.run(tally, course, request).await
    }

    /// What has been sent so far.
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            requests: read(&self.counters.requests),
            throttled: read(&self.counters.throttled),
            successes: read(&self.counters.successes),
        }
    }

    /// The same, with at least so many attempts.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        let retry = Arc::make_mut(&mut self.retry);
        retry.max_attempts = retry.max_attempts.max(attempts);
        self
    }

    /// The credentials that requests wait for.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The throttle that requests pass.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    fn course(
        &self,
        operation: Operation,
        bytes: Option<u64>,
        on_doubt: OnDoubt,
        lane: Option<Lane>,
    ) -> Course {
        Course {
            operation,
            timeout: self
                .retry
                .attempt_timeout
                .unwrap_or_else(|| attempt_timeout(operation, bytes)),
            on_doubt,
            lane,
            attempts: 0,
            counted: 0,
            failures: 0,
            renewals: 0,
            clock_suspected: false,
            successes: self.throttle.successes(),
        }
    }

    async fn run<T, F, Fut>(
        &self,
        tally: &mut Tally,
        mut course: Course,
        mut request: F,
    ) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        loop {
            self.credentials.ready().await;
            let permit = match course.lane {
                Some(lane) => Some(self.throttle.acquire(lane).await),
                None => None,
            };
            let generation = self.credentials.generation();
            course.attempts += 1;
            tally.requests += 1;
            tally.attempts = tally.attempts.max(course.attempts);
            self.counters.requests.fetch_add(1, Ordering::Relaxed);
            let answer = answer_within(course.timeout, request()).await;
            let answer = answer.unwrap_or_else(|| Err(timed_out(&course)));
            let class = self.class(&answer, generation, &mut course);
            self.settle_permit(permit, class);
            let error = match answer {
                Ok(result) => {
                    self.counters.successes.fetch_add(1, Ordering::Relaxed);
                    tally.landed |= course.operation.lands();
                    return Ok(result);
                }
                Err(error) => error,
            };
            let wait = self
                .after(tally, &mut course, error, class, generation)
                .await?;
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// What an answer means; none is a result.
    fn class<T>(&self, answer: &Result<T>, generation: u64, course: &mut Course) -> Option<Class> {
        let error = answer.as_ref().err()?;
        // HEAD answers have no body, so that an expired token looks like any other bad request; and stores
        // like S3 forget the key of a session that has ended. Both are taken for an expired token only if our
        // credentials may be the cause: every HEAD may be bad for reasons of its own.
        let unclear = error.kind == ErrorKind::Answered
            && match (error.status, error.code.as_deref()) {
                (Some(400), code) => code.is_none_or(|code| code == "BadRequest"),
                (_, code) => code == Some("InvalidAccessKeyId"),
            };
        if unclear && self.credentials.may_have_expired(generation) {
            return Some(Class::ExpiredToken);
        }
        // Nor does a HEAD say that it was signed by a wrong clock. The client has learnt the
        // right time from the answer: the next one tells, and is believed.
        let bare = error.kind == ErrorKind::Answered && error.code.is_none();
        if bare && error.status == Some(403) && error.clock_is_off() && !course.clock_suspected {
            course.clock_suspected = true;
            return Some(Class::ClockSkew);
        }
        Some(error.class())
    }

    fn settle_permit(&self, permit: Option<Permit>, class: Option<Class>) {
        if class == Some(Class::Throttled) {
            self.counters.throttled.fetch_add(1, Ordering::Relaxed);
        }
        let Some(permit) = permit else { return };
        match class {
            Some(Class::Throttled) => permit.throttled(),
            // "No" is an answer too: a job whose every row is refused or skipped may go fast.
            None | Some(Class::Permanent) => permit.succeeded(),
            Some(Class::Transient | Class::ExpiredToken | Class::ClockSkew) => drop(permit),
        }
    }

    /// Gives the error back if it is for good, else how long to wait before the next attempt.
    async fn after(
        &self,
        tally: &mut Tally,
        course: &mut Course,
        error: S3Error,
        class: Option<Class>,
        generation: u64,
    ) -> Result<Duration> {
        let class = class.unwrap_or(Class::Permanent);
        let in_doubt = course.operation.is_write() && error.is_in_doubt();
        tally.in_doubt |= in_doubt;
        tally.landed |= in_doubt && course.operation.lands();
        if in_doubt && course.on_doubt == OnDoubt::Return {
            return Err(error);
        }
        match class {
            Class::Permanent => return Err(error),
            Class::ExpiredToken => return self.renew(course, error, generation).await,
            Class::Throttled => {
                tally.throttled += 1;
                let successes = self.throttle.successes();
                // Others got through: it is a matter of waiting, not of trying.
                let free = course.lane.is_some() && successes > course.successes;
                course.successes = successes;
                course.counted += u32::from(!free);
            }
            Class::Transient | Class::ClockSkew => {
                course.successes = self.throttle.successes();
                course.counted += 1;
            }
        }
        if course.counted >= self.retry.max_attempts {
            return Err(error);
        }
        course.failures = course.failures.saturating_add(1);
        let jitter = fastrand::f64();
        let wait = back_off(
            &self.retry,
            class,
            course.failures,
            error.retry_after,
            jitter,
        );
        tracing::debug!(
            operation = course.operation.name(),
            attempt = course.attempts,
            ?class,
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            %error,
            "sending again"
        );
        Ok(wait)
    }

    async fn renew(
        &self,
        course: &mut Course,
        mut error: S3Error,
        generation: u64,
    ) -> Result<Duration> {
        course.renewals += 1;
        if course.renewals > MAX_RENEWALS {
            return Err(error);
        }
        match self.credentials.renew(generation).await {
            Ok(()) => Ok(Duration::ZERO),
            Err(cause) => {
                error.source = Some(Box::new(cause));
                Err(error)
            }
        }
    }
}

/// Waits for an answer, none after `limit`.
///
/// A process that was stopped for a while finds its time-outs over and answers that it has not read. These
/// are taken: what was written meanwhile need not be sent again.
async fn answer_within<T>(limit: Duration, request: impl Future<Output = T>) -> Option<T> {
    let mut request = std::pin::pin!(request);
    let sent_at = Instant::now();
    if let Ok(answer) = tokio::time::timeout(limit, &mut request).await {
        return Some(answer);
    }
    if sent_at.elapsed() < limit + WAS_STOPPED {
        return None;
    }
    tokio::time::timeout(UNREAD, request).await.ok()
}

fn timed_out(course: &Course) -> S3Error {
    S3Error::new(
        course.operation,
        ErrorKind::TimedOut,
        format!("no answer in {} s", course.timeout.as_secs_f64()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::{Concurrency, ThrottleOptions};
    use std::collections::VecDeque;
    use std::sync::Mutex;

    fn requests(credentials: Credentials) -> Requests {
        let throttle = Throttle::new(&ThrottleOptions {
            concurrency: Concurrency::Auto { start: 16, max: 16 },
            requests_per_second: None,
        });
        let retry = RetryOptions {
            max_attempts: 4,
            transient_base: Duration::from_millis(1),
            throttled_base: Duration::from_millis(1),
            max_back_off: Duration::from_millis(2),
            attempt_timeout: None,
        };
        Requests::new(throttle, credentials, retry)
    }

    fn answered(status: u16, code: Option<&str>) -> S3Error {
        let mut error = S3Error::new(Operation::CopyObject, ErrorKind::Answered, "");
        error.status = Some(status);
        error.code = code.map(Into::into);
        error
    }

    type Answer = std::result::Result<u8, Box<S3Error>>;

    fn internal() -> Answer {
        Err(Box::new(answered(500, Some("InternalError"))))
    }

    fn slow_down() -> Answer {
        Err(Box::new(answered(503, Some("SlowDown"))))
    }

    fn expired() -> Answer {
        Err(Box::new(answered(400, Some("ExpiredToken"))))
    }

    async fn send(
        requests: &Requests,
        tally: &mut Tally,
        operation: Operation,
        on_doubt: OnDoubt,
        answers: Vec<Answer>,
    ) -> Result<u8> {
        let answers = Mutex::new(VecDeque::from(answers));
        requests
            .send(tally, Lane::Small, operation, None, on_doubt, || async {
                let next = answers.lock().unwrap().pop_front();
                next.expect("more requests than answers")
                    .map_err(|error| *error)
            })
            .await
    }

    #[tokio::test]
    async fn transient_errors_count() {
        let requests = requests(Credentials::fixed());
        let mut tally = Tally::default();
        let write = Operation::CopyObject;
        let answers = vec![internal(), internal(), internal(), Ok(1)];
        let sent = send(&requests, &mut tally, write, OnDoubt::Resend, answers).await;
        assert_eq!(sent.unwrap(), 1);
        let expected = Tally {
            requests: 4,
            throttled: 0,
            attempts: 4,
            in_doubt: true,
            landed: true,
        };
        assert_eq!(tally, expected);

        let answers = vec![internal(), internal(), internal(), internal()];
        let sent = send(&requests, &mut tally, write, OnDoubt::Resend, answers).await;
        assert_eq!(sent.unwrap_err().report_code(), "InternalError");
        assert_eq!((tally.requests, tally.attempts), (8, 4));
        assert_eq!(requests.throttle().in_flight(), 0);
        let expected = Totals {
            requests: 8,
            throttled: 0,
            successes: 1,
        };
        assert_eq!(requests.totals(), expected);
    }

    #[tokio::test]
    async fn a_doubt_is_handed_back() {
        let requests = requests(Credentials::fixed());
        let mut tally = Tally::default();
        let write = Operation::CompleteMultipartUpload;
        // A connection that was refused leaves none.
        let not_sent = Err(Box::new(S3Error::new(write, ErrorKind::NotSent, "")));
        let answers = vec![not_sent, internal()];
        let sent = send(&requests, &mut tally, write, OnDoubt::Return, answers).await;
        assert!(sent.unwrap_err().is_in_doubt());
        assert_eq!((tally.requests, tally.in_doubt), (2, true));

        // Nor does a read.
        let mut tally = Tally::default();
        let read = Operation::HeadObject;
        let answers = vec![internal(), Ok(1)];
        let sent = send(&requests, &mut tally, read, OnDoubt::Return, answers).await;
        assert_eq!(sent.unwrap(), 1);
        assert!(!tally.in_doubt);
    }

    #[tokio::test]
    async fn permanent_errors_are_not_sent_again() {
        let requests = requests(Credentials::fixed());
        let mut tally = Tally::default();
        let answers = vec![Err(Box::new(answered(403, Some("AccessDenied"))))];
        let sent = send(
            &requests,
            &mut tally,
            Operation::CopyObject,
            OnDoubt::Resend,
            answers,
        );
        assert!(sent.await.unwrap_err().is_access_refusal());
        assert_eq!(tally.requests, 1);
        // "No" is an answer too.
        assert_eq!(requests.throttle().successes(), 1);
    }

    #[tokio::test]
    async fn throttling_counts_only_if_nobody_gets_through() {
        let requests = requests(Credentials::fixed());
        let mut tally = Tally::default();
        let write = Operation::CopyObject;
        let answers = (0..4).map(|_| slow_down()).collect();
        let sent = send(&requests, &mut tally, write, OnDoubt::Resend, answers).await;
        assert_eq!(sent.unwrap_err().report_code(), "SlowDown");
        assert_eq!((tally.requests, tally.throttled), (4, 4));
        assert!(!tally.in_doubt);
        assert_eq!(requests.totals().throttled, 4);

        let throttle = requests.throttle();
        let mut tally = Tally::default();
        let mut answers = 0;
        let mut others = tokio::task::JoinSet::new();
        let request = || {
            answers += 1;
            let answer = if answers <= 20 { slow_down() } else { Ok(7) };
            // Another request of the job, which succeeds before this one is answered.
            let throttle = throttle.clone();
            others.spawn(async move {
                throttle.acquire(Lane::Small).await.succeeded();
            });
            async move {
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                answer.map_err(|error| *error)
            }
        };
        let (small, resend) = (Lane::Small, OnDoubt::Resend);
        let sent = requests
            .send(&mut tally, small, write, None, resend, request)
            .await;
        assert_eq!(sent.unwrap(), 7);
        assert_eq!(
            (tally.requests, tally.throttled, tally.attempts),
            (21, 20, 21)
        );
    }

    #[tokio::test]
    async fn throttling_counts_past_the_throttle() {
        let requests = requests(Credentials::fixed());
        let mut tally = Tally::default();
        // All permits are given, and it waits for none.
        let mut held = Vec::new();
        for _ in 0..requests.throttle().limit() {
            held.push(requests.throttle().acquire(Lane::Small).await);
        }
        let sent = requests
            .send_uncounted(
                &mut tally,
                Operation::HeadBucket,
                None,
                OnDoubt::Resend,
                || async { slow_down().map_err(|error| *error) },
            )
            .await;
        assert!(sent.is_err());
        assert_eq!(tally.requests, 4);
    }

    fn keys(name: &str) -> aws_credential_types::Credentials {
        aws_credential_types::Credentials::new(name, "secret", None, None, "test")
    }

    #[tokio::test]
    async fn an_expired_token_is_renewed_and_does_not_count() {
        let credentials =
            Credentials::given(keys("A"), ["D", "C", "B"].map(|name| Ok(keys(name))).into());
        let requests = requests(credentials.clone());
        let mut tally = Tally::default();
        let write = Operation::CopyObject;
        let answers = vec![
            expired(),
            internal(),
            expired(),
            internal(),
            expired(),
            Ok(1),
        ];
        let sent = send(&requests, &mut tally, write, OnDoubt::Resend, answers).await;
        assert_eq!(sent.unwrap(), 1);
        assert_eq!(credentials.generation(), 3);
        assert_eq!(tally.requests, 6);

        // No more to be had.
        let sent = send(
            &requests,
            &mut tally,
            write,
            OnDoubt::Resend,
            vec![expired()],
        )
        .await;
        let error = sent.unwrap_err();
        assert_eq!(error.report_code(), "ExpiredToken");
        assert!(error.source.is_some());
    }

    #[tokio::test]
    async fn a_token_that_is_always_expired_is_an_answer() {
        let next = ["E", "D", "C", "B"].map(|name| Ok(keys(name))).into();
        let credentials = Credentials::given(keys("A"), next);
        let requests = requests(credentials.clone());
        let mut tally = Tally::default();
        let answers = (0..4).map(|_| expired()).collect();
        let write = Operation::CopyObject;
        let sent = send(&requests, &mut tally, write, OnDoubt::Resend, answers).await;
        assert_eq!(sent.unwrap_err().report_code(), "ExpiredToken");
        assert_eq!(credentials.generation(), u64::from(MAX_RENEWALS));
    }

    #[tokio::test]
    async fn a_bodiless_400_may_be_an_expired_token() {
        let ended = aws_credential_types::Credentials::new(
            "A",
            "secret",
            None,
            Some(std::time::SystemTime::now()),
            "test",
        );
        let credentials = Credentials::given(ended, vec![Ok(keys("B"))]);
        let requests = requests(credentials.clone());
        let mut tally = Tally::default();
        let read = Operation::HeadObject;
        let bad = || Err(Box::new(answered(400, None)));
        let sent = send(
            &requests,
            &mut tally,
            read,
            OnDoubt::Resend,
            vec![bad(), Ok(1)],
        )
        .await;
        assert_eq!(sent.unwrap(), 1);
        assert_eq!(credentials.generation(), 1);
        // The new ones do not end.
        let sent = send(&requests, &mut tally, read, OnDoubt::Resend, vec![bad()]).await;
        assert_eq!(sent.unwrap_err().report_code(), "BadRequest");
    }

    #[tokio::test]
    async fn a_key_that_nobody_knows_may_be_of_a_session_that_has_ended() {
        let ended = aws_credential_types::Credentials::new(
            "A",
            "secret",
            None,
            Some(std::time::SystemTime::now()),
            "test",
        );
        let credentials = Credentials::given(ended, vec![Ok(keys("B"))]);
        let requests = requests(credentials.clone());
        let mut tally = Tally::default();
        let unknown = || Err(Box::new(answered(403, Some("InvalidAccessKeyId"))));
        let write = Operation::CopyObject;
        let answers = vec![unknown(), Ok(1)];
        let sent = send(&requests, &mut tally, write, OnDoubt::Resend, answers).await;
        assert_eq!((sent.unwrap(), credentials.generation()), (1, 1));
        // The new ones do not end: now it is an answer.
        let answers = vec![unknown()];
        let sent = send(&requests, &mut tally, write, OnDoubt::Resend, answers).await;
        assert_eq!(sent.unwrap_err().report_code(), "InvalidAccessKeyId");
    }

    #[tokio::test]
    async fn a_dropped_request_gives_its_permit_back() {
        let requests = requests(Credentials::fixed());
        let mut tally = Tally::default();
        {
            let mut sent = Box::pin(requests.send(
                &mut tally,
                Lane::Small,
                Operation::CopyObject,
                None,
                OnDoubt::Resend,
                std::future::pending::<Result<()>>,
            ));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(sent.as_mut().poll(&mut context).is_pending());
            assert_eq!(requests.throttle().in_flight(), 1);
        }
        assert_eq!(requests.throttle().in_flight(), 0);
    }

    #[test]
    fn futures_can_move_between_threads() {
        fn is_send<T: Send>(_: &T) {}
        let requests = requests(Credentials::fixed());
        let mut tally = Tally::default();
        let sent = send(
            &requests,
            &mut tally,
            Operation::CopyObject,
            OnDoubt::Resend,
            vec![Ok(1)],
        );
        is_send(&sent);
        is_send(&Credentials::fixed().keep_renewed());
    }
}
