//! Who copies, and between which buckets: identity, regions and owners, settled before the first row.

use std::time::Duration;

use s3haul_s3::retry::back_off;
use s3haul_s3::{
    BaseIdentity, BaseOptions, BucketFacts, Class, ClientOptions, Credentials, HeaderPair,
    HttpClient, IdentityError, MfaCode, Network, NetworkError, OnDoubt, Operation, Requests,
    RetryOptions, RoleOptions, S3Client, S3Error, Tally, Throttle, ThrottleOptions, find_region,
    partition_of,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Attempts of a look at a bucket before a job: three tell.
const LOOKS: u32 = 3;
/// Connections of an identity that reads manifests alone.
const MANIFEST_CONNECTIONS: usize = 8;

/// A role to assume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its ARN.
    pub role_arn: String,
    /// The external ID that its trust policy asks for.
    pub external_id: Option<String>,
    /// Session name.
    pub session_name: String,
    /// Life of a session, in seconds.
    pub duration_seconds: u64,
    /// The MFA device of the base identity.
    pub mfa_serial: Option<String>,
}

/// Whose bucket one side expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The account of the role; nobody's in particular without a role.
    OfRole,
    /// This account.
    Account(String),
    /// Anybody's.
    Any,
}

/// How S3 and STS are reached, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessOptions {
    /// Profile of the base identity; the AWS default chain without one.
    pub profile: Option<String>,
    /// Profile that reads a manifest in S3; who copies does without one.
    #[serde(default)]
    pub manifest_profile: Option<String>,
    /// Profile that reads and writes a report in S3; who copies does without one.
    #[serde(default)]
    pub report_profile: Option<String>,
    /// Expected owner of the bucket of a report in S3.
    #[serde(default)]
    pub report_account: Option<String>,
    /// The role that reads and writes; the base identity without one.
    pub role: Option<Role>,
    /// Expected owner of the source bucket.
    pub source_account: Option<String>,
    /// Expected owner of the destination bucket.
    pub destination_account: Owner,
    /// Region of the destination bucket, and of STS; found out where it is not named.
    pub region: Option<String>,
    /// Region of the source bucket; found out where it is not named.
    pub source_region: Option<String>,
    /// Endpoint of S3, and of STS where that has none of its own.
    pub endpoint_url: Option<String>,
    /// Endpoint for requests that read the source alone.
    pub source_endpoint_url: Option<String>,
    /// Endpoint of STS.
    pub sts_endpoint_url: Option<String>,
    /// Buckets go in the path, not in the host name.
    pub force_path_style: bool,
}

impl AccessOptions {
    /// The account that the destination bucket is expected to be of, if it is expected to be of one.
    pub fn expected_destination(&self) -> Option<String> {
        match &self.destination_account {
            Owner::Account(account) => Some(account.clone()),
            Owner::OfRole => self
                .role
                .as_ref()
                .and_then(|role| account_of(&role.role_arn)),
            Owner::Any => None,
        }
    }
}

/// Why a job has no access.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// There is no identity, or the role was refused.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The environment names a proxy or certificates that cannot be used.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A bucket is not there.
    #[error("the {side} bucket {bucket} does not exist")]
    NoSuchBucket {
        /// `source` or `destination`.
        side: &'static str,
        /// The bucket.
        bucket: String,
        /// S3's answer.
        source: Box<S3Error>,
    },
    /// A bucket is not the expected account's.
    #[error("the {side} bucket {bucket} is not owned by account {account}")]
    OtherOwner {
        /// `source` or `destination`.
        side: &'static str,
        /// The bucket.
        bucket: String,
        /// The expected account.
        account: String,
        /// The flag that names another.
        flag: &'static str,
        /// No account was named: it is the role's.
        of_role: bool,
    },
    /// Role and buckets are not all of one partition.
    #[error(
        "{first}, {second}: S3 copies nothing across partitions, and no identity is known to two"
    )]
    Partitions {
        /// What is of one.
        first: String,
        /// What is of another.
        second: String,
    },
    /// The destination must keep versions, and does not.
    #[error(
        "--versions all needs a destination that keeps versions: the versioning of {bucket} is {}",
        if *suspended { "suspended" } else { "off" }
    )]
    NotVersioned {
        /// The destination bucket.
        bucket: String,
        /// It did keep versions once.
        suspended: bool,
    },
    /// It cannot be asked whether the destination keeps versions.
    #[error("cannot ask whether the destination bucket {bucket} keeps versions")]
    VersioningUnknown {
        /// The destination bucket.
        bucket: String,
        /// Why.
        source: Box<S3Error>,
    },
    /// It cannot be asked who owns the destination.
    #[error("cannot ask who owns the destination bucket {bucket}, which --compare acl goes by")]
    BucketOwnerUnknown {
        /// The destination bucket.
        bucket: String,
        /// Why; without an answer that names nobody.
        source: Option<Box<S3Error>>,
    },
    /// A bucket cannot be asked for.
    #[error("cannot reach the {side} bucket {bucket}")]
    Unreachable {
        /// `source` or `destination`.
        side: &'static str,
        /// The bucket.
        bucket: String,
        /// Why.
        source: Box<S3Error>,
    },
}

impl AccessError {
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Network(_) => None,
            Self::Identity(error) => error.hint(),
            Self::NoSuchBucket { .. } => Some("check the bucket's name".to_owned()),
            Self::OtherOwner {
                flag,
                account,
                of_role,
                ..
            } => Some(format!(
                "if that is meant, name its account with {flag}; {account} is {}",
                if *of_role {
                    "the role's"
                } else {
                    "what was given"
                }
            )),
            Self::Partitions { .. } => Some(
                "such objects must be read with an identity of the one partition and written with \
                 one of the other, which this version does not do; if the regions are wrong, see \
                 --region and --source-region"
                    .to_owned(),
            ),
            Self::NotVersioned { .. } => {
                Some("enable its versioning, or copy with --versions latest".to_owned())
            }
            Self::VersioningUnknown { .. } => Some(
                "who copies (the role, if there is one) needs s3:GetBucketVersioning there: with \
                 --delete-markers replay deletes are sent, which in a bucket without versions delete"
                    .to_owned(),
            ),
            Self::BucketOwnerUnknown { .. } => Some(
                "who verifies (the role, if there is one) needs s3:GetBucketAcl there; --compare without \
                 acl does without"
                    .to_owned(),
            ),
            Self::Unreachable { source, .. } if source.class() == Class::Throttled => {
                Some("S3 throttles these requests: begin again later".to_owned())
            }
            Self::Unreachable { .. } => Some(
                "check the network, --endpoint-url and --region; requests go to the \
                 destination's region"
                    .to_owned(),
            ),
        }
    }

    /// Whether access that is granted later would mend it; a wrong name it does not.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Network(_)
                | Self::NoSuchBucket { .. }
                | Self::Partitions { .. }
                | Self::NotVersioned { .. }
        )
    }
}

/// An established access.
#[derive(Debug, Clone)]
pub struct Access {
    /// The credentials that all requests use.
    pub credentials: Credentials,
    /// Client of the destination's region.
    pub destination: S3Client,
    /// Client of the source's region.
    pub source: S3Client,
    /// Expected owner of the destination, on every request of that side.
    pub destination_account: Option<String>,
    /// S3's time.
    pub now: OffsetDateTime,
    /// ARN of the identity that copies, its session included; unknown where STS would not say.
    pub arn: Option<String>,
    /// Canonical user ID of the destination bucket's owner, where a job compares ACLs with it.
    pub bucket_owner: Option<String>,
}

/// Who somebody is before any role, found.
#[derive(Debug, Clone)]
pub struct Base {
    options: AccessOptions,
    http: HttpClient,
    max_connections: usize,
    identity: BaseIdentity,
    mfa_code: Option<MfaCode>,
    retry: RetryOptions,
}

impl Base {
    /// Finds the identity. `retry` is for reads of manifests.
    ///
    /// # Errors
    /// There is none.
    pub async fn find(
        options: &AccessOptions,
        mfa_code: Option<MfaCode>,
        max_connections: usize,
        retry: RetryOptions,
    ) -> Result<Self, AccessError> {
        one_partition(
            options,
            options.source_region.as_deref(),
            options.region.as_deref(),
        )?;
        let http = HttpClient::new(max_connections, &Network::of_environment()?);
        // Of the profile's device where it has one: both is refused.
        let code = mfa_code.clone();
        let identity = base(&http, options, options.profile.as_ref(), code, &retry).await?;
        Ok(Self {
            options: options.clone(),
            http,
            max_connections,
            identity,
            mfa_code,
            retry,
        })
    }

    /// Who it is.
    pub fn identity(&self) -> &BaseIdentity {
        &self.identity
    }
}

/// Who works, established: credentials over one pool of connections. Clones share both.
#[derive(Debug, Clone)]
pub struct Connection {
    options: AccessOptions,
    http: HttpClient,
    max_connections: usize,
    base: BaseIdentity,
    credentials: Credentials,
    /// For looks at buckets: somebody waits.
    looks: Requests,
    requests: Requests,
}

impl Connection {
    /// Finds the identity and becomes the role. `retry` is for reads of manifests.
    ///
    /// # Errors
    /// No identity, a refused role.
    pub async fn begin(
        options: &AccessOptions,
        mfa_code: Option<MfaCode>,
        max_connections: usize,
        retry: RetryOptions,
    ) -> Result<Self, AccessError> {
        let base = Base::find(options, mfa_code, max_connections, retry).await?;
        Self::of_base(base).await
    }

    /// Becomes the role.
    ///
    /// # Errors
    /// It is refused.
    pub async fn of_base(base: Base) -> Result<Self, AccessError> {
        let credentials = credentials(&base.identity, &base.options, base.mfa_code).await?;
        Ok(Self::of(
            &base.options,
            base.http,
            base.max_connections,
            base.identity,
            credentials,
            base.retry,
        ))
    }

    fn of(
        options: &AccessOptions,
        http: HttpClient,
        max_connections: usize,
        base: BaseIdentity,
        credentials: Credentials,
        retry: RetryOptions,
    ) -> Self {
        let throttle = Throttle::new(&ThrottleOptions::default());
        let look = RetryOptions {
            max_attempts: retry.max_attempts.min(LOOKS),
            ..retry.clone()
        };
        Self {
            options: options.clone(),
            http,
            max_connections,
            base,
            looks: Requests::new(throttle.clone(), credentials.clone(), look),
            requests: Requests::new(throttle, credentials.clone(), retry),
            credentials,
        }
    }

    /// The same with the identity of a profile, without a role but the profile's own: it reads the manifest.
    ///
    /// # Errors
    /// The profile has no identity.
    pub async fn of_profile(
        options: &AccessOptions,
        profile: &str,
        mfa_code: Option<MfaCode>,
        retry: RetryOptions,
    ) -> Result<Self, AccessError> {
        let http = HttpClient::new(MANIFEST_CONNECTIONS, &Network::of_environment()?);
        let profile = Some(profile.to_owned());
        let base = base(&http, options, profile.as_ref(), mfa_code, &retry).await?;
        let credentials = Credentials::base(&base).await?;
        Ok(Self::of(
            options,
            http,
            MANIFEST_CONNECTIONS,
            base,
            credentials,
            retry,
        ))
    }

    /// The same identity for a job of which more is known now.
    #[must_use]
    pub fn with_options(self, options: &AccessOptions) -> Self {
        Self {
            options: options.clone(),
            ..self
        }
    }

    /// The same identity, whose reads of manifests have at least so many attempts.
    #[must_use]
    pub fn with_attempts(self, attempts: u32) -> Self {
        Self {
            requests: self.requests.with_attempts(attempts),
            ..self
        }
    }

    /// The endpoint of S3 that was given, or that the environment or the profile sets.
    pub fn s3_endpoint_url(&self) -> Option<&str> {
        self.base.s3_endpoint_url()
    }

    /// Who it was before any role.
    pub fn base(&self) -> &BaseIdentity {
        &self.base
    }

    /// The credentials that all requests use.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What reads manifests, past the throttle of the job.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Looks at both buckets of a job.
    ///
    /// # Errors
    /// A bucket that is absent or another account's, or two partitions.
    pub async fn job(
        &self,
        source_bucket: &str,
        destination_bucket: &str,
    ) -> Result<Access, AccessError> {
        let options = &self.options;
        let destination_account = options.expected_destination();
        let mut destination = Side {
            requests: self.looks.clone(),
            side: "destination",
            bucket: destination_bucket,
            account: destination_account.as_deref(),
            flag: "--destination-account",
            of_role: options.destination_account == Owner::OfRole,
            client: self.destination_client(options.region.as_deref()),
        };
        let mut source = self.side(source_bucket);
        if options.region.is_none() {
            let region = destination.region().await?;
            destination.client = self.destination_client(region.as_deref());
        }
        self.find_source(&mut source).await?;
        one_partition(
            options,
            Some(source.client.region()),
            Some(destination.client.region()),
        )?;
        // Times of both sides are compared with the job's: the earlier clock is the safe one.
        let dates = [
            destination.check_owner().await?,
            source.check_owner().await?,
        ];
        let date = dates.into_iter().flatten().min();
        let arn = self
            .credentials
            .caller()
            .await
            .ok()
            .map(|caller| caller.arn);
        let (destination, source) = (destination.client, source.client);
        Ok(Access {
            destination,
            source,
            destination_account,
            now: date.unwrap_or_else(own_time),
            arn,
            bucket_owner: None,
            credentials: self.credentials.clone(),
        })
    }

    /// Looks at a bucket that is only read, the source.
    ///
    /// # Errors
    /// It is absent or another account's.
    pub async fn source(&self, bucket: &str) -> Result<(Credentials, S3Client), AccessError> {
        let mut source = self.side(bucket);
        self.find_source(&mut source).await?;
        one_partition(&self.options, Some(source.client.region()), None)?;
        source.check_owner().await?;
        Ok((self.credentials.clone(), source.client))
    }

    /// A client of the region in which a manifest's bucket is, wherever that is.
    ///
    /// # Errors
    /// There is no such bucket, or it cannot be asked for.
    pub async fn manifest(&self, bucket: &str) -> Result<S3Client, AccessError> {
        self.elsewhere("manifest's", bucket).await
    }

    /// A client of the region in which a report's bucket is, wherever that is.
    ///
    /// # Errors
    /// There is no such bucket, or it cannot be asked for.
    pub async fn report(&self, bucket: &str) -> Result<S3Client, AccessError> {
        self.elsewhere("report's", bucket).await
    }

    async fn elsewhere(&self, side: &'static str, bucket: &str) -> Result<S3Client, AccessError> {
        let side = Side {
            requests: self.looks.clone(),
            side,
            bucket,
            account: None,
            flag: "",
            of_role: false,
            client: self.destination_client(None),
        };
        let region = side.region().await?;
        Ok(self.destination_client(region.as_deref()))
    }

    /// A client of a region, or of a likely one.
    fn client(&self, region: Option<&str>, endpoint_url: Option<&String>) -> S3Client {
        let endpoint_url = endpoint_url
            .map(String::as_str)
            .or(self.base.s3_endpoint_url());
        let region = region.or(self.base.region()).unwrap_or("us-east-1");
        let options = ClientOptions {
            region: region.to_owned(),
            endpoint_url: endpoint_url.map(str::to_owned),
            force_path_style: self.options.force_path_style,
            max_connections: self.max_connections,
        };
        S3Client::new(&self.http, &options, &self.credentials)
    }

    /// A client for all but reads of the source, of a region or of a likely one.
    pub fn destination_client(&self, region: Option<&str>) -> S3Client {
        self.client(region, self.options.endpoint_url.as_ref())
    }

    /// A client for reads of the source, of a region or of a likely one.
    pub fn source_client(&self, region: Option<&str>) -> S3Client {
        let options = &self.options;
        let endpoint_url = options.source_endpoint_url.as_ref();
        self.client(region, endpoint_url.or(options.endpoint_url.as_ref()))
    }

    fn side<'a>(&'a self, bucket: &'a str) -> Side<'a> {
        Side {
            requests: self.looks.clone(),
            side: "source",
            bucket,
            account: self.options.source_account.as_deref(),
            flag: "--source-account",
            of_role: false,
            client: self.source_client(self.options.source_region.as_deref()),
        }
    }

    async fn find_source(&self, source: &mut Side<'_>) -> Result<(), AccessError> {
        if self.options.source_region.is_none() {
            let region = source.region().await?;
            source.client = self.source_client(region.as_deref());
        }
        Ok(())
    }
}

async fn base(
    http: &HttpClient,
    options: &AccessOptions,
    profile: Option<&String>,
    mfa_code: Option<MfaCode>,
    retry: &RetryOptions,
) -> Result<BaseIdentity, IdentityError> {
    let base = BaseOptions {
        profile: profile.cloned(),
        region: options.region.clone(),
        sts_endpoint_url: options.sts_endpoint_url.clone(),
        endpoint_url: options.endpoint_url.clone(),
        mfa_code,
        attempt_timeout: retry.attempt_timeout,
    };
    Box::pin(BaseIdentity::load(http, &base)).await
}

/// Refuses a copy across partitions, before a request says it in words that nobody understands.
///
/// What a store behind an endpoint of its own calls its regions says nothing of the role.
fn one_partition(
    options: &AccessOptions,
    source_region: Option<&str>,
    destination_region: Option<&str>,
) -> Result<(), AccessError> {
    let of_region = |what: &str, region: Option<&str>| {
        region.map(|region| (format!("{what} region {region}"), partition_of(region)))
    };
    let of_role = options.role.as_ref().and_then(|role| {
        let partition = role.role_arn.split(':').nth(1)?;
        Some((format!("the role {}", role.role_arn), partition))
    });
    let found = [
        of_region("the source's", source_region),
        of_region("the destination's", destination_region),
        of_role.filter(|_| options.endpoint_url.is_none()),
    ];
    let mut found = found.into_iter().flatten();
    let Some((first, partition)) = found.next() else {
        return Ok(());
    };
    match found.find(|(_, other)| *other != partition) {
        Some((second, other)) => Err(AccessError::Partitions {
            first: format!("{first} is of partition {partition}"),
            second: format!("{second} of {other}"),
        }),
        None => Ok(()),
    }
}

async fn credentials(
    base: &BaseIdentity,
    options: &AccessOptions,
    mfa_code: Option<MfaCode>,
) -> Result<Credentials, IdentityError> {
    let Some(role) = &options.role else {
        return Credentials::base(base).await;
    };
    let role = RoleOptions {
        role_arn: role.role_arn.clone(),
        external_id: role.external_id.clone(),
        session_name: role.session_name.clone(),
        duration: Duration::from_secs(role.duration_seconds),
        mfa_serial: role.mfa_serial.clone(),
        mfa_code,
    };
    Credentials::assume_role(base, role).await
}

/// S3 would not say what time it is: ours, with room for a clock that is a little fast.
fn own_time() -> OffsetDateTime {
    tracing::warn!("S3 did not tell its time; this machine's is used to date the job");
    let now = OffsetDateTime::now_utc() - Duration::from_mins(1);
    now.replace_nanosecond(0).unwrap_or(now)
}

/// The account in a role's ARN.
fn account_of(role_arn: &str) -> Option<String> {
    role_arn.split(':').nth(4).map(str::to_owned)
}

/// How often a look at a bucket is begun again because of throttling.
const THROTTLED_ROUNDS: u32 = 4;

struct Side<'a> {
    requests: Requests,
    side: &'static str,
    bucket: &'a str,
    account: Option<&'a str>,
    flag: &'static str,
    of_role: bool,
    client: S3Client,
}

impl Side<'_> {
    async fn region(&self) -> Result<Option<String>, AccessError> {
        let find = || find_region(&self.client, self.bucket);
        match self.ask(find).await {
            Ok(found) => Ok(found.region),
            Err(error) => self.unless_refused(error).map(|()| None),
        }
    }

    /// A 403 with the expected owner and none without it means another owner; 403 both ways means
    /// that we may not ask (s3:ListBucket), and the first rows will tell.
    async fn check_owner(&self) -> Result<Option<OffsetDateTime>, AccessError> {
        let owner: Vec<HeaderPair> = self
            .account
            .map(|account| ("x-amz-expected-bucket-owner".into(), account.to_owned()))
            .into_iter()
            .collect();
        let head = || self.client.head_bucket(self.bucket, &owner);
        let refused = match self.ask(head).await {
            Ok(facts) => return Ok(facts.date),
            Err(error) => error,
        };
        if let Some(account) = self.account
            && refused.status == Some(403)
            && self
                .ask(|| self.client.head_bucket(self.bucket, &[]))
                .await
                .is_ok()
        {
            return Err(AccessError::OtherOwner {
                side: self.side,
                bucket: self.bucket.to_owned(),
                account: account.to_owned(),
                flag: self.flag,
                of_role: self.of_role,
            });
        }
        self.unless_refused(refused).map(|()| None)
    }

    /// Sends a HeadBucket until it is answered for good.
    async fn ask<F, Fut>(&self, request: F) -> s3haul_s3::Result<BucketFacts>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = s3haul_s3::Result<BucketFacts>>,
    {
        let (mut tally, operation) = (Tally::default(), Operation::HeadBucket);
        let mut request = request;
        let mut rounds = 0;
        loop {
            rounds += 1;
            let sent = self
                .requests
                .send_uncounted(&mut tally, operation, None, OnDoubt::Resend, &mut request)
                .await;
            match sent {
                // Many shards begin at once: who is throttled waits longer than who gets no answer.
                Err(error) if error.class() == Class::Throttled && rounds < THROTTLED_ROUNDS => {
                    let retry = RetryOptions::default();
                    let (failures, jitter) = (2 + rounds, fastrand::f64());
                    let wait = back_off(
                        &retry,
                        Class::Throttled,
                        failures,
                        error.retry_after,
                        jitter,
                    );
                    tokio::time::sleep(wait).await;
                }
                answer => return answer,
            }
        }
    }

    fn unless_refused(&self, error: S3Error) -> Result<(), AccessError> {
        let (side, bucket) = (self.side, self.bucket.to_owned());
        match error.status {
            Some(404) => Err(AccessError::NoSuchBucket {
                side,
                bucket,
                source: Box::new(error),
            }),
            Some(403) => {
                tracing::warn!(
                    bucket = self.bucket,
                    "the {side} bucket may not be looked at (s3:ListBucket): its owner is checked \
                     with each request only, and a missing object answers 403"
                );
                Ok(())
            }
            _ => Err(AccessError::Unreachable {
                side,
                bucket,
                source: Box::new(error),
            }),
        }
    }
}
