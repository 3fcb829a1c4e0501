//! How many requests may be in flight, over values alone.

use crate::throttle::Concurrency;

/// The limit at first: each request in flight has a connection, and hundreds that are made at once cost
/// look-ups and handshakes on both sides.
pub(crate) const START: u32 = 16;

/// The adaptive limit.
///
/// It grows by one for every success until the first throttling answer, and by one for every `limit` successes
/// from then on; but only on successes won while the limit was what held requests back, as others say nothing
/// about it. Throttling does not lower it: what S3 refuses is a rate, and [`Pace`](crate::pace::Pace) keeps to that.
#[derive(Debug, Clone)]
pub struct Limit {
    limit: u32,
    max: u32,
    /// Before the first throttling answer.
    doubling: bool,
    successes: u32,
}

impl Limit {
    /// The limit to start with.
    pub fn new(concurrency: Concurrency) -> Self {
        let (start, max) = match concurrency {
            Concurrency::Auto { start, max } => (start, max),
            Concurrency::Fixed(limit) => (limit.min(START), limit),
        };
        let max = max.max(1);
        Self {
            limit: start.clamp(1, max),
            max,
            doubling: true,
            successes: 0,
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

    /// A request was answered with throttling.
    pub fn throttled(&mut self) {
        self.doubling = false;
        self.successes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: Concurrency = Concurrency::Auto {
        start: 16,
        max: 256,
    };

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
        let mut limit = Limit::new(AUTO);
        succeed(&mut limit, 54);
        assert_eq!(limit.get(), 70);
        limit.throttled();
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
    fn a_fixed_limit_stays() {
        let mut limit = Limit::new(Concurrency::Fixed(10));
        succeed(&mut limit, 100);
        assert_eq!(limit.get(), 10);
        limit.throttled();
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
            max: 64,
        };
        assert_eq!(Limit::new(odd).get(), 64);
    }
}
