//! The slot of credentials that all clients read, and its renewal.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Mutex, OnceCell};

use crate::identity::{BaseIdentity, Caller};
use crate::identity_error::IdentityError;
use crate::role::RoleOptions;
use crate::slot::Slot;
use crate::sts;

type SdkCredentials = aws_credential_types::Credentials;

/// When credentials are renewed: at this part of the life that they have left.
const RENEW_AT: f64 = 0.75;

/// How often a forced renewal asks what gives base credentials, while all requests wait for it.
const FORCED_TRIES: u32 = 8;

/// How long a forced renewal waits for STS at least, while all requests wait for it.
const LEAST_PATIENCE: Duration = Duration::from_mins(1);

/// The longest wait between two tries of a renewal.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How often credentials without an end are looked at.
const WITHOUT_END: Duration = Duration::from_mins(1);

/// Credentials that stay good: a slot with a generation. Clones share it.
///
/// One task, [`keep_renewed`](Self::keep_renewed), renews them long before they end. They are used until
/// a server says that they have ended; then whoever hears it first renews them for all.
#[derive(Clone)]
pub struct Credentials(Arc<Shared>);

struct Shared {
    slot: Slot,
    origin: Origin,
    /// Held by the one renewal at a time.
    renewing: Mutex<Renewals>,
    /// Forced renewals under way or waiting.
    paused: AtomicU32,
    /// Forced renewals that have ended.
    ended: AtomicU32,
    caller: OnceCell<Caller>,
}

#[derive(Default)]
struct Renewals {
    /// The last forced renewal that failed: its number, and why.
    failed: Option<(u32, Arc<IdentityError>)>,
}

/// Where new ones come from.
enum Origin {
    Base(BaseIdentity),
    Role {
        client: aws_sdk_sts::Client,
        role: RoleOptions,
        base: BaseIdentity,
    },
    #[cfg(test)]
    Given(std::sync::Mutex<Vec<Result<SdkCredentials, IdentityError>>>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("generation", &self.generation())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

/// Requests wait while one of these lives.
struct Pause<'a>(&'a AtomicU32);

impl<'a> Pause<'a> {
    fn new(paused: &'a AtomicU32) -> Self {
        paused.fetch_add(1, Ordering::AcqRel);
        Self(paused)
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Credentials {
    /// The base identity's own credentials.
    ///
    /// # Errors
    ///
    /// None are to be had.
    pub async fn base(base: &BaseIdentity) -> Result<Self, IdentityError> {
        let (credentials, life) = base.current().await?;
        Ok(Self::with(
            Slot::new(credentials, life),
            Origin::Base(base.clone()),
        ))
    }

    /// Takes a role, at once, so that a refusal shows at once.
    ///
    /// With an MFA device the code is used for a session of 36 hours, the longest there is, and the role is
    /// renewed from that.
    ///
    /// # Errors
    ///
    /// STS refuses, or does not answer; a code is needed.
    pub async fn assume_role(
        base: &BaseIdentity,
        mut role: RoleOptions,
    ) -> Result<Self, IdentityError> {
        let client = match &role.mfa_serial {
            None => {
                role.duration = base.clamped(&role.role_arn, role.duration).await;
                base.sts().client(base.clone())
            }
            Some(mfa_serial) if base.is_of_profile_role().await => {
                let mfa_serial = mfa_serial.clone();
                return Err(IdentityError::MfaOfRole { mfa_serial });
            }
            Some(mfa_serial) => {
                let code = role.mfa_code.as_ref();
                let session = base.mfa_session(base.clone(), mfa_serial, code).await?;
                base.sts().client(session)
            }
        };
        let base = base.clone();
        let session = sts::assume_role(&client, &role)
            .await
            .map_err(|error| role_refused(&role, error))?;
        let slot = Slot::new(session.credentials, Some(session.life));
        let credentials = Self::with(slot, Origin::Role { client, role, base });
        if let Some(caller) = session.caller {
            // The cell is new, hence empty.
            let _ = credentials.0.caller.set(caller);
        }
        Ok(credentials)
    }

    fn with(slot: Slot, origin: Origin) -> Self {
        Self(Arc::new(Shared {
            slot,
            origin,
            renewing: Mutex::default(),
            paused: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            caller: OnceCell::new(),
        }))
    }

    /// The number of the credentials in the slot, one more for each renewal.
    pub fn generation(&self) -> u64 {
        self.0.slot.read(|held| held.generation)
    }

    /// Waits while a forced renewal is under way: requests signed meanwhile would be refused.
    pub async fn ready(&self) {
        if self.0.paused.load(Ordering::Acquire) > 0 {
            drop(self.0.renewing.lock().await);
        }
    }

    /// Renews the credentials, as a server has said that those of `seen_generation` have ended.
    ///
    /// Once for all: who comes while another renews shares its outcome. Where STS does not answer it asks for
    /// half of a session's life, at least a minute: what is not sent meanwhile has not failed. A process or
    /// an endpoint that gives nothing is asked eight times, in about a minute.
    ///
    /// # Errors
    ///
    /// There are no new ones.
    ///
    /// # Cancellation
    ///
    /// The next who waits takes over.
    pub async fn renew(&self, seen_generation: u64) -> Result<(), IdentityError> {
        let shared = &*self.0;
        let _pause = Pause::new(&shared.paused);
        let ended_before = shared.ended.load(Ordering::Acquire);
        let mut renewals = shared.renewing.lock().await;
        if self.generation() != seen_generation {
            return Ok(());
        }
        if let Some((number, error)) = &renewals.failed
            && *number > ended_before
        {
            return Err(IdentityError::RenewalFailed(Arc::clone(error)));
        }
        let outcome = self.force().await;
        let number = shared.ended.fetch_add(1, Ordering::AcqRel) + 1;
        outcome.map_err(|error| {
            let error = Arc::new(error);
            renewals.failed = Some((number, Arc::clone(&error)));
            IdentityError::RenewalFailed(error)
        })
    }

    async fn force(&self) -> Result<(), IdentityError> {
        let life = self.0.slot.read(|held| held.life).unwrap_or_default();
        let (began, mut tries) = (Instant::now(), 0);
        loop {
            tries += 1;
            let error = match self.obtain().await {
                Ok((credentials, life)) => {
                    // The same again are no good: a server has just said that they have ended.
                    return if self.0.slot.put(credentials, life) {
                        Ok(())
                    } else {
                        Err(IdentityError::ExpiredBase { source: None })
                    };
                }
                Err(error) => error,
            };
            if !asks_again(&error, tries, began.elapsed(), life) {
                return Err(error);
            }
            let wait = wait_after(tries, fastrand::f64());
            tracing::warn!(
                error = error.told(),
                "the credentials have expired and cannot be renewed yet: all requests wait"
            );
            tokio::time::sleep(wait).await;
        }
    }

    /// Renews the credentials before they end, for ever: a service task, dropped at the end.
    ///
    /// At 75 % of the life that they have left; after a failure with growing, jittered waits. The old ones are
    /// used until there are new ones.
    pub async fn keep_renewed(self) {
        let mut failures = 0;
        loop {
            let generation = self.generation();
            tokio::time::sleep(self.next_renewal(failures)).await;
            let mut tried = Ok(());
            {
                let _one_at_a_time = self.0.renewing.lock().await;
                let life = self.0.slot.read(|held| held.life);
                if life.is_some() && self.generation() == generation {
                    tried = self.obtain().await.map(|(credentials, life)| {
                        self.0.slot.put(credentials, life);
                    });
                }
            }
            match tried {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(
                        error = error.told(),
                        expires_in_s = self.remaining().map(|left| left.as_secs()),
                        "the credentials cannot be renewed, the old ones are used"
                    );
                }
            }
        }
    }

    /// Warns before base credentials end that nothing renews, for ever: a service task, dropped at the end.
    pub async fn warn_of_end(self) {
        match &self.0.origin {
            Origin::Base(base) | Origin::Role { base, .. } => base.warn_of_end().await,
            #[cfg(test)]
            Origin::Given(_) => {}
        }
    }

    fn next_renewal(&self, failures: u32) -> Duration {
        let life = self.0.slot.read(|held| held.life);
        match (life, self.remaining()) {
            (Some(life), Some(remaining)) => renewal_wait(life, remaining, failures),
            _ => WITHOUT_END,
        }
    }

    fn remaining(&self) -> Option<Duration> {
        self.0.slot.read(|held| {
            held.life
                .map(|life| life.saturating_sub(held.since.elapsed()))
        })
    }

    /// Whether credentials of that generation may be what a server refused without saying why.
    pub(crate) fn may_have_expired(&self, generation: u64) -> bool {
        self.0.slot.read(|held| {
            held.generation != generation
                || held.life.is_some_and(|life| {
                    let margin = Duration::from_mins(1).min(life / 10);
                    held.since.elapsed() + margin >= life
                })
        })
    }

    /// Who they are.
    ///
    /// # Errors
    ///
    /// STS, which is asked once and only about a base identity, does not say.
    pub async fn caller(&self) -> Result<Caller, IdentityError> {
        let asked = self.0.caller.get_or_try_init(|| async {
            match &self.0.origin {
                Origin::Base(base) => base.caller().await,
                // STS left out who we became, as stores like it may.
                Origin::Role { role, .. } => Ok(Caller {
                    account: sts::account_of_arn(&role.role_arn),
                    arn: role.role_arn.clone(),
                    user_id: String::new(),
                }),
                #[cfg(test)]
                Origin::Given(_) => Err(IdentityError::ExpiredBase { source: None }),
            }
        });
        asked.await.cloned()
    }

    /// When the credentials in the slot end, by the clock of who gave them.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.slot.read(|held| held.credentials.expiry())
    }

    pub(crate) fn slot(&self) -> Slot {
        self.0.slot.clone()
    }

    /// Gets new ones, with the life that they have.
    async fn obtain(&self) -> Result<(SdkCredentials, Option<Duration>), IdentityError> {
        match &self.0.origin {
            Origin::Base(base) => base.renewed().await,
            Origin::Role { client, role, base } => {
                let mut assumed = sts::assume_role(client, role)
                    .await
                    .map_err(|error| role_refused(role, error));
                // Stores like S3 forget the key of a base session that has ended. An MFA session is had once.
                let ended = matches!(
                    &assumed,
                    Err(IdentityError::ExpiredBase { .. } | IdentityError::BaseRefused { .. })
                );
                if ended && role.mfa_serial.is_none() {
                    base.renewed().await?;
                    assumed = sts::assume_role(client, role)
                        .await
                        .map_err(|error| role_refused(role, error));
                }
                let session = assumed?;
                Ok((session.credentials, Some(session.life)))
            }
            #[cfg(test)]
            Origin::Given(given) => {
                tokio::task::yield_now().await;
                let next = given.lock().unwrap().pop();
                let credentials =
                    next.unwrap_or(Err(IdentityError::ExpiredBase { source: None }))?;
                let life = life(&credentials);
                Ok((credentials, life))
            }
        }
    }

    /// Credentials that come from a list, its last first.
    #[cfg(test)]
    pub(crate) fn given(
        first: SdkCredentials,
        next: Vec<Result<SdkCredentials, IdentityError>>,
    ) -> Self {
        let life = life(&first);
        Self::with(
            Slot::new(first, life),
            Origin::Given(std::sync::Mutex::new(next)),
        )
    }

    /// Credentials without an end.
    #[cfg(test)]
    pub(crate) fn fixed() -> Self {
        Self::given(
            SdkCredentials::new("AKID", "secret", None, None, "test"),
            Vec::new(),
        )
    }
}

fn role_refused(role: &RoleOptions, error: crate::S3Error) -> IdentityError {
    IdentityError::from_sts(error, |error| IdentityError::RoleRefused {
        role_arn: role.role_arn.clone(),
        duration: role.duration,
        error,
    })
}

/// Whether a forced renewal of a session of that life asks once more. STS that does not answer will: it is
/// waited for as long as it takes for half of such a session.
fn asks_again(error: &IdentityError, tries: u32, elapsed: Duration, life: Duration) -> bool {
    match error {
        IdentityError::Unreachable { .. } => elapsed < (life / 2).max(LEAST_PATIENCE),
        error => error.is_transient() && tries < FORCED_TRIES,
    }
}

/// How long credentials live that say when they end.
#[cfg(test)]
fn life(credentials: &SdkCredentials) -> Option<Duration> {
    let end = credentials.expiry()?;
    Some(end.duration_since(SystemTime::now()).unwrap_or_default())
}

/// How long to wait before the next renewal of credentials of that life and with that much of it left.
fn renewal_wait(life: Duration, remaining: Duration, failures: u32) -> Duration {
    if failures > 0 {
        return wait_after(failures, fastrand::f64());
    }
    // Who gives the same again until the last minutes, as an instance's role, is not asked all the time.
    let least = (life / 20).clamp(Duration::from_secs(1), Duration::from_mins(1));
    remaining.mul_f64(RENEW_AT).max(least)
}

/// How long to wait after that many failures to renew: half of it is jitter.
fn wait_after(failures: u32, jitter: f64) -> Duration {
    let bound = Duration::from_secs(1 << failures.min(10)).min(MAX_WAIT);
    bound.mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::provider::ProvideCredentials;
    use aws_credential_types::provider::error::CredentialsError;

    fn keys(name: &str, life: Option<Duration>) -> SdkCredentials {
        let end = life.map(|life| SystemTime::now() + life);
        SdkCredentials::new(
            name,
            "wJalrXUtnFEMI",
            Some("FwoGZXIvYXdz".into()),
            end,
            "test",
        )
    }

    fn unreachable() -> IdentityError {
        let error = crate::S3Error::new(
            crate::Operation::AssumeRole,
            crate::ErrorKind::NotSent,
            "no connection",
        );
        IdentityError::Unreachable {
            error: Box::new(error),
        }
    }

    async fn key_in(credentials: &Credentials) -> String {
        let slot = credentials.slot();
        let provided = slot.provide_credentials().await.unwrap();
        provided.access_key_id().to_owned()
    }

    #[tokio::test]
    async fn renewed_once_for_all() {
        let credentials = Credentials::given(keys("A", None), vec![Ok(keys("B", None))]);
        let renewals = (0..50).map(|_| credentials.renew(0));
        for outcome in join_all(renewals).await {
            outcome.unwrap();
        }
        assert_eq!(credentials.generation(), 1);
        assert_eq!(key_in(&credentials).await, "B");
        // Who has seen older ones has nothing to do.
        credentials.renew(0).await.unwrap();
        assert_eq!(credentials.generation(), 1);
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_the_next_tries_again() {
        let refused = Err(IdentityError::MfaCodeNeeded {
            mfa_serial: "m".into(),
        });
        let credentials = Credentials::given(keys("A", None), vec![Ok(keys("B", None)), refused]);
        for outcome in join_all((0..50).map(|_| credentials.renew(0))).await {
            assert!(matches!(outcome, Err(IdentityError::RenewalFailed(_))));
        }
        assert_eq!(credentials.generation(), 0);
        credentials.renew(0).await.unwrap();
        assert_eq!(key_in(&credentials).await, "B");
    }

    #[tokio::test]
    async fn requests_wait_for_a_forced_renewal() {
        let credentials = Credentials::given(
            keys("A", None),
            // An answer that does not come, and one that does.
            vec![Ok(keys("B", None)), Err(unreachable())],
        );
        credentials.ready().await;
        let mut renewal = Box::pin(credentials.renew(0));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(renewal.as_mut().poll(&mut context).is_pending());
        let mut waiting = Box::pin(credentials.ready());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        renewal.await.unwrap();
        waiting.await;
        assert_eq!(key_in(&credentials).await, "B");
        credentials.ready().await;
    }

    #[tokio::test]
    async fn who_gives_up_a_renewal_leaves_it_to_the_next() {
        let credentials = Credentials::given(keys("A", None), vec![Ok(keys("B", None))]);
        {
            let mut renewal = Box::pin(credentials.renew(0));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(renewal.as_mut().poll(&mut context).is_pending());
        }
        credentials.ready().await;
        credentials.renew(0).await.unwrap();
        assert_eq!(credentials.generation(), 1);
    }

    #[tokio::test]
    async fn the_same_again_is_no_renewal() {
        let credentials = Credentials::given(keys("A", None), vec![Ok(keys("A", None))]);
        let Err(IdentityError::RenewalFailed(error)) = credentials.renew(0).await else {
            panic!("renewed");
        };
        assert!(matches!(*error, IdentityError::ExpiredBase { .. }));
    }

    #[tokio::test]
    async fn renewed_before_they_end() {
        let life = Duration::from_millis(1400);
        let next = vec![Ok(keys("B", None))];
        let credentials = Credentials::given(keys("A", Some(life)), next);
        assert!(!credentials.may_have_expired(0));
        assert!(credentials.may_have_expired(1));
        let start = Instant::now();
        tokio::select! {
            () = credentials.clone().keep_renewed() => unreachable!("it never ends"),
            () = async {
                while credentials.generation() == 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            } => {}
        }
        assert!(start.elapsed() < life, "{:?}", start.elapsed());
        assert_eq!(credentials.expires_at(), None);
    }

    #[test]
    fn how_long_to_ask() {
        let silent = |given: &str| IdentityError::NoCredentials {
            sso: None,
            source: Box::new(CredentialsError::provider_error(given)),
        };
        let refused = IdentityError::MfaCodeNeeded {
            mfa_serial: "m".into(),
        };
        // Error, tries, seconds waited, life.
        for (error, tries, waited, life, again) in [
            (&unreachable(), 9, 59, 0, true),
            (&unreachable(), 9, 60, 0, false),
            (&unreachable(), 100, 1799, 3600, true),
            (&unreachable(), 100, 1800, 3600, false),
            (&silent("exit code 1"), 7, 100, 3600, true),
            (&silent("exit code 1"), 8, 0, 3600, false),
            (&refused, 1, 0, 3600, false),
        ] {
            let (elapsed, life) = (Duration::from_secs(waited), Duration::from_secs(life));
            let asks = asks_again(error, tries, elapsed, life);
            assert_eq!(asks, again, "{error:?} {tries} {waited} {life:?}");
        }
    }

    #[test]
    fn when_to_renew() {
        let seconds = Duration::from_secs;
        // Life, remaining, wait.
        let table = [
            (3600, 3600, 2700),
            (3600, 1800, 1350),
            (3600, 40, 60),
            (3600, 0, 60),
            (2, 2, 1),
            (900, 900, 675),
        ];
        for (life, remaining, wait) in table {
            let due = renewal_wait(seconds(life), seconds(remaining), 0);
            assert_eq!(due.as_secs(), wait, "{life} {remaining}");
        }
        for (failures, least, most) in [(1, 1, 2), (2, 2, 4), (5, 15, 30), (50, 15, 30)] {
            assert_eq!(wait_after(failures, 0.0), seconds(least));
            assert_eq!(wait_after(failures, 1.0), seconds(most));
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let credentials = Credentials::given(keys("A", None), Vec::new());
        let shown = format!("{credentials:?} {:?}", credentials.slot());
        assert!(!shown.contains("wJalrXUtnFEMI") && !shown.contains("FwoGZXIvYXdz"));
    }

    async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
        let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
        std::future::poll_fn(move |context| {
            let mut pending = false;
            for (future, output) in &mut futures {
                if output.is_none() {
                    match future.as_mut().poll(context) {
                        std::task::Poll::Ready(ready) => *output = Some(ready),
                        std::task::Poll::Pending => pending = true,
                    }
                }
            }
            if pending {
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(futures.iter_mut().filter_map(|(_, o)| o.take()).collect())
        })
        .await
    }
}
