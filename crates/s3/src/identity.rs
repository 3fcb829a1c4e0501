//! Who we are before any role: the default chain or a profile, and where STS and S3 are.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

use crate::client::HttpClient;
use crate::identity_error::IdentityError;
use crate::profile;
use crate::sts::{self, StsEndpoint};

/// The region of STS when none is named.
const DEFAULT_REGION: &str = "us-east-1";

/// Base credentials are asked for anew when they have less than this to live.
const LITTLE_LIFE: Duration = Duration::from_mins(1);

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

/// The identity that a job starts from: a user, a role of an instance, task or pod, or an SSO session.
///
/// Clones share the credentials, which are asked for anew before they end.
#[derive(Clone)]
pub struct BaseIdentity(Arc<Inner>);

struct Inner {
    profile: Option<String>,
    region: Option<String>,
    s3_endpoint_url: Option<String>,
    sts: StsEndpoint,
    temporary: bool,
    held: tokio::sync::Mutex<aws_credential_types::Credentials>,
}

impl BaseIdentity {
    /// Finds the base identity and gets its credentials once, so that a lack of them shows at once.
    ///
    /// # Errors
    ///
    /// No credentials, no such profile, or one that asks for what is not supported.
    pub async fn load(
        http: &HttpClient,
        options: &BaseOptions,
    ) -> std::result::Result<Self, IdentityError> {
        profile::check(options.profile.as_deref()).await?;
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
        };
        let s3_endpoint_url = options
            .endpoint_url
            .clone()
            .or_else(|| endpoint_url(&config, "S3"));
        let credentials = provide(options.profile.as_deref(), &sts).await?;
        Ok(Self(Arc::new(Inner {
            profile: options.profile.clone(),
            region,
            s3_endpoint_url,
            sts,
            temporary: credentials.session_token().is_some(),
            held: tokio::sync::Mutex::new(credentials),
        })))
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

    /// The credentials, asked for anew if they are about to end.
    pub(crate) async fn current(
        &self,
    ) -> std::result::Result<aws_credential_types::Credentials, IdentityError> {
        let mut held = self.0.held.lock().await;
        let ends_soon = held
            .expiry()
            .is_some_and(|end| end < SystemTime::now() + LITTLE_LIFE);
        if ends_soon {
            match self.provide().await {
                Ok(credentials) => *held = credentials,
                // They may still serve: our clock is not the one that counts.
                Err(error) => tracing::debug!(%error, "no new base credentials"),
            }
        }
        Ok(held.clone())
    }

    /// The credentials, asked for anew.
    pub(crate) async fn renewed(
        &self,
    ) -> std::result::Result<aws_credential_types::Credentials, IdentityError> {
        let mut held = self.0.held.lock().await;
        *held = self.provide().await?;
        Ok(held.clone())
    }

    async fn provide(
        &self,
    ) -> std::result::Result<aws_credential_types::Credentials, IdentityError> {
        provide(self.0.profile.as_deref(), &self.0.sts).await
    }
}

impl ProvideCredentials for BaseIdentity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.current()
                .await
                .map_err(CredentialsError::provider_error)
        })
    }
}

impl fmt::Debug for BaseIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseIdentity")
            .field("profile", &self.0.profile)
            .field("region", &self.0.region)
            .field("temporary", &self.0.temporary)
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

/// Asks the profile if one is named, else the default chain.
///
/// The chain is built anew each time: it keeps what it has once read of the shared files, and who logs in
/// again while a job runs writes there. A named profile is asked alone, as the chain would prefer keys in
/// the environment to it.
async fn provide(
    profile: Option<&str>,
    sts: &StsEndpoint,
) -> std::result::Result<aws_credential_types::Credentials, IdentityError> {
    let config = ProviderConfig::without_region()
        .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
        .with_region(Some(Region::new(sts.region.clone())))
        .with_http_client(sts.http.shared());
    let provided = match profile {
        Some(profile) => {
            ProfileFileCredentialsProvider::builder()
                .profile_name(profile)
                .configure(&config)
                .build()
                .provide_credentials()
                .await
        }
        None => {
            DefaultCredentialsChain::builder()
                .configure(config)
                .build()
                .await
                .provide_credentials()
                .await
        }
    };
    let provided = provided.map_err(|error| IdentityError::NoCredentials {
        source: Box::new(error),
    })?;
    // A header cannot carry them, and the SDK panics on them: a secret's file often ends in a line break.
    let broken = [
        ("access key ID", Some(provided.access_key_id())),
        ("secret access key", Some(provided.secret_access_key())),
        ("session token", provided.session_token()),
    ]
    .into_iter()
    .find(|(_, text)| text.is_some_and(|text| text.contains(|c: char| c.is_control() || c == ' ')));
    match broken {
        Some((which, _)) => Err(IdentityError::NoCredentials {
            source: format!("the {which} has a line break, a space or a control character in it")
                .into(),
        }),
        None => Ok(provided),
    }
}
