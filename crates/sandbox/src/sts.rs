//! STS: `AssumeRole`, `GetSessionToken`, `GetCallerIdentity`, on the endpoint of S3.

use std::fmt::Write as _;
use std::sync::Arc;

use s3s::{Body, S3Error, S3Request, S3Response};
use time::format_description::well_known::Rfc3339;

use crate::access::header;
use crate::error::{access_denied, error, not_implemented};
use crate::exchange::{Exchange, parse_query};
use crate::iam::{Context, Decision, Policy, PolicyKind, Principal, may_assume_within};
use crate::identity::{Directory, Identity, NewSession, TemporaryCredentials};
use crate::store::content::mix;
use crate::wire::xml_text;

/// The only code that an MFA device of the sandbox shows.
pub const MFA_CODE: &str = "123456";

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const VERSION: &str = "2011-06-15";

/// STS, behind s3s, which has checked the signature.
#[derive(Clone, Debug)]
pub(crate) struct Sts {
    pub(crate) directory: Directory,
    pub(crate) min_session_seconds: u64,
}

/// The parameters of a call.
struct Call {
    parameters: Vec<(String, String)>,
    identity: Arc<Identity>,
}

impl Sts {
    /// Checks the session of a call.
    pub(crate) fn admit(request: &S3Request<Body>) -> Result<(), S3Error> {
        let token = header(&request.headers, "x-amz-security-token");
        identity(request)?
            .check_token(token)
            .map_err(|refused| match refused.code().as_str() {
                "InvalidToken" | "InvalidAccessKeyId" => error(
                    403,
                    "InvalidClientTokenId",
                    "The security token included in the request is invalid.",
                ),
                "ExpiredToken" => error(
                    403,
                    "ExpiredToken",
                    "The security token included in the request is expired",
                ),
                _ => refused,
            })
    }

    pub(crate) fn call(
        &self,
        request: &S3Request<Body>,
        request_id: &str,
    ) -> Result<S3Response<Body>, S3Error> {
        let body = request.input.bytes().unwrap_or_default();
        let parameters = parse_query(&String::from_utf8_lossy(&body));
        let call = Call {
            parameters,
            identity: identity(request)?,
        };
        let (action, result) = match call.parameter("Action") {
            Some("GetCallerIdentity") => ("GetCallerIdentity", caller_identity(&call)?),
            Some("AssumeRole") => ("AssumeRole", self.assume_role(&call)?),
            Some("GetSessionToken") => ("GetSessionToken", self.session_token(&call)?),
            other => return Err(not_implemented("Action", other.unwrap_or("none"))),
        };
        let document = format!(
            "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result><ResponseMetadata>\
             <RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
        );
        let mut response = S3Response::new(Body::from(document));
        response.headers.insert(
            "content-type",
            hyper::header::HeaderValue::from_static("text/xml"),
        );
        Ok(response)
    }
}

/// The operation that a body of STS asks for.
pub(crate) fn action(body: &[u8]) -> crate::operation::Operation {
    let parameters = parse_query(&String::from_utf8_lossy(body));
    parameters
        .iter()
        .find(|(name, _)| name == "Action")
        .and_then(|(_, action)| action.parse().ok())
        .unwrap_or(crate::operation::Operation::NotImplemented)
}

fn identity(request: &S3Request<Body>) -> Result<Arc<Identity>, S3Error> {
    let exchange = request.extensions.get::<Arc<Exchange>>();
    match (
        &request.credentials,
        exchange.and_then(|exchange| exchange.identity.clone()),
    ) {
        (Some(_), Some(identity)) => Ok(identity),
        _ => Err(error(
            403,
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        )),
    }
}

fn validation(message: impl Into<String>) -> S3Error {
    error(400, "ValidationError", message)
}

impl Call {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Refuses parameters that are not implemented.
    fn only(&self, known: &[&str]) -> Result<(), S3Error> {
        match self
            .parameters
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()) && name != "Action")
        {
            Some((name, _)) if name == "Version" => {
                let version = self.parameter("Version").unwrap_or_default();
                if version == VERSION {
                    Ok(())
                } else {
                    Err(error(
                        400,
                        "NoSuchVersion",
                        format!("no API version {version}"),
                    ))
                }
            }
            Some((name, _)) => Err(not_implemented("Parameter", name)),
            None => Ok(()),
        }
    }

    /// Whether the call brings a right code of an MFA device.
    fn mfa(&self) -> Result<bool, S3Error> {
        match (self.parameter("SerialNumber"), self.parameter("TokenCode")) {
            (None, None) => Ok(false),
            (Some(_), Some(MFA_CODE)) => Ok(true),
            (Some(_), Some(_)) => Err(access_denied(
                "MultiFactorAuthentication failed with invalid MFA one time pass code. ",
            )),
            _ => Err(validation(
                "Both SerialNumber and TokenCode must be specified",
            )),
        }
    }

    fn seconds(&self, default: u64, min: u64, max: u64) -> Result<u64, S3Error> {
        let Some(text) = self.parameter("DurationSeconds") else {
            return Ok(default.max(min));
        };
        let seconds: u64 = text
            .parse()
            .map_err(|_| validation(format!("{text} is not a number of seconds")))?;
        let (relation, bound) = if seconds < min {
            ("greater than or equal to", min)
        } else if seconds > max {
            ("less than or equal to", max)
        } else {
            return Ok(seconds);
        };
        Err(validation(format!(
            "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member \
             must have value {relation} {bound}"
        )))
    }
}

impl Sts {
    fn assume_role(&self, call: &Call) -> Result<String, S3Error> {
        call.only(&[
            "Version",
            "RoleArn",
            "RoleSessionName",
            "ExternalId",
            "DurationSeconds",
            "Policy",
            "SerialNumber",
            "TokenCode",
        ])?;
        let required = |name: &str| {
            call.parameter(name).ok_or_else(|| {
                validation(format!(
                    "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null",
                    lower_first(name)
                ))
            })
        };
        let (role_arn, session_name) = (required("RoleArn")?, required("RoleSessionName")?);
        check_pattern("roleSessionName", session_name, 2..=64, b"_=,.@-+")?;
        let external_id = call.parameter("ExternalId");
        if let Some(external_id) = external_id {
            check_pattern("externalId", external_id, 2..=1224, b"_+=,.@:/-")?;
        }
        let seconds = call.seconds(3600, self.min_session_seconds, 43_200)?;
        let mfa = call.mfa()?;
        let caller = &call.identity;
        let mut context = Context::new()
            .with("aws:SourceIp", "127.0.0.1")
            .with("sts:RoleSessionName", session_name);
        if let Some(external_id) = external_id {
            context.insert("sts:ExternalId", external_id);
        }
        if mfa {
            context.insert("aws:MultiFactorAuthPresent", "true");
        } else if let Some(session) = &caller.session {
            context.insert("aws:MultiFactorAuthPresent", session.mfa.to_string());
        }
        let refused = || {
            access_denied(format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
                caller.principal.arn()
            ))
        };
        let (account, role) = self
            .directory
            .accounts()
            .role_by_arn(role_arn)
            .ok_or_else(refused)?;
        let decision = may_assume_within(
            role,
            role_arn,
            &caller.principal,
            &caller.policies,
            caller.session_policy(),
            &context,
        );
        if decision != Decision::Allowed {
            return Err(refused());
        }
        if seconds > u64::from(role.max_session_seconds) {
            return Err(validation(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ));
        }
        if matches!(caller.principal, Principal::RoleSession { .. }) && seconds > 3600 {
            return Err(validation(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
            ));
        }
        let policy = call
            .parameter("Policy")
            .map(|json| Policy::parse(json, PolicyKind::Identity))
            .transpose()
            .map_err(|cause| error(400, "MalformedPolicyDocument", cause.to_string()))?;
        let principal =
            Principal::role_session(account.id.as_str(), role.name.as_str(), session_name);
        let who = format!(
            "<AssumedRoleUser><AssumedRoleId>{}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser>",
            xml_text(&user_id(&principal)),
            xml_text(&principal.arn())
        );
        let credentials = self.directory.begin(NewSession {
            principal,
            policies: role.policies.clone().into(),
            policy,
            mfa: false,
            seconds,
        });
        Ok(who + &document(&credentials))
    }

    fn session_token(&self, call: &Call) -> Result<String, S3Error> {
        call.only(&["Version", "DurationSeconds", "SerialNumber", "TokenCode"])?;
        if call.identity.session.is_some() {
            return Err(access_denied(
                "Cannot call GetSessionToken with session credentials",
            ));
        }
        let seconds = call.seconds(43_200, self.min_session_seconds, 129_600)?;
        let credentials = self.directory.begin(NewSession {
            principal: call.identity.principal.clone(),
            policies: Arc::clone(&call.identity.policies),
            policy: None,
            mfa: call.mfa()?,
            seconds,
        });
        Ok(document(&credentials))
    }
}

fn caller_identity(call: &Call) -> Result<String, S3Error> {
    call.only(&["Version"])?;
    let principal = &call.identity.principal;
    Ok(format!(
        "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
        xml_text(&principal.arn()),
        xml_text(&user_id(principal)),
        principal.account()
    ))
}

fn document(credentials: &TemporaryCredentials) -> String {
    let mut text = String::from("<Credentials>");
    let _ = write!(
        text,
        "<AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>{}</Expiration></Credentials>",
        credentials.access_key_id,
        credentials.secret_access_key,
        credentials.session_token,
        credentials
            .expires
            .date()
            .format(&Rfc3339)
            .unwrap_or_default()
    );
    text
}

/// The unique ID of a user or a role's session: letters and digits that follow from its name.
fn user_id(principal: &Principal) -> String {
    let id = |prefix: &str, name: &str| {
        let seed = name
            .bytes()
            .fold(0_u64, |hash, byte| mix(hash ^ u64::from(byte)));
        let digits: String = (0..17_u64)
            .map(|place| {
                let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
                char::from(alphabet[usize::from((mix(seed ^ place) % 32).to_le_bytes()[0])])
            })
            .collect();
        format!("{prefix}{digits}")
    };
    match principal {
        Principal::User { .. } => id("AIDA", &principal.arn()),
        Principal::RoleSession { session_name, .. } => {
            format!("{}:{session_name}", id("AROA", &principal.principal_arn()))
        }
    }
}

fn check_pattern(
    name: &str,
    value: &str,
    length: std::ops::RangeInclusive<usize>,
    punctuation: &[u8],
) -> Result<(), S3Error> {
    let fits = length.contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || punctuation.contains(&byte));
    if fits {
        return Ok(());
    }
    Err(validation(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must satisfy \
         regular expression pattern or length"
    )))
}

fn lower_first(name: &str) -> String {
    let mut characters = name.chars();
    characters
        .next()
        .map(|first| first.to_ascii_lowercase())
        .into_iter()
        .chain(characters)
        .collect()
}
