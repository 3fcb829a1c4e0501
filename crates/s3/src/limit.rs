//! How many requests may be in flight: additive increase, multiplicative decrease, over values alone.

use std::time::Instant;

use crate::throttle::Concurrency;

/// The limit at first: each request in flight has a connection, and hundreds that are made at once cost
/// look-ups and handshakes on both sides.
pub(crate) const START: u32 = 16;

/// The factor of a decrease.
const DECREASE: f64 = 0.7;

/// The adaptive limit. It has no clock: what depends on time takes it as an argument.
///
/// Only throttling answers lower it, once for all requests that were in flight when it was lowered. It grows
/// by one for every `limit` successes, and by one for every success until the first throttling answer; but
/// only on successes won while the limit was what held requests back, as others say nothing about it.
#[derive(Debug, Clone)]
pub struct Limit {
    limit: u32,
    floor: u32,
    max: u32,
    /// Before the first throttling answer.
    doubling: bool,
    successes: u32,
    decreased_at: Option<Instant>,
}

impl Limit {
    /// The limit to start with.
    pub fn new(concurrency: Concurrency) -> Self {
        let (start, floor, max) = match concurrency {
            Concurrency::Auto { start, floor, max } => (start, floor, max),
            Concurrency::Fixed(limit) => (limit.min(START), 1, limit),
        };
        let floor = floor.max(1);
        let max = max.max(floor);
        Self {
            limit: start.clamp(floor, max),
            floor,
            max,
            doubling: true,
            successes: 0,
            decreased_at: None,
        }
    }

    /// How many requests may be in flight.
    pub fn get(&self) -> u32 {
        self.limit
    }

    /// A request was answered, and not with throttling. `bound`: the limit held others back meanwhile.
    pub fn succeeded(&mut self, bound: bool) {
        if !bound || self.limit >= self.max {
            return;
        }
        self.successes += 1;
        if self.doubling || self.successes >= self.limit {
            self.successes = 0;
            self.limit += 1;
        }
    }

    /// A request that was sent at `sent_at` was answered with throttling at `now`.
    pub fn throttled(&mut self, sent_at: Instant, now: Instant) {
        self.doubling = false;
        // It was on its way when the limit was lowered, and says nothing about the lower limit.
        if self.decreased_at.is_some_and(|at| sent_at <= at) {
            return;
        }
        self.decreased_at = Some(now);
        self.successes = 0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a u32 is a u32"
        )]
        let lower = (f64::from(self.limit) * DECREASE) as u32;
        self.limit = lower.max(self.floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const AUTO: Concurrency = Concurrency::Auto {
        start: 16,
        floor: 1,
        max: 256,
    };

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    fn succeed(limit: &mut Limit, times: u32) {
        for _ in 0..times {
            limit.succeeded(true);
        }
    }

    #[test]
    fn doubles_until_the_first_throttle() {
        let mut limit = Limit::new(AUTO);
        assert_eq!(limit.get(), 16);
        succeed(&mut limit, 16);
        assert_eq!(limit.get(), 32);
        succeed(&mut limit, 32);
        assert_eq!(limit.get(), 64);
        succeed(&mut limit, 1000);
        assert_eq!(limit.get(), 256);
    }

    #[test]
    fn grows_by_one_a_round_after_a_throttle() {
        let start = Instant::now();
        let mut limit = Limit::new(AUTO);
        succeed(&mut limit, 84);
        assert_eq!(limit.get(), 100);
        limit.throttled(at(start, 1), at(start, 2));
        assert_eq!(limit.get(), 70);
        succeed(&mut limit, 69);
        assert_eq!(limit.get(), 70);
        succeed(&mut limit, 1);
        assert_eq!(limit.get(), 71);
        succeed(&mut limit, 71);
        assert_eq!(limit.get(), 72);
    }

    #[test]
    fn does_not_grow_unless_it_was_the_bound() {
        let mut limit = Limit::new(AUTO);
        for _ in 0..1000 {
            limit.succeeded(false);
        }
        assert_eq!(limit.get(), 16);
    }

    #[test]
    fn one_decrease_for_all_that_were_in_flight() {
        let start = Instant::now();
        let mut limit = Limit::new(AUTO);
        // Sent at, answered at, limit after.
        let table = [
            (0, 10, 11),
            (1, 11, 11),
            (9, 12, 11),
            (10, 13, 11),
            (11, 14, 7),
            (12, 15, 7),
            (15, 16, 4),
        ];
        for (sent, answered, expected) in table {
            limit.throttled(at(start, sent), at(start, answered));
            assert_eq!(limit.get(), expected, "sent at {sent}");
        }
    }

    #[test]
    fn never_below_the_floor() {
        let start = Instant::now();
        let mut limit = Limit::new(AUTO);
        for round in 0..50 {
            limit.throttled(at(start, 2 * round), at(start, 2 * round + 1));
            assert!(limit.get() >= 1);
        }
        assert_eq!(limit.get(), 1);
        succeed(&mut limit, 1);
        assert_eq!(limit.get(), 2);
    }

    #[test]
    fn a_fixed_limit_yields_and_comes_back() {
        let start = Instant::now();
        let mut limit = Limit::new(Concurrency::Fixed(10));
        succeed(&mut limit, 100);
        assert_eq!(limit.get(), 10);
        limit.throttled(at(start, 1), at(start, 2));
        assert_eq!(limit.get(), 7);
        succeed(&mut limit, 7 + 8 + 9);
        assert_eq!(limit.get(), 10);
        succeed(&mut limit, 100);
        assert_eq!(limit.get(), 10);
    }

    #[test]
    fn odd_options_are_made_even() {
        assert_eq!(Limit::new(Concurrency::Fixed(0)).get(), 1);
        let mut many = Limit::new(Concurrency::Fixed(64));
        assert_eq!(many.get(), START);
        succeed(&mut many, 100);
        assert_eq!(many.get(), 64);
        let odd = Concurrency::Auto {
            start: 500,
            floor: 0,
            max: 64,
        };
        assert_eq!(Limit::new(odd).get(), 64);
    }
}
