//! Who works, and how S3 and STS are reached: the flags of every command that begins with a bucket.

use std::time::Duration;

use clap::Args;

use super::exit::Failed;
use super::values;
use crate::job::access::{AccessOptions, Owner, Role};

/// The flags under Access, but for those that can be given again.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(super) struct AccessArgs {
    /// The role that reads the source, and reads or writes the destination, in the destination's account
    #[arg(long, env = "S3HAUL_ROLE_ARN", value_name = "ARN", value_parser = values::role_arn)]
    role_arn: Option<String>,
    /// The external ID that the role's trust policy asks for
    #[arg(
        long,
        env = "S3HAUL_EXTERNAL_ID",
        value_name = "ID",
        requires = "role_arn"
    )]
    external_id: Option<String>,
    /// Name of the role's session [default: s3haul-JOBID]
    #[arg(
        long,
        env = "S3HAUL_ROLE_SESSION_NAME",
        value_name = "NAME",
        requires = "role_arn"
    )]
    role_session_name: Option<String>,
    /// Life of a session; a chained role lives one hour at most
    #[arg(long, env = "S3HAUL_ROLE_DURATION", value_name = "DUR", value_parser = values::duration, default_value = "1h")]
    role_duration: Duration,
    /// The MFA device of the base identity
    #[arg(
        long,
        env = "S3HAUL_MFA_SERIAL",
        value_name = "ARN",
        requires = "role_arn"
    )]
    mfa_serial: Option<String>,
    /// Work as the base identity, without a role
    #[arg(long, env = "S3HAUL_NO_ROLE", value_parser = clap::builder::BoolishValueParser::new())]
    no_role: bool,
    /// Expected owner of the source bucket
    #[arg(long, env = "S3HAUL_SOURCE_ACCOUNT", value_name = "ID", value_parser = values::account)]
    pub(super) source_account: Option<String>,
    /// Expected owner of the destination bucket, or any [default: the role's account]
    #[arg(long, env = "S3HAUL_DESTINATION_ACCOUNT", value_name = "ID|any", value_parser = owner)]
    destination_account: Option<Owner>,
    /// Region of the destination bucket and of STS [default: found by asking]
    #[arg(long, env = "S3HAUL_REGION", value_name = "REGION")]
    region: Option<String>,
    /// Region of the source bucket [default: found by asking]
    #[arg(long, env = "S3HAUL_SOURCE_REGION", value_name = "REGION")]
    source_region: Option<String>,
    /// Another endpoint of S3, and of STS
    #[arg(long, env = "S3HAUL_ENDPOINT_URL", value_name = "URL", value_parser = values::endpoint_url)]
    endpoint_url: Option<String>,
    /// Another endpoint for requests that read the source alone
    #[arg(long, env = "S3HAUL_SOURCE_ENDPOINT_URL", value_name = "URL", value_parser = values::endpoint_url)]
    source_endpoint_url: Option<String>,
    /// Another endpoint of STS
    #[arg(long, env = "S3HAUL_STS_ENDPOINT_URL", value_name = "URL", value_parser = values::endpoint_url)]
    sts_endpoint_url: Option<String>,
    /// Buckets go in the path, not in the host name
    #[arg(long, env = "S3HAUL_FORCE_PATH_STYLE", value_parser = clap::builder::BoolishValueParser::new())]
    force_path_style: bool,
    /// The requester pays for reading the source
    #[arg(long, env = "S3HAUL_REQUESTER_PAYS", value_parser = clap::builder::BoolishValueParser::new())]
    pub(super) requester_pays: bool,
}

impl AccessArgs {
    /// The access that the flags give. `session_name` is the role's session's where the flags name none.
    pub(super) fn options(
        self,
        profile: Option<String>,
        session_name: String,
    ) -> Result<AccessOptions, Failed> {
        // Not clap's to say: it takes S3HAUL_NO_ROLE=false for the flag.
        match (&self.role_arn, self.no_role) {
            (Some(_), true) => {
                return Err(Failed::usage(
                    "--role-arn (or S3HAUL_ROLE_ARN) cannot be used with --no-role",
                ));
            }
            (None, false) => {
                return Err(Failed::usage("--role-arn is missing").hinted(
                    "to copy as the base identity, without a role, say --no-role".to_owned(),
                ));
            }
            _ => {}
        }
        let session_name = self.role_session_name.unwrap_or(session_name);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
        if !(2..=64).contains(&session_name.len()) || !session_name.bytes().all(allowed) {
            return Err(Failed::usage(
                "--role-session-name has 2 to 64 of A-Z a-z 0-9 _ + = , . @ -",
            ));
        }
        if let Some(id) = &self.external_id
            && !(2..=1224).contains(&id.len())
        {
            return Err(Failed::usage("--external-id has 2 to 1224 characters"));
        }
        if self.role_duration > Duration::from_hours(12) {
            return Err(Failed::usage(
                "--role-duration is 12h at most, and 1h for a chained role",
            ));
        }
        Ok(AccessOptions {
            profile,
            manifest_profile: None,
            report_profile: None,
            report_account: None,
            role: self.role_arn.map(|role_arn| Role {
                role_arn,
                external_id: self.external_id,
                session_name,
                duration_seconds: self.role_duration.as_secs().max(1),
                mfa_serial: self.mfa_serial,
            }),
            source_account: self.source_account,
            destination_account: self.destination_account.unwrap_or(Owner::OfRole),
            region: self.region,
            source_region: self.source_region,
            endpoint_url: self.endpoint_url,
            source_endpoint_url: self.source_endpoint_url,
            sts_endpoint_url: self.sts_endpoint_url,
            force_path_style: self.force_path_style,
        })
    }
}

fn owner(text: &str) -> Result<Owner, String> {
    match text {
        "any" => Ok(Owner::Any),
        _ => values::account(text).map(Owner::Account),
    }
}
