//! Who works: the base identity, and the role that it takes.

use std::time::Duration;

use s3haul_s3::{BaseIdentity, Caller, Credentials, IdentityError, S3Error};
use serde_json::json;
use time::OffsetDateTime;

use super::denial::{Denial, Policy, principal_of, statement};
use super::finding::{BASE_IDENTITY, Finding, Outcome, ROLE};
use crate::job::access::{Connection, Role};
use crate::job::report::time_text;
use crate::policy::document::Statement;

/// How long STS is waited for to say who somebody is, which no request depends on: networks without a way to
/// STS are common.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is found of a base identity that there is; with who STS says that it is.
pub async fn base(identity: &BaseIdentity) -> (Finding, Option<Caller>) {
    let Ok(caller) = tokio::time::timeout(PATIENCE, identity.caller()).await else {
        let what = "credentials were found, and STS does not say whose: no answer in 10 s";
        return (Finding::new(&BASE_IDENTITY, Outcome::Unknown, what), None);
    };
    let caller = match caller {
        Ok(caller) => caller,
        // Nothing can be sent with them.
        Err(error @ (IdentityError::NoCredentials { .. } | IdentityError::ExpiredBase { .. })) => {
            return (none(&error, None, None), None);
        }
        // A store that does not know the request says nothing of who asks.
        Err(IdentityError::BaseRefused { error }) if error.is_access_refusal() => {
            return (
                none(&IdentityError::BaseRefused { error }, None, None),
                None,
            );
        }
        Err(error) => {
            let what = "credentials were found, and STS does not say whose";
            let finding = Finding::new(&BASE_IDENTITY, Outcome::Unknown, what);
            return (finding.evidence(error.told()), None);
        }
    };
    let ends = identity.expires_at().await;
    let until = ends.map(|end| time_text(OffsetDateTime::from(end)));
    let (outcome, until) = match (identity.is_not_renewed(), until) {
        (true, Some(end)) => (
            Outcome::Warning,
            format!("until {end}, and nothing renews it"),
        ),
        (true, None) => (
            Outcome::Warning,
            "until an end that is not known, and nothing renews it".to_owned(),
        ),
        (false, Some(end)) => (Outcome::Pass, format!("until {end}, then renewed")),
        (false, None) => (Outcome::Pass, "without an end".to_owned()),
    };
    let what = format!("{} {}, {until}", kind(&caller.arn), caller.arn);
    let finding = Finding::new(&BASE_IDENTITY, outcome, what).evidence(format!(
        "GetCallerIdentity: account {}, user ID {}",
        caller.account, caller.user_id
    ));
    let finding = match outcome {
        Outcome::Warning => finding.remedy(
            "a job that outlives it stops with exit code 3, to be resumed with new credentials; a profile \
             that logs in by itself, or a role of the machine, is renewed",
        ),
        _ => finding,
    };
    (finding, Some(caller))
}

/// Who has these credentials, as far as STS says so soon.
pub async fn caller(credentials: &Credentials) -> Option<Caller> {
    let caller = tokio::time::timeout(PATIENCE, credentials.caller());
    caller.await.ok()?.ok()
}

/// What an ARN is of.
fn kind(arn: &str) -> &'static str {
    match arn.splitn(6, ':').nth(5).unwrap_or_default() {
        "root" => "the root user",
        name if name.starts_with("user/") => "the user",
        name if name.starts_with("assumed-role/") => "a role's session",
        name if name.starts_with("federated-user/") => "a federated user",
        _ => "the identity",
    }
}

/// What is found of a role that was taken.
pub fn role(connection: &Connection, role: &Role, caller: Option<&Caller>) -> Finding {
    let until = connection.credentials().expires_at();
    let until = until.map_or_else(String::new, |end| {
        format!(
            ", until {}, then renewed",
            time_text(OffsetDateTime::from(end))
        )
    });
    let chained = caller.is_some_and(|caller| caller.arn.contains(":assumed-role/"));
    let chained = if chained {
        "; it is taken with another role's credentials, so that a session lasts an hour at most"
    } else {
        ""
    };
    let (arn, session) = (&role.role_arn, &role.session_name);
    let what = format!("{arn} is taken as session {session}{until}{chained}");
    Finding::new(&ROLE, Outcome::Pass, what).evidence("AssumeRole: 200")
}

/// What is found where there is no identity, or it cannot take the role.
pub fn none(error: &IdentityError, role: Option<&Role>, caller: Option<&Caller>) -> Finding {
    let topic = match error {
        IdentityError::RoleRefused { .. }
        | IdentityError::MfaCodeNeeded { .. }
        | IdentityError::MfaRefused { .. }
        | IdentityError::MfaOfRole { .. } => &ROLE,
        _ => &BASE_IDENTITY,
    };
    let finding = Finding::new(topic, Outcome::Fail, error.to_string());
    let finding = match std::error::Error::source(error) {
        Some(source) => finding.evidence(source.to_string()),
        None => finding,
    };
    let finding = match error.hint() {
        Some(hint) => finding.remedy(hint),
        None => finding,
    };
    match (error, role) {
        (IdentityError::RoleRefused { error, .. }, Some(role)) => {
            refused(finding, error, role, caller)
        }
        _ => finding,
    }
}

/// The statement by which a role lets somebody in, or by which somebody may ask.
fn refused(finding: Finding, error: &S3Error, role: &Role, caller: Option<&Caller>) -> Finding {
    if error.report_code() != "AccessDenied" {
        return finding;
    }
    let denial = Denial::of(&error.message);
    if denial.is_some_and(|denial| denial.policy == Some(Policy::Identity)) {
        return finding
            .in_account(caller.map(|caller| caller.account.as_str()))
            .granted_by(statement(None, &["sts:AssumeRole"], &role.role_arn));
    }
    let account = role.role_arn.split(':').nth(4);
    let finding = finding.in_account(account);
    let Some(caller) = caller else {
        return finding;
    };
    let mut condition = serde_json::Map::new();
    if let Some(id) = &role.external_id {
        condition.insert("StringEquals".to_owned(), json!({"sts:ExternalId": id}));
    }
    if role.mfa_serial.is_some() {
        let present = json!({"aws:MultiFactorAuthPresent": "true"});
        condition.insert("Bool".to_owned(), present);
    }
    let trust = Statement::allow("TrustS3haul", vec!["sts:AssumeRole".to_owned()], Vec::new())
        .to_principal(&principal_of(&caller.arn));
    finding.granted_by(if condition.is_empty() {
        trust
    } else {
        trust.under(condition.into())
    })
}
