//! Why there are no credentials, and what to do about it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;

use crate::error::{ErrorKind, S3Error};
use crate::quotas::MAX_ROLE_CHAINING;
use crate::retry::Class;

/// Why there are no credentials. [`hint`](Self::hint) says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The chain or the profile has none.
    #[error("no AWS credentials were found")]
    NoCredentials {
        /// The profile whose SSO login gives none.
        sso: Option<String>,
        /// What was asked, and what it said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// They have expired, and no others are to be had.
    #[error("the base credentials have expired")]
    ExpiredBase {
        /// What STS said, if it was STS.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// STS does not know them.
    #[error("STS refuses the base credentials")]
    BaseRefused {
        /// What STS said.
        #[source]
        error: Box<S3Error>,
    },
    /// STS does not give the role to them.
    #[error("role {role_arn} cannot be assumed")]
    RoleRefused {
        /// The role.
        role_arn: String,
        /// How long its session should have lived.
        duration: Duration,
        /// What STS said.
        #[source]
        error: Box<S3Error>,
    },
    /// An MFA device was named, and no code was given.
    #[error("MFA device {mfa_serial} needs a code")]
    MfaCodeNeeded {
        /// The device.
        mfa_serial: String,
    },
    /// STS does not take the code, the device, or that there is MFA at all.
    #[error("no session can be had with MFA device {mfa_serial}")]
    MfaRefused {
        /// The device.
        mfa_serial: String,
        /// What STS said.
        #[source]
        error: Box<S3Error>,
    },
    /// There is no profile of that name.
    #[error("there is no profile {profile}")]
    ProfileNotFound {
        /// The name.
        profile: String,
    },
    /// The shared files cannot be read.
    #[error("the AWS profiles cannot be read")]
    ProfilesUnreadable(#[source] Box<dyn Error + Send + Sync>),
    /// A profile makes no sense.
    #[error("profile {profile} {why}")]
    ProfileUnusable {
        /// The profile, perhaps one that the named one builds on.
        profile: String,
        /// What it has or lacks.
        why: &'static str,
    },
    /// An MFA device was named for an identity that is a role.
    #[error("MFA device {mfa_serial} cannot be used: the profile takes a role already")]
    MfaOfRole {
        /// The device.
        mfa_serial: String,
    },
    /// STS gives no answer.
    #[error("STS does not answer")]
    Unreachable {
        /// How far the request came.
        #[source]
        error: Box<S3Error>,
    },
    /// Another request has just tried to renew the credentials.
    #[error("the credentials cannot be renewed")]
    RenewalFailed(#[source] Arc<IdentityError>),
}

impl IdentityError {
    /// What to do about it, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoCredentials {
                sso: Some(profile), ..
            } => Some(format!("log in with: aws sso login --profile {profile}")),
            Self::NoCredentials { .. } => Some(
                "name a profile with --profile, log in with `aws sso login`, set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or run where an instance, task or pod role is attached"
                    .to_owned(),
            ),
            Self::ExpiredBase { .. } => {
                Some("log in again, or have a new MFA code ready, then resume the job".to_owned())
            }
            Self::BaseRefused { .. } => Some(
                "the access key is wrong, inactive or deleted, or its session has ended: look at the \
                 environment and the profile, and unset a left-over AWS_SESSION_TOKEN"
                    .to_owned(),
            ),
            Self::RoleRefused {
                duration, error, ..
            } => role_hint(*duration, error),
            Self::MfaCodeNeeded { .. } => {
                Some("give --mfa-code, or run in a terminal to be asked".to_owned())
            }
            Self::MfaRefused { .. } => Some(
                "a code serves once and for 30 seconds, the device must be the calling user's own, and \
                 only an IAM user's long-term access key can start a session with it"
                    .to_owned(),
            ),
            Self::MfaOfRole { .. } => Some(
                "only an IAM user has a device: set mfa_serial in the profile, which is honoured there, and leave \
                 --mfa-serial out"
                    .to_owned(),
            ),
            Self::Unreachable { .. } => {
                Some("look at --region, --sts-endpoint-url and the way to the network".to_owned())
            }
            Self::RenewalFailed(error) => error.hint(),
            Self::ProfileNotFound { .. }
            | Self::ProfileUnusable { .. }
            | Self::ProfilesUnreadable(_) => None,
        }
    }

    /// Tells the error with its causes, in one line.
    pub fn told(&self) -> String {
        let mut told = self.to_string();
        let mut error: &dyn Error = self;
        while let Some(source) = error.source() {
            told.push_str(": ");
            told.push_str(&source.to_string());
            error = source;
        }
        told
    }

    /// Whether to ask again may help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::NoCredentials { source, .. } => source
                .downcast_ref::<CredentialsError>()
                .is_some_and(|error| {
                    matches!(
                        error,
                        CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)
                    )
                }),
            Self::RenewalFailed(error) => error.is_transient(),
            _ => false,
        }
    }

    /// Sorts what STS said by whose fault it is; `refused` says what a refusal is about.
    pub(crate) fn from_sts(
        error: S3Error,
        refused: impl FnOnce(Box<S3Error>) -> IdentityError,
    ) -> Self {
        match (error.kind, error.class()) {
            (ErrorKind::Credentials, _) => Self::NoCredentials {
                sso: None,
                source: Box::new(error),
            },
            (_, Class::ExpiredToken) => Self::ExpiredBase {
                source: Some(Box::new(error)),
            },
            (_, Class::Throttled | Class::Transient) => Self::Unreachable {
                error: Box::new(error),
            },
            _ => match error.report_code() {
                "InvalidClientTokenId"
                | "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "UnrecognizedClientException" => Self::BaseRefused {
                    error: Box::new(error),
                },
                _ => refused(Box::new(error)),
            },
        }
    }
}

/// STS gives one answer to many causes; the hint names them.
fn role_hint(duration: Duration, error: &S3Error) -> Option<String> {
    match error.report_code() {
        "AccessDenied" => Some(
            "STS does not say which: the role's trust policy may not name the calling identity; it may \
             ask for another external ID (--external-id) or for MFA (--mfa-serial); the calling identity \
             may lack sts:AssumeRole on the role; or there is no such role"
                .to_owned(),
        ),
        "ValidationError" if duration > MAX_ROLE_CHAINING => Some(
            "a role taken with another role's credentials lives one hour, any other as long as its own \
             maximum session duration: give a shorter --role-duration, sessions are renewed"
                .to_owned(),
        ),
        "RegionDisabledException" => {
            Some("STS is not active in that region for the role's account: give --region".to_owned())
        }
        _ => None,
    }
}
