//! Where all clients read their credentials.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials as SdkCredentials;
use aws_credential_types::provider::{ProvideCredentials, future};

/// What clients read at each request.
#[derive(Clone)]
pub(crate) struct Slot(Arc<RwLock<Held>>);

pub(crate) struct Held {
    pub(crate) credentials: SdkCredentials,
    pub(crate) generation: u64,
    pub(crate) since: Instant,
    /// How long they live from `since`; none means without end.
    pub(crate) life: Option<Duration>,
}

impl Slot {
    pub(crate) fn new(credentials: SdkCredentials, life: Option<Duration>) -> Self {
        Self(Arc::new(RwLock::new(Held {
            credentials,
            generation: 0,
            since: Instant::now(),
            life,
        })))
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Held) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts new ones in; false if they are the same.
    pub(crate) fn put(&self, credentials: SdkCredentials, life: Option<Duration>) -> bool {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let same = held.credentials.access_key_id() == credentials.access_key_id()
            && held.credentials.session_token() == credentials.session_token();
        if !same {
            held.generation += 1;
            held.credentials = credentials;
            held.since = Instant::now();
            held.life = life;
        }
        !same
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl ProvideCredentials for Slot {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        // Whether they have ended is for the server to say: our clock may be wrong.
        future::ProvideCredentials::ready(Ok(self.read(|held| held.credentials.clone())))
    }
}
