//! Requests to STS. Few and rare, so that the SDK's own retry will do.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{BehaviorVersion, IdentityCache, Region};

use time::OffsetDateTime;

use crate::client::{CONNECT_TIMEOUT, HttpClient};
use crate::error::{Result, S3Error};
use crate::headers::{self, CaptureHeaders};
use crate::identity::Caller;
use crate::object::empty_answer;
use crate::operation::{Operation, attempt_timeout};
use crate::profile::WebIdentity;
use crate::quotas::MAX_USER_SESSION;
use crate::role::RoleOptions;

/// Attempts of one request, the first one included.
const MAX_ATTEMPTS: u32 = 5;

/// Where STS is.
#[derive(Debug, Clone)]
pub(crate) struct StsEndpoint {
    pub(crate) http: HttpClient,
    pub(crate) region: String,
    pub(crate) url: Option<String>,
    /// How long an attempt may take; that of other requests when none.
    pub(crate) attempt_timeout: Option<Duration>,
}

/// A session as STS gives it.
pub(crate) struct Session {
    pub(crate) credentials: Credentials,
    pub(crate) caller: Option<Caller>,
    /// How long they live: what was asked, or less if STS says so.
    pub(crate) life: Duration,
}

impl StsEndpoint {
    /// A client that signs with what `provider` has at the time.
    pub(crate) fn client(
        &self,
        provider: impl ProvideCredentials + 'static,
    ) -> aws_sdk_sts::Client {
        let config = self.config().credentials_provider(provider);
        aws_sdk_sts::Client::from_conf(config.build())
    }

    /// A client for the one request that is not signed.
    pub(crate) fn unsigned(&self) -> aws_sdk_sts::Client {
        aws_sdk_sts::Client::from_conf(self.config().build())
    }

    fn config(&self) -> aws_sdk_sts::config::Builder {
        let retry = RetryConfig::standard()
            .with_max_attempts(MAX_ATTEMPTS)
            .with_initial_backoff(Duration::from_millis(250))
            .with_max_backoff(Duration::from_secs(5));
        let attempt = self
            .attempt_timeout
            .unwrap_or_else(|| attempt_timeout(Operation::AssumeRole, None));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(attempt)
            .build();
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(self.http.shared())
            .region(Region::new(self.region.clone()))
            .identity_cache(IdentityCache::no_cache())
            .retry_config(retry)
            .timeout_config(timeouts);
        config.set_endpoint_url(self.url.clone());
        config
    }
}

/// Becomes the role. MFA, if any, was done before: the client's credentials carry it.
pub(crate) async fn assume_role(
    client: &aws_sdk_sts::Client,
    role: &RoleOptions,
) -> Result<Session> {
    let operation = Operation::AssumeRole;
    let captured = CaptureHeaders::default();
    let output = client
        .assume_role()
        .role_arn(&role.role_arn)
        .role_session_name(&role.session_name)
        .set_external_id(role.external_id.clone())
        .duration_seconds(seconds(role.duration))
        .customize()
        .interceptor(captured.clone())
        .send()
        .await
        .map_err(|error| S3Error::from_sdk(operation, error))?;
    session(
        operation,
        output.credentials(),
        output.assumed_role_user(),
        &captured,
        role.duration,
    )
}

/// Becomes a role with a token that somebody else has given, which is read anew: whoever gives it replaces it.
pub(crate) async fn assume_role_with_web_identity(
    client: &aws_sdk_sts::Client,
    role: &WebIdentity,
    token: &str,
) -> Result<Session> {
    let operation = Operation::AssumeRoleWithWebIdentity;
    let captured = CaptureHeaders::default();
    let output = client
        .assume_role_with_web_identity()
        .role_arn(&role.role_arn)
        .role_session_name(&role.session_name)
        .web_identity_token(token)
        .duration_seconds(seconds(role.duration))
        .customize()
        .interceptor(captured.clone())
        .send()
        .await
        .map_err(|error| S3Error::from_sdk(operation, error))?;
    session(
        operation,
        output.credentials(),
        output.assumed_role_user(),
        &captured,
        role.duration,
    )
}

fn session(
    operation: Operation,
    credentials: Option<&aws_sdk_sts::types::Credentials>,
    user: Option<&aws_sdk_sts::types::AssumedRoleUser>,
    captured: &CaptureHeaders,
    asked: Duration,
) -> Result<Session> {
    let Some(credentials) = credentials else {
        return Err(empty_answer(operation, "Credentials", None));
    };
    let date = headers::find(&captured.take(), "date").and_then(headers::http_date);
    let ends = headers::offset_date_time(credentials.expiration());
    Ok(Session {
        life: life(date, ends, asked),
        credentials: taken(credentials, operation.name()),
        caller: user.map(|user| Caller {
            account: account_of_arn(user.arn()),
            arn: user.arn().to_owned(),
            user_id: user.assumed_role_id().to_owned(),
        }),
    })
}

/// Makes a session of an IAM user with MFA, as long-lived as there is: the code is asked for once.
pub(crate) async fn session_token(
    client: &aws_sdk_sts::Client,
    mfa_serial: &str,
    mfa_code: &str,
) -> Result<Credentials> {
    let operation = Operation::GetSessionToken;
    let output = client
        .get_session_token()
        .serial_number(mfa_serial)
        .token_code(mfa_code)
        .duration_seconds(seconds(MAX_USER_SESSION))
        .send()
        .await
        .map_err(|error| S3Error::from_sdk(operation, error))?;
    let Some(credentials) = output.credentials() else {
        return Err(empty_answer(operation, "Credentials", None));
    };
    Ok(taken(credentials, "GetSessionToken"))
}

/// Asks who the client's credentials are.
pub(crate) async fn caller(client: &aws_sdk_sts::Client) -> Result<Caller> {
    let operation = Operation::GetCallerIdentity;
    let output = client
        .get_caller_identity()
        .send()
        .await
        .map_err(|error| S3Error::from_sdk(operation, error))?;
    match (output.account, output.arn) {
        (Some(account), Some(arn)) => Ok(Caller {
            account,
            arn,
            user_id: output.user_id.unwrap_or_default(),
        }),
        _ => Err(empty_answer(operation, "Account", None)),
    }
}

/// Both times are the server's, so that our clock does not matter.
fn life(date: Option<OffsetDateTime>, ends: Option<OffsetDateTime>, asked: Duration) -> Duration {
    let told = ends.zip(date).map(|(ends, date)| ends - date);
    told.and_then(|told| Duration::try_from(told).ok())
        .map_or(asked, |told| told.min(asked))
}

fn taken(credentials: &aws_sdk_sts::types::Credentials, provider: &'static str) -> Credentials {
    Credentials::new(
        credentials.access_key_id(),
        credentials.secret_access_key(),
        Some(credentials.session_token().to_owned()),
        std::time::SystemTime::try_from(*credentials.expiration()).ok(),
        provider,
    )
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// The account that an ARN names; empty if it names none.
pub(crate) fn account_of_arn(arn: &str) -> String {
    arn.split(':').nth(4).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity_error::IdentityError;
    use crate::test_server::{Answer, TestServer};

    const ASSUMED: &str = "<AssumeRoleResponse><AssumeRoleResult>\
        <AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/copy/s</Arn>\
        <AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser>\
        <Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
        <SessionToken>token</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration>\
        </Credentials></AssumeRoleResult></AssumeRoleResponse>";
    const DENIED: &str = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
        <Message>User: x is not authorized</Message></Error>\
        <RequestId>R</RequestId></ErrorResponse>";

    fn role() -> RoleOptions {
        RoleOptions {
            role_arn: "arn:aws:iam::111122223333:role/copy".into(),
            external_id: Some("e/1".into()),
            session_name: "s".into(),
            duration: Duration::from_hours(2),
            mfa_serial: None,
            mfa_code: None,
        }
    }

    fn client(server: &TestServer) -> aws_sdk_sts::Client {
        let endpoint = StsEndpoint {
            http: HttpClient::new(1, &crate::Network::default()),
            region: "eu-west-1".into(),
            url: Some(server.url().to_owned()),
            attempt_timeout: None,
        };
        endpoint.client(Credentials::new("AKIA", "base", None, None, "test"))
    }

    #[tokio::test]
    async fn a_role_is_assumed_after_a_hiccup() {
        let answers = vec![
            Answer::Whole(503, &[], ""),
            Answer::Whole(200, &[], ASSUMED),
        ];
        let server = TestServer::start(answers).await;
        let session = assume_role(&client(&server), &role()).await.unwrap();
        assert_eq!(session.credentials.access_key_id(), "ASIA");
        assert!(session.credentials.expiry().is_some());
        assert_eq!(session.life, role().duration);
        let caller = session.caller.unwrap();
        assert_eq!(caller.account, "111122223333");
        assert_eq!(caller.user_id, "AROA:s");
        let request = &server.requests()[1];
        for part in [
            "RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fcopy",
            "ExternalId=e%2F1",
            "RoleSessionName=s",
            "DurationSeconds=7200",
        ] {
            assert!(request.contains(part), "{part}: {request}");
        }
    }

    #[tokio::test]
    async fn a_session_may_be_shorter_than_asked() {
        let date: &[_] = &[("date", "Mon, 31 Dec 2029 23:59:50 GMT")];
        let server = TestServer::start(vec![Answer::Whole(200, date, ASSUMED)]).await;
        let session = assume_role(&client(&server), &role()).await.unwrap();
        assert_eq!(session.life, Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_refusal_names_what_it_may_be() {
        let server = TestServer::start(vec![Answer::Whole(403, &[], DENIED)]).await;
        let Err(error) = assume_role(&client(&server), &role()).await else {
            panic!("assumed");
        };
        assert_eq!(error.request_id.as_deref(), Some("R"));
        let error = IdentityError::from_sts(error, |error| IdentityError::RoleRefused {
            role_arn: role().role_arn,
            duration: role().duration,
            error,
        });
        let expected = "role arn:aws:iam::111122223333:role/copy cannot be assumed";
        assert_eq!(error.to_string(), expected);
        let hint = error.hint().unwrap();
        assert!(hint.contains("--external-id") && hint.contains("trust policy"));
        assert!(!error.is_transient());
    }
}
