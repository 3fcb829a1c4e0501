//! How many requests are sent a second: a rate that is learnt from throttling answers, over values alone.

use std::time::{Duration, Instant};

/// How long a window is at least.
const WINDOW: Duration = Duration::from_millis(100);

/// How many requests a window has at least: of fewer, the share that is refused is a matter of luck.
const WINDOW_REQUESTS: u32 = 16;

/// How far below what was admitted the rate goes at most.
const MOST_ROOM: f64 = 0.1;

/// What a window keeps of the rate at least.
const LEAST_KEPT: f64 = 0.5;

/// The growth, in requests a second each second, that high rates come close to.
const GROWTH: f64 = 200.0;

/// The rate at which it is half of that.
const HALF_GROWTH_AT: f64 = 400.0;

/// The lowest rate, a second: so often it is asked whether the storm is over.
const FLOOR: f64 = 5.0;

/// The burst of a rate that was asked for: so many seconds' worth.
const GIVEN_BURST: f64 = 0.1;

/// The burst of a rate that was learnt: what a late timer or a busy thread has missed.
const LEARNT_BURST: f64 = 0.05;

/// The rate at which requests are sent. It has no clock: what depends on time takes it as an argument.
///
/// Until the first throttling answer it is the rate that was asked for, or none. From then on, each window of
/// requests shows what share is refused. The rate goes down to what was admitted, and below that by the same share
/// again, which is room for others who share the server's limit. It grows with each success that had to wait for it:
/// by half of itself in a second where it is low, by at most 200 where it is high. So it stays at the limit with
/// few refusals, and of two who share one the smaller gains on the larger. Rare refusals that have other causes than
/// the rate cost little of it.
#[derive(Debug, Clone)]
pub struct Pace {
    /// What was asked for, a second.
    given: Option<f64>,
    /// What was learnt, a second; none before the first throttling answer.
    learnt: Option<f64>,
    /// When the next request is due.
    next: Option<Instant>,
    window: Option<Window>,
    lowered_at: Option<Instant>,
}

/// Requests sent since it began, and refusals that came.
#[derive(Debug, Clone)]
struct Window {
    begun: Instant,
    sent: u32,
    refused: u32,
}

impl Window {
    fn new(begun: Instant) -> Self {
        Self {
            begun,
            sent: 0,
            refused: 0,
        }
    }
}

impl Pace {
    /// At most so many requests a second, if that is given; always at least one.
    pub fn new(requests_per_second: Option<u32>) -> Self {
        Self {
            given: requests_per_second.map(|rate| f64::from(rate.max(1))),
            learnt: None,
            next: None,
            window: None,
            lowered_at: None,
        }
    }

    /// Requests a second; none is no bound.
    pub fn rate(&self) -> Option<f64> {
        self.learnt.or(self.given)
    }

    /// Counts a request as sent at `now`.
    ///
    /// # Errors
    ///
    /// How long to wait before asking again, if it is too early.
    pub fn send(&mut self, now: Instant) -> Result<(), Duration> {
        self.judge(now);
        if let Some(rate) = self.rate() {
            let burst = self.learnt.map_or(GIVEN_BURST, |_| LEARNT_BURST);
            let saved = Duration::from_secs_f64((burst - 1.0 / rate).max(0.0));
            let earliest = now.checked_sub(saved).unwrap_or(now);
            let due = self.next.map_or(earliest, |next| next.max(earliest));
            let wait = due.saturating_duration_since(now);
            if !wait.is_zero() {
                return Err(wait);
            }
            self.next = Some(due + Duration::from_secs_f64(1.0 / rate));
        }
        self.window.get_or_insert(Window::new(now)).sent += 1;
        Ok(())
    }

    /// A request was answered, and not with throttling. `waited`: the rate held it back.
    pub fn succeeded(&mut self, waited: bool) {
        // At a rate without requests that wait for it nobody knows whether the server takes more.
        if waited && let Some(rate) = self.learnt {
            let more = rate + GROWTH / (rate + HALF_GROWTH_AT);
            self.learnt = Some(self.given.map_or(more, |given| more.min(given)));
        }
    }

    /// A request that was sent at `sent_at` was answered with throttling.
    pub fn throttled(&mut self, sent_at: Instant) {
        // It was on its way when the rate was lowered, and says nothing about the lower rate.
        if self.lowered_at.is_some_and(|at| sent_at <= at) {
            return;
        }
        if let Some(window) = &mut self.window {
            window.refused += 1;
        }
    }

    /// Ends a window that has seen enough, and lowers the rate if it has seen refusals.
    fn judge(&mut self, now: Instant) {
        let Some(window) = &self.window else { return };
        let elapsed = now.saturating_duration_since(window.begun);
        // A flood is seen at once.
        let flood = window.refused >= WINDOW_REQUESTS && elapsed >= WINDOW / 10;
        if window.sent < WINDOW_REQUESTS || (elapsed < WINDOW && !flood) {
            return;
        }
        let (sent, refused) = (f64::from(window.sent), f64::from(window.refused));
        self.window = Some(Window::new(now));
        if refused == 0.0 {
            return;
        }
        let sent_per_second = sent / elapsed.as_secs_f64();
        let rate = self.rate().unwrap_or(f64::INFINITY).min(sent_per_second);
        // Answers that took long may be of requests of the window before.
        let share = (refused / sent).min(1.0);
        let kept = (1.0 - share) * (1.0 - share.min(MOST_ROOM));
        self.learnt = Some((rate * kept.max(LEAST_KEPT)).max(FLOOR));
        self.lowered_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const STEP: Duration = Duration::from_micros(500);

    /// Admits so many requests a second, with a burst of a tenth of that.
    struct Server {
        limit: f64,
        tokens: f64,
        /// Of so many requests one is refused whatever the rate; 0 is none.
        one_in: u64,
        seen: u64,
        random: fastrand::Rng,
    }

    impl Server {
        fn refill(&mut self) {
            let burst = (self.limit / 10.0).max(1.0);
            self.tokens = (self.tokens + self.limit * STEP.as_secs_f64()).min(burst);
        }

        fn admits(&mut self) -> bool {
            self.seen += 1;
            if self.one_in > 0 && self.seen.is_multiple_of(self.one_in) {
                return false;
            }
            let admitted = self.tokens >= 1.0;
            self.tokens -= f64::from(u8::from(admitted));
            admitted
        }
    }

    /// Always has something to send, 256 at once.
    struct Engine {
        pace: Pace,
        /// Due at the server, and sent.
        on_its_way: VecDeque<(Instant, Instant)>,
        /// Due here, sent, and whether it was admitted.
        coming_back: VecDeque<(Instant, Instant, bool)>,
        admitted: f64,
        refused: f64,
    }

    impl Engine {
        fn new(requests_per_second: Option<u32>) -> Self {
            Self {
                pace: Pace::new(requests_per_second),
                on_its_way: VecDeque::new(),
                coming_back: VecDeque::new(),
                admitted: 0.0,
                refused: 0.0,
            }
        }

        fn step(&mut self, now: Instant, latency: Duration, server: &mut Server) {
            while let Some((_, sent, admitted)) =
                self.coming_back.pop_front_if(|(due, _, _)| *due <= now)
            {
                if admitted {
                    self.admitted += 1.0;
                    self.pace.succeeded(true);
                } else {
                    self.refused += 1.0;
                    self.pace.throttled(sent);
                }
            }
            while let Some((_, sent)) = self.on_its_way.pop_front_if(|(due, _)| *due <= now) {
                let answer = (now + latency, sent, server.admits());
                self.coming_back.push_back(answer);
            }
            while self.on_its_way.len() + self.coming_back.len() < 256
                && self.pace.send(now).is_ok()
            {
                let last = self.on_its_way.back().map_or(now, |(due, _)| *due);
                let due = now + STEP * server.random.u32(0..8);
                self.on_its_way.push_back((due.max(last), now));
            }
        }
    }

    struct World {
        now: Instant,
        latency: Duration,
        server: Server,
        engines: Vec<Engine>,
    }

    impl World {
        fn new(limit: f64, latency_ms: u64, seed: u64) -> Self {
            Self {
                now: Instant::now(),
                latency: Duration::from_millis(latency_ms),
                server: Server {
                    limit,
                    tokens: 0.0,
                    one_in: 0,
                    seen: 0,
                    random: fastrand::Rng::with_seed(seed),
                },
                engines: vec![Engine::new(Some(5000))],
            }
        }

        /// What share of the server's limit was used, and what share of the requests was refused.
        fn run(&mut self, seconds: f64) -> (f64, f64) {
            let end = self.now + Duration::from_secs_f64(seconds);
            for engine in &mut self.engines {
                (engine.admitted, engine.refused) = (0.0, 0.0);
            }
            while self.now < end {
                self.server.refill();
                let turn = self.server.random.usize(..);
                let engines = self.engines.len();
                for n in 0..engines {
                    let engine = &mut self.engines[n.wrapping_add(turn) % engines];
                    engine.step(self.now, self.latency, &mut self.server);
                }
                self.now += STEP;
            }
            let admitted: f64 = self.engines.iter().map(|engine| engine.admitted).sum();
            let refused: f64 = self.engines.iter().map(|engine| engine.refused).sum();
            (
                admitted / (seconds * self.server.limit),
                refused / (admitted + refused).max(1.0),
            )
        }

        fn rate(&self) -> f64 {
            self.engines[0].pace.rate().unwrap()
        }
    }

    #[test]
    fn a_limit_is_used_with_few_refusals() {
        for limit in [50.0, 200.0, 1000.0, 3000.0] {
            for latency in [1, 30, 75] {
                for seed in 0..4 {
                    let mut world = World::new(limit, latency, seed);
                    world.run(5.0);
                    let (used, refused) = world.run(20.0);
                    let of =
                        format!("{limit} a second, {latency} ms, seed {seed}: {used} {refused}");
                    assert!(used >= 0.9, "{of}");
                    assert!(refused <= 0.1, "{of}");
                }
            }
        }
    }

    #[test]
    fn two_share_a_limit() {
        for limit in [50.0, 200.0, 1000.0, 3000.0] {
            for latency in [1, 30] {
                let mut least = Vec::new();
                for seed in 0..5 {
                    let mut world = World::new(limit, latency, seed);
                    world.run(5.0);
                    world.engines.push(Engine::new(Some(5000)));
                    world.run(5.0);
                    world.run(20.0);
                    let [one, two] = [0, 1].map(|n| world.engines[n].admitted);
                    least.push(one.min(two) / (one + two));
                }
                least.sort_by(f64::total_cmp);
                // By seeds: chance alone gives one of them more for a while.
                assert!(
                    least[2] > 1.0 / 3.0,
                    "{limit} a second, {latency} ms: {least:?}"
                );
            }
        }
    }

    #[test]
    fn a_limit_that_falls_is_followed_and_one_that_rises_too() {
        for limit in [200.0, 1000.0, 3000.0] {
            let mut world = World::new(limit, 30, 1);
            world.run(10.0);
            world.server.limit = limit / 2.0;
            world.run(1.0);
            let (used, refused) = world.run(5.0);
            assert!(used >= 0.9 && refused <= 0.1, "{limit}: {used} {refused}");
            world.server.limit = limit;
            world.run(10.0);
            let (used, refused) = world.run(5.0);
            assert!(used >= 0.9 && refused <= 0.1, "{limit}: {used} {refused}");
        }
    }

    #[test]
    fn a_server_that_refuses_all_is_asked_at_the_floor() {
        let mut world = World::new(1000.0, 30, 1);
        world.run(5.0);
        world.server.limit = 1e-9;
        world.run(10.0);
        assert!((world.rate() - FLOOR).abs() < 1e-9, "{}", world.rate());
        world.run(10.0);
        assert!(world.engines[0].refused <= 51.0);
        world.server.limit = 1000.0;
        world.run(15.0);
        let (used, _) = world.run(5.0);
        assert!(used >= 0.9, "{used}");
    }

    #[test]
    fn a_refusal_in_a_thousand_costs_little() {
        let mut world = World::new(1e9, 30, 1);
        world.server.one_in = 1000;
        world.run(20.0);
        assert!(world.rate() > 2500.0, "{}", world.rate());
    }

    #[test]
    fn what_was_on_its_way_says_nothing_of_a_lower_rate() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut pace = Pace::new(None);
        for n in 0..20 {
            assert_eq!(pace.send(at(n)), Ok(()));
        }
        // One in twenty: down to what was admitted, and as much again. Sent within 100 ms.
        pace.throttled(at(0));
        assert_eq!(pace.rate(), None);
        assert_eq!(pace.send(at(100)), Ok(()));
        let lowered = pace.rate().unwrap();
        assert!((lowered - 200.0 * 0.95 * 0.95).abs() < 1e-6, "{lowered}");
        for n in 0..20 {
            pace.throttled(at(n));
        }
        for n in 101..400 {
            let _ = pace.send(at(n));
        }
        assert_eq!(pace.rate(), Some(lowered));
        pace.throttled(at(399));
        for n in 400..600 {
            let _ = pace.send(at(n));
        }
        assert!(pace.rate().unwrap() < lowered);
    }

    #[test]
    fn grows_only_with_what_waited_for_it_and_up_to_what_was_asked_for() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(200));
        for _ in 0..20 {
            assert_eq!(pace.send(start), Ok(()));
        }
        assert!(pace.send(start).is_err());
        pace.succeeded(true);
        assert_eq!(pace.rate(), Some(200.0));
        pace.throttled(start);
        assert!(pace.send(start + WINDOW).is_ok());
        let lowered = pace.rate().unwrap();
        assert!(lowered < 200.0);
        pace.succeeded(false);
        assert_eq!(pace.rate(), Some(lowered));
        pace.succeeded(true);
        assert!(pace.rate().unwrap() > lowered);
        for _ in 0..1000 {
            pace.succeeded(true);
        }
        assert_eq!(pace.rate(), Some(200.0));
    }

    #[test]
    fn a_rate_that_was_given_is_kept() {
        let start = Instant::now();
        for (rate, burst) in [(1, 1), (5, 1), (100, 10), (1500, 150)] {
            let mut pace = Pace::new(Some(rate));
            let sent = (0..20_000)
                .filter(|n| pace.send(start + STEP * *n).is_ok())
                .count();
            let expected = usize::try_from(rate * 10 + burst).unwrap();
            assert!(sent.abs_diff(expected) <= 1, "{rate}: {sent} of {expected}");
        }
        let mut unbound = Pace::new(None);
        assert!((0..10_000).all(|_| unbound.send(start).is_ok()));
    }
}
