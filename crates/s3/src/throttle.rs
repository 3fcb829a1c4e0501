//! Permits to have a request in flight: two lanes, an adaptive limit, an adaptive rate.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::limit::{Limit, START};
use crate::pace::Pace;

/// Who asks: the lanes are served in turn, so that neither many small objects nor the parts of a few large
/// ones keep the others waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Objects that take one copy request.
    Small,
    /// Objects that take many, and their parts.
    Large,
}

impl Lane {
    fn other(self) -> Self {
        match self {
            Self::Small => Self::Large,
            Self::Large => Self::Small,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Small => 0,
            Self::Large => 1,
        }
    }
}

/// How many requests may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// As many as S3 takes without throttling.
    Auto {
        /// How many at first.
        start: u32,
        /// How many at most.
        max: u32,
    },
    /// That many, as soon as the first requests are answered.
    Fixed(u32),
}

impl Default for Concurrency {
    /// From 16 to 256.
    fn default() -> Self {
        Self::Auto {
            start: START,
            max: 256,
        }
    }
}

/// How fast the job may go.
#[derive(Debug, Clone, Default)]
pub struct ThrottleOptions {
    /// How many requests may be in flight.
    pub concurrency: Concurrency,
    /// How many may be sent a second, with a burst of a tenth of that; none means no bound until S3 throttles.
    pub requests_per_second: Option<u32>,
}

/// Gives permits to send. Clones share one limit.
#[derive(Clone)]
pub struct Throttle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Who waits for the rate, in order: permits are granted to the lanes in turn, and are used in that order.
    turn: tokio::sync::Mutex<()>,
    successes: AtomicU64,
}

struct State {
    limit: Limit,
    pace: Pace,
    in_flight: u32,
    waiting: [VecDeque<oneshot::Sender<()>>; 2],
    /// Whose turn it is.
    turn: Lane,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("limit", &self.limit())
            .field("rate", &self.rate())
            .field("in_flight", &self.in_flight())
            .field("successes", &self.successes())
            .finish_non_exhaustive()
    }
}

impl Throttle {
    /// A throttle with nothing in flight.
    pub fn new(options: &ThrottleOptions) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                limit: Limit::new(options.concurrency),
                pace: Pace::new(options.requests_per_second),
                in_flight: 0,
                waiting: [VecDeque::new(), VecDeque::new()],
                turn: Lane::Small,
            }),
            turn: tokio::sync::Mutex::new(()),
            successes: AtomicU64::new(0),
        }))
    }

    /// Waits for a permit, then for the rate, so that who has the permit sends at once.
    ///
    /// # Cancellation
    ///
    /// A future dropped while it waits leaves its place, and gives back the permit if it had got one.
    pub async fn acquire(&self, lane: Lane) -> Permit {
        let mut permit = self.permit(lane).await;
        permit.waited_for_rate = self.0.wait_for_rate().await;
        permit.sent_at = Instant::now();
        permit
    }

    async fn permit(&self, lane: Lane) -> Permit {
        let waiting = {
            let mut state = self.0.state();
            let queued = !state.waiting.iter().all(VecDeque::is_empty);
            if !queued && state.in_flight < state.limit.get() {
                state.in_flight += 1;
                None
            } else {
                let (sender, receiver) = oneshot::channel();
                state.waiting[lane.index()].push_back(sender);
                Some(receiver)
            }
        };
        // The permit exists before the wait: whatever ends the wait, dropping it keeps the count right.
        let mut permit = Permit {
            shared: Arc::clone(&self.0),
            sent_at: Instant::now(),
            waited_for_rate: false,
            granted: waiting.is_none(),
            waiting,
        };
        if let Some(waiting) = &mut permit.waiting {
            // The sender is in the queue, which outlives us, and is taken off it only to send.
            let granted = waiting.await.is_ok();
            permit.granted = granted;
            permit.waiting = None;
        }
        permit
    }

    /// How many requests may be in flight now.
    pub fn limit(&self) -> u32 {
        self.0.state().limit.get()
    }

    /// How many requests may be sent a second now; none is no bound.
    pub fn rate(&self) -> Option<f64> {
        self.0.state().pace.rate()
    }

    /// How many permits are given.
    pub fn in_flight(&self) -> u32 {
        self.0.state().in_flight
    }

    /// How many requests were answered other than with throttling or a transient error.
    pub fn successes(&self) -> u64 {
        self.0.successes.load(Ordering::Relaxed)
    }

    /// How many parts of one large object may be in flight: the limit shared out, but at least 4.
    pub fn large_share(&self, large_objects_in_hand: u32) -> u32 {
        (self.limit() / large_objects_in_hand.max(1)).max(4)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent; true if it could not be at once.
    async fn wait_for_rate(&self) -> bool {
        let (_turn, mut waited) = match self.turn.try_lock() {
            Ok(turn) => (turn, false),
            Err(_) => (self.turn.lock().await, true),
        };
        loop {
            let Err(wait) = self.state().pace.send(Instant::now()) else {
                return waited;
            };
            waited = true;
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes a permit back and passes on what is free now.
    fn release(&self, feed: impl FnOnce(&mut State)) {
        let mut state = self.state();
        feed(&mut state);
        state.in_flight = state.in_flight.saturating_sub(1);
        state.dispatch();
    }
}

impl State {
    /// Gives what is free to those who wait, the lanes in turn.
    fn dispatch(&mut self) {
        while self.in_flight < self.limit.get() {
            let Some(waiter) = self.next_waiter() else {
                return;
            };
            // Who has stopped waiting takes nothing.
            if waiter.send(()).is_ok() {
                self.in_flight += 1;
            }
        }
    }

    fn next_waiter(&mut self) -> Option<oneshot::Sender<()>> {
        for lane in [self.turn, self.turn.other()] {
            if let Some(waiter) = self.waiting[lane.index()].pop_front() {
                self.turn = lane.other();
                return Some(waiter);
            }
        }
        None
    }
}

/// The right to have one request in flight; given back when it is dropped.
///
/// Never held over a back-off, a channel, a renewal of credentials or another permit.
#[must_use = "a permit is given back when it is dropped"]
pub struct Permit {
    shared: Arc<Shared>,
    sent_at: Instant,
    waited_for_rate: bool,
    granted: bool,
    waiting: Option<oneshot::Receiver<()>>,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("sent_at", &self.sent_at)
            .finish_non_exhaustive()
    }
}

impl Permit {
    /// Gives it back: the request was answered, and not with throttling.
    pub fn succeeded(mut self) {
        self.shared.successes.fetch_add(1, Ordering::Relaxed);
        let waited = self.waited_for_rate;
        self.give_back(|state| {
            let bound = state.in_flight >= state.limit.get();
            state.limit.succeeded(bound && !waited);
            state.pace.succeeded(waited);
        });
    }

    /// Gives it back: the request was answered with throttling.
    pub fn throttled(mut self) {
        let sent_at = self.sent_at;
        self.give_back(|state| {
            state.limit.throttled();
            state.pace.throttled(sent_at);
        });
    }

    fn give_back(&mut self, feed: impl FnOnce(&mut State)) {
        if let Some(mut waiting) = self.waiting.take() {
            // Dropped while it waited: granted in the meantime, or never.
            waiting.close();
            self.granted = waiting.try_recv().is_ok();
        }
        if std::mem::take(&mut self.granted) {
            self.shared.release(feed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(|_| {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::task::JoinSet;

    fn throttle(limit: u32) -> Throttle {
        Throttle::new(&ThrottleOptions {
            concurrency: Concurrency::Fixed(limit),
            requests_per_second: None,
        })
    }

    fn poll(future: &mut std::pin::Pin<Box<impl Future>>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_ready()
    }

    /// Lets every task that can go on go on.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn lanes_are_served_in_turn() {
        let throttle = throttle(1);
        let first = throttle.acquire(Lane::Small).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for (lane, name) in [
            (Lane::Small, "s1"),
            (Lane::Small, "s2"),
            (Lane::Small, "s3"),
            (Lane::Large, "l1"),
            (Lane::Large, "l2"),
        ] {
            let (throttle, order) = (throttle.clone(), Arc::clone(&order));
            tasks.spawn(async move {
                let permit = throttle.acquire(lane).await;
                order.lock().unwrap().push(name);
                drop(permit);
            });
            settle().await;
        }
        assert_eq!(throttle.in_flight(), 1);
        drop(first);
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["s1", "l1", "s2", "l2", "s3"]);
        assert_eq!(throttle.in_flight(), 0);
    }

    #[tokio::test]
    async fn who_stops_waiting_loses_nothing() {
        let throttle = throttle(1);
        let held = throttle.acquire(Lane::Small).await;
        // One gives up before it is granted a permit, one after, one goes on.
        let mut before = Box::pin(throttle.acquire(Lane::Small));
        let mut after = Box::pin(throttle.acquire(Lane::Small));
        let mut stays = Box::pin(throttle.acquire(Lane::Small));
        assert!(!poll(&mut before) && !poll(&mut after) && !poll(&mut stays));
        drop(before);
        drop(held);
        assert_eq!(throttle.in_flight(), 1);
        drop(after);
        assert_eq!(throttle.in_flight(), 1);
        let permit = stays.await;
        assert_eq!(throttle.in_flight(), 1);
        drop(permit);
        assert_eq!(throttle.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_higher_limit_lets_more_in() {
        let throttle = Throttle::new(&ThrottleOptions {
            concurrency: Concurrency::Auto { start: 2, max: 8 },
            requests_per_second: None,
        });
        let mut held = vec![
            throttle.acquire(Lane::Small).await,
            throttle.acquire(Lane::Small).await,
        ];
        held.remove(0).succeeded();
        assert_eq!(throttle.limit(), 3);
        assert_eq!(throttle.successes(), 1);
        // Two of three are in flight: the limit is not the bound, and stays.
        held.push(throttle.acquire(Lane::Large).await);
        held.remove(0).succeeded();
        assert_eq!(throttle.limit(), 3);
        held.push(throttle.acquire(Lane::Small).await);
        held.push(throttle.acquire(Lane::Small).await);
        // Throttling is no reason to have fewer in flight, but ends the haste.
        held.remove(0).throttled();
        held.push(throttle.acquire(Lane::Small).await);
        held.remove(0).succeeded();
        assert_eq!(throttle.limit(), 3);
        assert_eq!(throttle.in_flight(), 2);
    }

    #[tokio::test]
    async fn throttled_answers_set_a_rate() {
        let throttle = throttle(64);
        let start = Instant::now();
        let mut sent = 0;
        while throttle.rate().is_none() {
            assert!(start.elapsed() < Duration::from_secs(10));
            let permit = throttle.acquire(Lane::Small).await;
            sent += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
            if sent % 2 == 0 {
                permit.throttled();
            } else {
                permit.succeeded();
            }
        }
        // It begins with 16, and throttling does not lower it.
        assert!(throttle.limit() >= START, "{}", throttle.limit());
        // It holds for whoever comes now, in the order in which they come.
        let begun = Instant::now();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let expected: Vec<u32> = (0..60).collect();
        for n in expected.clone() {
            let (throttle, order) = (throttle.clone(), Arc::clone(&order));
            tasks.spawn(async move {
                let permit = throttle.acquire(Lane::Small).await;
                order.lock().unwrap().push(n);
                drop(permit);
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let least = 40.0 / throttle.rate().unwrap();
        assert!(
            begun.elapsed().as_secs_f64() > least,
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(*order.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn parts_share_the_limit() {
        let throttle = Throttle::new(&ThrottleOptions {
            concurrency: Concurrency::Auto { start: 64, max: 64 },
            requests_per_second: None,
        });
        for (objects, share) in [(0, 64), (1, 64), (4, 16), (16, 4), (100, 4)] {
            assert_eq!(throttle.large_share(objects), share, "{objects}");
        }
    }

    #[tokio::test]
    async fn the_rate_holds() {
        let throttle = Throttle::new(&ThrottleOptions {
            concurrency: Concurrency::Fixed(8),
            requests_per_second: Some(100),
        });
        let start = Instant::now();
        for _ in 0..20 {
            drop(throttle.acquire(Lane::Small).await);
        }
        // Ten at once, ten at a hundred a second.
        assert!(
            start.elapsed() >= Duration::from_millis(90),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(throttle.in_flight(), 0);
    }

    #[tokio::test]
    async fn waiting_for_the_rate_does_not_raise_the_limit() {
        let throttle = Throttle::new(&ThrottleOptions {
            concurrency: Concurrency::Auto { start: 1, max: 8 },
            requests_per_second: Some(50),
        });
        for _ in 0..5 {
            throttle.acquire(Lane::Small).await.succeeded();
        }
        let raised = throttle.limit();
        for _ in 0..8 {
            throttle.acquire(Lane::Small).await.succeeded();
        }
        assert!(
            throttle.limit() <= raised,
            "{} > {raised}",
            throttle.limit()
        );
    }
}
