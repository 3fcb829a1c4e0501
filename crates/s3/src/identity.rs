//! Who we are before any role: the default chain or a profile, and where STS and S3 are.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials as SdkCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::HttpClient;
use crate::identity_error::IdentityError;
use crate::profile::{self, ProfileRole, Source, WebIdentity};
use crate::quotas::MAX_ROLE_CHAINING;
use crate::role::{MfaCode, RoleOptions};
use crate::sts::{self, StsEndpoint};

/// The region of STS when none is named.
const DEFAULT_REGION: &str = "us-east-1";

/// Base credentials are asked for anew when they have less than this to live.
const LITTLE_LIFE: Duration = Duration::from_mins(1);

/// How long a process, a login or an endpoint may take to give credentials.
const SOURCE_TIMEOUT: Duration = Duration::from_mins(1);

/// How long before their end is warned of base credentials that nothing renews, or a quarter of what they
/// had left at the start.
const WARNED_BEFORE: Duration = Duration::from_mins(15);

/// Where the base identity comes from.
#[derive(Debug, Clone, Default)]
pub struct BaseOptions {
    /// A profile of the shared files; else the AWS default chain.
    pub profile: Option<String>,
    /// The region of STS; else `AWS_REGION`, the profile's, us-east-1.
    pub region: Option<String>,
    /// Another endpoint of STS.
    pub sts_endpoint_url: Option<String>,
    /// Another endpoint of S3, also of STS if `sts_endpoint_url` is none.
    pub endpoint_url: Option<String>,
    /// The code of the MFA device that the profile names ([`mfa_serial_of`](crate::mfa_serial_of)).
    pub mfa_code: Option<MfaCode>,
    /// How long an attempt of a request to STS may take; 30 s.
    pub attempt_timeout: Option<Duration>,
}

/// Who somebody is, as STS says it.
///
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account, 12 digits.
    pub account: String,
    /// The ARN of the user, or of the role's session.
    pub arn: String,
    /// The unique ID.
    pub user_id: String,
}

/// The identity that a job starts from: a user, a role of an instance, task or pod, an SSO session, or the
/// role that a profile takes.
///
/// Clones share the credentials, which are asked for anew before they end.
#[derive(Clone)]
pub struct BaseIdentity(Arc<Inner>);

struct Inner {
    profile: Option<String>,
    region: Option<String>,
    s3_endpoint_url: Option<String>,
    sts: StsEndpoint,
    mfa_code: Option<MfaCode>,
    /// The session that the profile's MFA device has begun.
    mfa_session: tokio::sync::Mutex<Option<SdkCredentials>>,
    held: tokio::sync::Mutex<Option<Held>>,
    ending: Mutex<Option<Ending>>,
    /// That a role lives an hour only is said once.
    chained: Once,
}

/// Base credentials as they came.
#[derive(Clone)]
struct Held {
    credentials: SdkCredentials,
    since: Instant,
    /// How long they live from `since`; none means without a known end.
    life: Option<Duration>,
    /// They are known to be a role's.
    role: bool,
}

type Provided = std::result::Result<Held, IdentityError>;

/// Credentials that nothing renews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    what: String,
    at: Option<SystemTime>,
}

impl Held {
    fn new(credentials: SdkCredentials) -> Self {
        let end = credentials.expiry();
        Self {
            since: Instant::now(),
            life: end.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default()),
            credentials,
            role: false,
        }
    }

    fn of_role(session: sts::Session) -> Self {
        Self {
            credentials: session.credentials,
            since: Instant::now(),
            life: Some(session.life),
            role: true,
        }
    }

    fn left(&self) -> Option<Duration> {
        let life = self.life?;
        Some(life.saturating_sub(self.since.elapsed()))
    }

    /// Of two clocks the one that says so: ours may be wrong, and the other one stands while a machine sleeps.
    fn ends_soon(&self) -> bool {
        let end = self.credentials.expiry();
        self.left().is_some_and(|left| left < LITTLE_LIFE)
            || end.is_some_and(|end| end < SystemTime::now() + LITTLE_LIFE)
    }
}

impl Ending {
    fn announce(&self) {
        let what = &self.what;
        let end = match self.at {
            Some(at) => format!("end at {}", time_text(at)),
            None => "have an end that is not known".to_owned(),
        };
        tracing::warn!(
            "{what} {end}, and cannot be renewed: the sessions that they have given by then are used to their \
             own end, then the job stops with exit code 3, to be resumed with new ones"
        );
    }
}

fn time_text(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}

/// How long to wait with the warning before an end that is `left` away.
fn warned_after(left: Duration) -> Duration {
    left.saturating_sub(WARNED_BEFORE.min(left / 4))
}

impl BaseIdentity {
    /// Finds the base identity and gets its credentials once, so that a lack of them shows at once.
    ///
    /// What nothing renews, such as the session of an environment, is announced with its end.
    ///
    /// # Errors
    ///
    /// No credentials, no such profile, one that makes no sense, or a role of it that STS refuses.
    pub async fn load(
        http: &HttpClient,
        options: &BaseOptions,
    ) -> std::result::Result<Self, IdentityError> {
        let config = shared_config(http, options).await;
        let region = config.region().map(|region| region.as_ref().to_owned());
        let sts = StsEndpoint {
            http: http.clone(),
            region: region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            url: options
                .sts_endpoint_url
                .clone()
                .or_else(|| options.endpoint_url.clone())
                .or_else(|| endpoint_url(&config, "STS")),
            attempt_timeout: options.attempt_timeout,
        };
        let s3_endpoint_url = options
            .endpoint_url
            .clone()
            .or_else(|| endpoint_url(&config, "S3"));
        let base = Self(Arc::new(Inner {
            profile: options.profile.clone(),
            region,
            s3_endpoint_url,
            sts,
            mfa_code: options.mfa_code.clone(),
            mfa_session: tokio::sync::Mutex::default(),
            held: tokio::sync::Mutex::default(),
            ending: Mutex::default(),
            chained: Once::new(),
        }));
        base.renewed().await?;
        Ok(base)
    }

    /// Asks STS who this is.
    ///
    /// # Errors
    ///
    /// The credentials are no good, or STS does not answer.
    pub async fn caller(&self) -> std::result::Result<Caller, IdentityError> {
        let client = self.sts().client(self.clone());
        sts::caller(&client).await.map_err(|error| {
            IdentityError::from_sts(error, |error| IdentityError::BaseRefused { error })
        })
    }

    /// Until when nothing has to give new credentials; none means without an end, or until one that is not known.
    pub async fn expires_at(&self) -> Option<SystemTime> {
        let held = self.0.held.lock().await;
        held.as_ref()?.credentials.expiry()
    }

    /// Whether nothing renews the credentials: a session in the environment, in a profile, of an MFA device.
    pub fn is_not_renewed(&self) -> bool {
        self.ending().is_some()
    }

    /// The region that was given, or is set in the environment or the profile.
    pub fn region(&self) -> Option<&str> {
        self.0.region.as_deref()
    }

    /// The endpoint of S3 that was given, or is set in the environment (`AWS_ENDPOINT_URL_S3`,
    /// `AWS_ENDPOINT_URL`) or the profile (its `services` section, or `endpoint_url`).
    pub fn s3_endpoint_url(&self) -> Option<&str> {
        self.0.s3_endpoint_url.as_deref()
    }

    pub(crate) fn sts(&self) -> &StsEndpoint {
        &self.0.sts
    }

    /// The credentials, asked for anew if they are about to end, with the life that they have left.
    pub(crate) async fn current(
        &self,
    ) -> std::result::Result<(SdkCredentials, Option<Duration>), IdentityError> {
        let mut held = self.0.held.lock().await;
        if held.as_ref().is_none_or(Held::ends_soon) {
            match self.provide().await {
                Ok(new) => *held = Some(new),
                // They may still serve: our clock is not the one that counts.
                Err(error) if held.is_some() => {
                    tracing::debug!(error = error.told(), "no new base credentials");
                }
                Err(error) => return Err(error),
            }
        }
        match &*held {
            Some(held) => Ok((held.credentials.clone(), held.left())),
            None => Err(IdentityError::ExpiredBase { source: None }),
        }
    }

    /// The credentials, asked for anew, with the life that they have.
    pub(crate) async fn renewed(
        &self,
    ) -> std::result::Result<(SdkCredentials, Option<Duration>), IdentityError> {
        let mut held = self.0.held.lock().await;
        let new = held.insert(self.provide().await?);
        Ok((new.credentials.clone(), new.life))
    }

    /// Whether the profile takes a role.
    pub(crate) async fn is_of_profile_role(&self) -> bool {
        self.0
            .held
            .lock()
            .await
            .as_ref()
            .is_some_and(|held| held.role)
    }

    /// How long a role can live that is taken with these credentials: STS refuses more than an hour to
    /// who is a role already. STS is asked only where more is wanted.
    pub(crate) async fn clamped(&self, role_arn: &str, duration: Duration) -> Duration {
        let held = self.0.held.lock().await.clone();
        match held {
            Some(held) => self.clamped_of(&held, role_arn, duration).await,
            None => duration,
        }
    }

    async fn clamped_of(&self, held: &Held, role_arn: &str, duration: Duration) -> Duration {
        if duration <= MAX_ROLE_CHAINING || held.credentials.session_token().is_none() {
            return duration;
        }
        let chained = held.role || {
            let client = self.sts().client(held.credentials.clone());
            let caller = sts::caller(&client).await;
            // Who does not say is asked for what was wanted, and may refuse it.
            caller.is_ok_and(|caller| caller.arn.contains(":assumed-role/"))
        };
        if !chained {
            return duration;
        }
        self.0.chained.call_once(|| {
            let asked = duration.as_secs();
            tracing::warn!(
                "{role_arn} is taken with another role's credentials: its sessions last one hour, not the \
                 {asked} s asked for, and are renewed"
            );
        });
        MAX_ROLE_CHAINING
    }

    /// Begins the session of a user with a device, as long as there is: a code is given once.
    pub(crate) async fn mfa_session(
        &self,
        user: impl ProvideCredentials + 'static,
        mfa_serial: &str,
        code: Option<&MfaCode>,
    ) -> std::result::Result<SdkCredentials, IdentityError> {
        let mfa_serial = mfa_serial.to_owned();
        let Some(code) = code else {
            return Err(IdentityError::MfaCodeNeeded { mfa_serial });
        };
        let client = self.sts().client(user);
        let session = sts::session_token(&client, &mfa_serial, code.reveal()).await;
        let session = session.map_err(|error| {
            IdentityError::from_sts(error, |error| IdentityError::MfaRefused {
                mfa_serial: mfa_serial.clone(),
                error,
            })
        })?;
        self.ends(
            format!("the base credentials, a session of MFA device {mfa_serial},"),
            session.expiry(),
        );
        Ok(session)
    }

    /// Takes note of a session that nothing renews.
    fn note(&self, source: &Source) {
        match source {
            Source::Environment(end) if profile::session_in_environment() => {
                let what =
                    "the base credentials, a session in the environment (AWS_SESSION_TOKEN),";
                self.ends(what.to_owned(), *end);
            }
            Source::Keys {
                profile,
                credentials,
            } if credentials.session_token().is_some() => {
                let what = format!("the base credentials, a session in profile {profile},");
                self.ends(what, credentials.expiry());
            }
            _ => {}
        }
    }

    /// Announces an end that was not known before.
    fn ends(&self, what: String, at: Option<SystemTime>) {
        let ending = Some(Ending { what, at });
        if let Some(ending) = ending.as_ref().filter(|_| self.ending() != ending) {
            ending.announce();
        }
        *self.0.ending.lock().unwrap_or_else(PoisonError::into_inner) = ending;
    }

    fn ending(&self) -> Option<Ending> {
        let ending = self.0.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending.clone()
    }

    /// Warns before base credentials end that nothing renews: a service task, dropped at the end.
    pub(crate) async fn warn_of_end(&self) {
        let mut warned = None;
        loop {
            let end = self
                .ending()
                .and_then(|ending| Some((ending.what, ending.at?)));
            let Some((what, at)) = end.filter(|(_, at)| warned != Some(*at)) else {
                tokio::time::sleep(LITTLE_LIFE).await;
                continue;
            };
            let left = at.duration_since(SystemTime::now()).unwrap_or_default();
            let due = SystemTime::now() + warned_after(left);
            // In steps: a timer stands while a machine sleeps.
            while let Ok(wait) = due.duration_since(SystemTime::now()) {
                tokio::time::sleep(wait.min(LITTLE_LIFE)).await;
            }
            warned = Some(at);
            // Who has logged in meanwhile has written others into a profile.
            if let Ok(origin) = profile::find(self.0.profile.as_deref()).await {
                self.note(&origin.source);
            }
            if self.ending().is_some_and(|ending| ending.at == warned) {
                let left = at.duration_since(SystemTime::now()).unwrap_or_default();
                tracing::warn!(
                    "{what} end in {} s, at {}, and cannot be renewed: the job will stop, to be resumed with \
                     new ones",
                    left.as_secs(),
                    time_text(at)
                );
            }
        }
    }

    /// Its type is erased, for it is part of every request that may have to renew: the SDK's providers nest
    /// deeper than the compiler goes.
    fn provide(&self) -> Pin<Box<dyn Future<Output = Provided> + Send + '_>> {
        Box::pin(async move {
            let origin = profile::find(self.0.profile.as_deref()).await?;
            let mut held = self.first(origin.source).await?;
            checked(&held.credentials)?;
            for role in &origin.roles {
                held = self.take(held, role).await?;
            }
            Ok(held)
        })
    }

    /// What gives the first credentials is asked.
    async fn first(&self, source: Source) -> std::result::Result<Held, IdentityError> {
        self.note(&source);
        let config = ProviderConfig::without_region()
            .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
            .with_region(Some(Region::new(self.sts().region.clone())))
            .with_http_client(self.sts().http.shared());
        let credentials = match source {
            Source::Environment(end) => {
                let mut found = asked(&EnvironmentVariableCredentialsProvider::new(), None).await?;
                *found.expiry_mut() = end;
                found
            }
            Source::Keys { credentials, .. } => credentials,
            Source::Profile { name, sso } => {
                let provider = ProfileFileCredentialsProvider::builder()
                    .profile_name(&name)
                    .configure(&config)
                    .build();
                asked(&provider, sso.then_some(name)).await?
            }
            Source::WebIdentity(role) => return self.web_identity(&role).await,
            Source::Container => {
                let provider = EcsCredentialsProvider::builder().configure(&config).build();
                asked(&provider, None).await?
            }
            Source::Instance => {
                let provider = ImdsCredentialsProvider::builder()
                    .configure(&config)
                    .build();
                asked(&provider, None).await?
            }
            Source::Chain => {
                let chain = DefaultCredentialsChain::builder().configure(config);
                asked(&chain.build().await, None).await?
            }
        };
        Ok(Held::new(credentials))
    }

    async fn web_identity(&self, role: &WebIdentity) -> std::result::Result<Held, IdentityError> {
        let file = &role.token_file;
        let token = aws_types::os_shim_internal::Fs::real()
            .read_to_end(file)
            .await;
        let token = token.map_err(|error| IdentityError::NoCredentials {
            sso: None,
            source: format!(
                "cannot read the web identity token {}: {error}",
                file.display()
            )
            .into(),
        })?;
        let (client, token) = (self.sts().unsigned(), String::from_utf8_lossy(&token));
        let session = sts::assume_role_with_web_identity(&client, role, token.trim()).await;
        session.map(Held::of_role).map_err(|error| {
            IdentityError::from_sts(error, |error| IdentityError::RoleRefused {
                role_arn: role.role_arn.clone(),
                duration: role.duration,
                error,
            })
        })
    }

    /// Takes a role of a profile.
    async fn take(
        &self,
        held: Held,
        role: &ProfileRole,
    ) -> std::result::Result<Held, IdentityError> {
        let (credentials, duration) = match &role.mfa_serial {
            None => {
                let duration = self.clamped_of(&held, &role.role_arn, role.duration).await;
                (held.credentials, duration)
            }
            Some(mfa_serial) => {
                let mut session = self.0.mfa_session.lock().await;
                if session.is_none() {
                    let code = self.0.mfa_code.as_ref();
                    let begun = self.mfa_session(held.credentials, mfa_serial, code);
                    *session = Some(begun.await?);
                }
                let session = session.clone();
                let lost = || IdentityError::MfaCodeNeeded {
                    mfa_serial: mfa_serial.clone(),
                };
                (session.ok_or_else(lost)?, role.duration)
            }
        };
        let options = RoleOptions {
            role_arn: role.role_arn.clone(),
            external_id: role.external_id.clone(),
            session_name: role.session_name.clone(),
            duration,
            mfa_serial: None,
            mfa_code: None,
        };
        let client = self.sts().client(credentials);
        let session = sts::assume_role(&client, &options).await;
        session.map(Held::of_role).map_err(|error| {
            IdentityError::from_sts(error, |error| IdentityError::RoleRefused {
                role_arn: options.role_arn,
                duration,
                error,
            })
        })
    }
}

impl ProvideCredentials for BaseIdentity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let (credentials, _) = self
                .current()
                .await
                .map_err(CredentialsError::provider_error)?;
            Ok(credentials)
        })
    }
}

impl fmt::Debug for BaseIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseIdentity")
            .field("profile", &self.0.profile)
            .field("region", &self.0.region)
            .finish_non_exhaustive()
    }
}

/// What environment and profile say about regions and endpoints.
async fn shared_config(http: &HttpClient, options: &BaseOptions) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http.shared())
        .no_credentials();
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    loader.load().await
}

fn endpoint_url(config: &SdkConfig, service_id: &str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service_id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    config
        .service_config()
        .and_then(|services| services.load_config(key))
        .or_else(|| config.endpoint_url().map(str::to_owned))
}

/// Asks a provider of the SDK. It is built anew each time: it keeps what it has once read of the shared
/// files, and who logs in again while a job runs writes there.
async fn asked(
    provider: &impl ProvideCredentials,
    sso: Option<String>,
) -> std::result::Result<SdkCredentials, IdentityError> {
    let asked = tokio::time::timeout(SOURCE_TIMEOUT, provider.provide_credentials());
    let given = asked
        .await
        .unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(SOURCE_TIMEOUT)));
    given.map_err(|error| IdentityError::NoCredentials {
        sso,
        source: Box::new(error),
    })
}

/// A header cannot carry some, and the SDK panics on them: a secret's file often ends in a line break.
fn checked(credentials: &SdkCredentials) -> std::result::Result<(), IdentityError> {
    let broken = [
        ("access key ID", Some(credentials.access_key_id())),
        ("secret access key", Some(credentials.secret_access_key())),
        ("session token", credentials.session_token()),
    ]
    .into_iter()
    .find(|(_, text)| text.is_some_and(|text| text.contains(|c: char| c.is_control() || c == ' ')));
    match broken {
        Some((which, _)) => Err(IdentityError::NoCredentials {
            sso: None,
            source: format!("the {which} has a line break, a space or a control character in it")
                .into(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_warn() {
        for (left, wait) in [(36 * 3600, 36 * 3600 - 900), (3600, 2700), (60, 45), (0, 0)] {
            let wait = Duration::from_secs(wait);
            assert_eq!(warned_after(Duration::from_secs(left)), wait, "{left}");
        }
    }
}
