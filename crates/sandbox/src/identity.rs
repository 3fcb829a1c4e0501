//! Whose key signed a request: users from the accounts file, sessions from STS.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3Result};
use time::OffsetDateTime;

use crate::error::{access_denied, error, with_detail};
use crate::iam::{AccountsFile, Policy, Principal};
use crate::store::object::Timestamp;

/// An access key with all that hangs on it.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) access_key_id: String,
    secret_access_key: SecretKey,
    pub(crate) principal: Principal,
    pub(crate) policies: Arc<[Policy]>,
    pub(crate) session: Option<Session>,
}

/// What temporary credentials add.
#[derive(Debug)]
pub(crate) struct Session {
    token: String,
    pub(crate) expires: Timestamp,
    /// Whether it began with a code of an MFA device.
    pub(crate) mfa: bool,
    pub(crate) policy: Option<Policy>,
}

/// What STS hands out.
#[derive(Clone, Debug)]
pub(crate) struct TemporaryCredentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: String,
    pub(crate) expires: Timestamp,
}

/// Keys of a session that was made without STS.
#[derive(Clone, Debug)]
pub struct SessionKeys {
    /// The access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The session's token.
    pub session_token: String,
    /// When it ends.
    pub expires: OffsetDateTime,
}

/// What a new session is to be.
pub(crate) struct NewSession {
    pub(crate) principal: Principal,
    pub(crate) policies: Arc<[Policy]>,
    pub(crate) policy: Option<Policy>,
    pub(crate) mfa: bool,
    pub(crate) seconds: u64,
}

impl Identity {
    pub(crate) fn account(&self) -> &str {
        self.principal.account()
    }

    pub(crate) fn session_policy(&self) -> Option<&Policy> {
        self.session
            .as_ref()
            .and_then(|session| session.policy.as_ref())
    }

    /// Checks the session token and its time.
    pub(crate) fn check_token(&self, token: Option<&str>) -> Result<(), S3Error> {
        match (&self.session, token) {
            (None, None) => Ok(()),
            (Some(session), Some(token)) if session.token == token => {
                if session.expires > Timestamp::now() {
                    Ok(())
                } else {
                    Err(with_detail(
                        error(400, "ExpiredToken", "The provided token has expired."),
                        "Token-0",
                        token,
                    ))
                }
            }
            (Some(_), None) => Err(with_detail(
                error(
                    403,
                    "InvalidAccessKeyId",
                    "The AWS Access Key Id you provided does not exist in our records.",
                ),
                "AWSAccessKeyId",
                &self.access_key_id,
            )),
            (_, Some(token)) => Err(with_detail(
                error(
                    400,
                    "InvalidToken",
                    "The provided token is malformed or otherwise invalid.",
                ),
                "Token-0",
                token,
            )),
        }
    }
}

/// All access keys.
#[derive(Clone, Debug)]
pub(crate) struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    accounts: AccountsFile,
    users: HashMap<String, Arc<Identity>>,
    sessions: RwLock<HashMap<String, Arc<Identity>>>,
}

impl Directory {
    pub(crate) fn new(accounts: AccountsFile) -> Self {
        let users = accounts
            .accounts
            .iter()
            .flat_map(|account| account.users.iter().map(|user| (&account.id, user)))
            .map(|(account, user)| {
                let identity = Identity {
                    access_key_id: user.access_key_id.clone(),
                    secret_access_key: user.secret_access_key.as_str().into(),
                    principal: Principal::user(account.as_str(), user.name.as_str()),
                    policies: user.policies.clone().into(),
                    session: None,
                };
                (user.access_key_id.clone(), Arc::new(identity))
            })
            .collect();
        Self(Arc::new(Inner {
            accounts,
            users,
            sessions: RwLock::default(),
        }))
    }

    pub(crate) fn accounts(&self) -> &AccountsFile {
        &self.0.accounts
    }

    pub(crate) fn find(&self, access_key_id: &str) -> Option<Arc<Identity>> {
        self.0.users.get(access_key_id).cloned().or_else(|| {
            self.0
                .sessions
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .get(access_key_id)
                .cloned()
        })
    }

    /// Makes a session of the user or the role of that ARN.
    pub(crate) fn begin_for(
        &self,
        arn: &str,
        session_name: &str,
        seconds: u64,
    ) -> Option<SessionKeys> {
        let user = || {
            let mut users = self.0.users.values();
            let user = users.find(|user| user.principal.arn() == arn)?;
            Some((user.principal.clone(), Arc::clone(&user.policies)))
        };
        let role = || {
            let (account, role) = self.0.accounts.role_by_arn(arn)?;
            let principal =
                Principal::role_session(account.id.as_str(), role.name.as_str(), session_name);
            Some((principal, role.policies.clone().into()))
        };
        let (principal, policies) = user().or_else(role)?;
        let credentials = self.begin(NewSession {
            principal,
            policies,
            policy: None,
            mfa: false,
            seconds,
        });
        Some(SessionKeys {
            access_key_id: credentials.access_key_id,
            secret_access_key: credentials.secret_access_key,
            session_token: credentials.session_token,
            expires: credentials.expires.date(),
        })
    }

    /// Makes the credentials of a session.
    pub(crate) fn begin(&self, session: NewSession) -> TemporaryCredentials {
        let credentials = TemporaryCredentials {
            access_key_id: format!("ASIA{}", random(16, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
            secret_access_key: random(40, BASE64),
            // As long as AWS's, which counts towards the limit on headers.
            session_token: format!("FwoGZXIvYXdzE{}", random(367, BASE64)),
            expires: Timestamp::now().after(session.seconds),
        };
        let identity = Identity {
            access_key_id: credentials.access_key_id.clone(),
            secret_access_key: credentials.secret_access_key.as_str().into(),
            principal: session.principal,
            policies: session.policies,
            session: Some(Session {
                token: credentials.session_token.clone(),
                expires: credentials.expires,
                mfa: session.mfa,
                policy: session.policy,
            }),
        };
        self.0
            .sessions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(credentials.access_key_id.clone(), Arc::new(identity));
        credentials
    }
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Random characters of an alphabet.
pub(crate) fn random(length: usize, alphabet: &[u8]) -> String {
    (0..length)
        .map(|_| char::from(alphabet[fastrand::usize(..alphabet.len())]))
        .collect()
}

#[async_trait::async_trait]
impl S3Auth for Directory {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.find(access_key) {
            Some(identity) => Ok(identity.secret_access_key.clone()),
            None if access_key.is_empty() => Err(access_denied("Access Denied")),
            None => Err(with_detail(
                error(
                    403,
                    "InvalidAccessKeyId",
                    "The AWS Access Key Id you provided does not exist in our records.",
                ),
                "AWSAccessKeyId",
                access_key,
            )),
        }
    }
}
