//! The server as a value.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::access::Gate;
use crate::clock::Clock;
use crate::fault::Faults;
use crate::iam::AccountsFile;
use crate::identity::{Directory, SessionKeys};
use crate::log::RequestLog;
use crate::routes::Routes;
use crate::s3::Service;
use crate::store::Store;
use crate::sts::Sts;
use crate::wire::{Front, accept};

/// The Region of clients that name none, and of buckets made without one.
pub const DEFAULT_REGION: &str = "us-east-1";

/// How a sandbox starts.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Where it listens, on this machine only; any free port of 127.0.0.1 by default.
    pub listen: SocketAddr,
    /// Users, roles and KMS keys; [`AccountsFile::built_in`] by default.
    pub accounts: AccountsFile,
    /// The shortest session that STS gives, in seconds; 900 by default, as AWS.
    pub min_session_seconds: u64,
    /// How far its clock goes ahead of this machine's, in seconds; behind if negative; 0 by default.
    pub clock_ahead_seconds: i64,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            accounts: AccountsFile::built_in(),
            min_session_seconds: 900,
            clock_ahead_seconds: 0,
        }
    }
}

/// S3 and STS on one endpoint of this machine. It ends when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    accounts: AccountsFile,
    directory: Directory,
    store: Store,
    faults: Faults,
    log: RequestLog,
    clock: Clock,
    tasks: Mutex<JoinSet<()>>,
}

impl Sandbox {
    /// Starts on the runtime that it is called on.
    ///
    /// # Errors
    /// If it is not called on a tokio runtime, the address is not of this machine alone, or cannot be bound.
    pub fn start(options: SandboxOptions) -> io::Result<Self> {
        if !options.listen.ip().is_loopback() {
            let message = format!(
                "{} is not a loopback address: the sandbox serves this machine only",
                options.listen
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (store, faults, log) = (Store::default(), Faults::default(), RequestLog::default());
        let clock = Clock::ahead_by(options.clock_ahead_seconds);
        let directory = Directory::new(options.accounts.clone());
        let service = Service {
            store: store.clone(),
        };
        let gate = Gate {
            store: store.clone(),
            directory: directory.clone(),
        };
        let sts = Sts {
            directory: directory.clone(),
            min_session_seconds: options.min_session_seconds,
        };
        let mut s3 = S3ServiceBuilder::new(service.clone());
        // Times are compared with the sandbox's clock, in front of it.
        let mut config = S3Config::default();
        config.presigned_url_max_skew_time_secs = u32::MAX;
        s3.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        s3.set_auth(directory.clone());
        s3.set_access(gate.clone());
        s3.set_route(Routes {
            sts,
            s3: service,
            gate,
        });
        let front = Front {
            s3: s3.build(),
            store: store.clone(),
            directory: directory.clone(),
            faults: faults.clone(),
            log: log.clone(),
            clock: clock.clone(),
            late: Mutex::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn_on(accept(listener, Arc::new(front)), &runtime);
        Ok(Self {
            address,
            accounts: options.accounts,
            directory,
            store,
            faults,
            log,
            clock,
            tasks: Mutex::new(tasks),
        })
    }

    /// The endpoint of S3 and of STS, for all Regions; bucket names go into the path.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The Region for clients that need one.
    pub fn region(&self) -> &'static str {
        DEFAULT_REGION
    }

    /// Users with their keys, and roles.
    pub fn accounts(&self) -> &AccountsFile {
        &self.accounts
    }

    /// Makes the keys of a session of a user or a role, as what gives them to an instance, a container or a
    /// login does: nobody is asked. The name is for a role. None if there is no such user or role.
    pub fn begin_session(
        &self,
        arn: &str,
        session_name: &str,
        seconds: u64,
    ) -> Option<SessionKeys> {
        self.directory.begin_for(arn, session_name, seconds)
    }

    /// The buckets.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The faults.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The requests that it answered.
    pub fn log(&self) -> &RequestLog {
        &self.log
    }

    /// Moves the server's clock forward: `Date`, `Last-Modified` and the ends of sessions, of all that arrives from
    /// now on. What tests put past the server is dated by this machine's clock.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Closes the listener and all connections, and waits until they are gone.
    ///
    /// # Cancellation
    /// Dropped, it leaves them closing.
    pub async fn stop(self) {
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}
