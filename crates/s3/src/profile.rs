//! What environment and shared files say about who we are: where the first credentials come from, and
//! the roles to take with them.
//!
//! Read by us and not by the SDK alone, which leaves `mfa_serial` and `duration_seconds` of a profile out
//! without a word, and sends what it asks of STS past the endpoint that was given.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_config::profile::{Profile, ProfileSet};
use aws_credential_types::Credentials;
use aws_runtime::env_config::file::EnvConfigFiles;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::identity_error::IdentityError;

/// The session of a role whose profile names none.
const SESSION_NAME: &str = "s3haul";

/// How long a profile's role lives that says nothing else, as with the AWS CLI.
///
/// <https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html#cli-configure-files-settings>
const ROLE_DURATION: Duration = Duration::from_hours(1);

/// When the session in the environment ends, as `aws configure export-credentials` and `aws-vault` tell it.
const ENVIRONMENT_END: &str = "AWS_CREDENTIAL_EXPIRATION";

/// When the session in a profile ends, as tools that log in write it (`saml2aws`, `okta-aws-cli`).
const PROFILE_END: &str = "x_security_token_expires";

/// Settings of which any makes a profile one that gives credentials.
const GIVES: [&str; 8] = [
    "aws_access_key_id",
    "role_arn",
    "web_identity_token_file",
    "credential_source",
    "credential_process",
    "sso_session",
    "sso_start_url",
    "login_session",
];

/// Where credentials come from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) source: Source,
    /// The roles to take, each with the credentials of the one before it.
    pub(crate) roles: Vec<ProfileRole>,
}

/// What gives the first credentials.
#[derive(Debug)]
pub(crate) enum Source {
    /// Keys in the environment, with the end of their session where it is told.
    Environment(Option<SystemTime>),
    /// Keys in a profile.
    Keys {
        profile: String,
        credentials: Credentials,
    },
    /// A profile that names a process or an SSO login.
    Profile { name: String, sso: bool },
    /// A token in a file, which STS takes for a role.
    WebIdentity(WebIdentity),
    /// The endpoint of a container.
    Container,
    /// The metadata of an instance.
    Instance,
    /// Whatever else the AWS default chain finds: a container's, else an instance's.
    Chain,
}

/// A role for a token in a file.
#[derive(Debug)]
pub(crate) struct WebIdentity {
    pub(crate) role_arn: String,
    pub(crate) token_file: PathBuf,
    pub(crate) session_name: String,
    pub(crate) duration: Duration,
}

/// A role that a profile takes.
#[derive(Debug)]
pub(crate) struct ProfileRole {
    pub(crate) role_arn: String,
    pub(crate) external_id: Option<String>,
    pub(crate) session_name: String,
    pub(crate) duration: Duration,
    /// Of the first role alone: only a user has a device.
    pub(crate) mfa_serial: Option<String>,
}

impl Origin {
    fn of(source: Source) -> Self {
        Self {
            source,
            roles: Vec::new(),
        }
    }

    /// The device whose code is needed.
    pub(crate) fn mfa_serial(&self) -> Option<&str> {
        self.roles.first()?.mfa_serial.as_deref()
    }
}

/// The MFA device whose code a profile needs, if it needs one; of the default chain's profile without a name.
///
/// # Errors
///
/// There is no such profile, or it makes no sense.
pub async fn mfa_serial_of(profile: Option<&str>) -> Result<Option<String>, IdentityError> {
    let origin = find(profile).await?;
    Ok(origin.mfa_serial().map(str::to_owned))
}

/// Reads environment and shared files: anew each time, for who logs in again while a job runs writes there.
///
/// # Errors
///
/// There is no such profile, or it makes no sense.
pub(crate) async fn find(profile: Option<&str>) -> Result<Origin, IdentityError> {
    // They come before an unnamed profile.
    if profile.is_none()
        && variable("AWS_ACCESS_KEY_ID").is_some()
        && variable("AWS_SECRET_ACCESS_KEY").is_some()
    {
        return Ok(Origin::of(environment()));
    }
    let loaded = aws_config::profile::load(
        &aws_types::os_shim_internal::Fs::real(),
        &aws_types::os_shim_internal::Env::real(),
        &EnvConfigFiles::default(),
        profile.map(|name| name.to_owned().into()),
    )
    .await;
    let profiles = match (loaded, profile) {
        (Ok(profiles), _) => profiles,
        // Without a profile that was asked for, the chain goes on, and says more if it finds nothing.
        (Err(_), None) => return Ok(Origin::of(behind_profiles())),
        (Err(source), Some(_)) => {
            return Err(IdentityError::ProfilesUnreadable(Box::new(source)));
        }
    };
    let first = profiles.selected_profile();
    let gives = |profile: &Profile| GIVES.iter().any(|key| profile.get(key).is_some());
    match (profiles.get_profile(first), profile) {
        (None, Some(name)) => Err(IdentityError::ProfileNotFound {
            profile: name.to_owned(),
        }),
        (Some(found), None) if !gives(found) => Ok(Origin::of(behind_profiles())),
        (None, None) => Ok(Origin::of(behind_profiles())),
        _ => of_profile(&profiles, first),
    }
}

/// What comes after environment and profiles in the AWS default chain.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>
fn behind_profiles() -> Source {
    match (
        variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
        variable("AWS_ROLE_ARN"),
    ) {
        (Some(token_file), Some(role_arn)) => Source::WebIdentity(WebIdentity {
            role_arn,
            token_file: token_file.into(),
            session_name: variable("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION_NAME.to_owned()),
            duration: ROLE_DURATION,
        }),
        _ => Source::Chain,
    }
}

/// Follows `source_profile` to what gives the first credentials.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html>
fn of_profile(profiles: &ProfileSet, first: &str) -> Result<Origin, IdentityError> {
    let mut roles = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    let mut name = first;
    let source = loop {
        let Some(profile) = profiles.get_profile(name) else {
            return Err(IdentityError::ProfileNotFound {
                profile: name.to_owned(),
            });
        };
        // Keys end a chain, as they do for the AWS CLI.
        if !seen.is_empty() && profile.get("aws_access_key_id").is_some() {
            break keys_of(profile)?;
        }
        if seen.contains(&name) {
            return Err(unusable(name, "builds on itself"));
        }
        seen.push(name);
        let role_arn = profile.get("role_arn");
        match (role_arn, profile.get("web_identity_token_file")) {
            (Some(role_arn), Some(token_file)) => {
                break Source::WebIdentity(WebIdentity {
                    role_arn: role_arn.to_owned(),
                    token_file: token_file.into(),
                    session_name: session_name_of(profile),
                    duration: duration_of(profile)?,
                });
            }
            (None, Some(_)) => {
                return Err(unusable(
                    name,
                    "has web_identity_token_file without role_arn",
                ));
            }
            (None, None) => break source_of(profile)?,
            (Some(role_arn), None) => roles.push((name, role_of(profile, role_arn)?)),
        }
        match (
            profile.get("source_profile"),
            profile.get("credential_source"),
        ) {
            (Some(_), Some(_)) => {
                return Err(unusable(name, "has source_profile and credential_source"));
            }
            (None, None) => {
                return Err(unusable(
                    name,
                    "has role_arn, and neither source_profile nor credential_source",
                ));
            }
            (Some(next), None) if next == name => break keys_of(profile)?,
            (Some(next), None) => name = next,
            (None, Some(source)) => break named(name, source)?,
        }
    };
    roles.reverse();
    let users = matches!(
        source,
        Source::Environment(_) | Source::Keys { .. } | Source::Profile { sso: false, .. }
    );
    for (at, (profile, role)) in roles.iter().enumerate() {
        if role.mfa_serial.is_some() && (at > 0 || !users) {
            return Err(unusable(
                profile,
                "has mfa_serial, and builds on a role: only an IAM user has a device",
            ));
        }
    }
    Ok(Origin {
        source,
        roles: roles.into_iter().map(|(_, role)| role).collect(),
    })
}

fn role_of(profile: &Profile, role_arn: &str) -> Result<ProfileRole, IdentityError> {
    let value = |key| profile.get(key).map(str::to_owned);
    Ok(ProfileRole {
        role_arn: role_arn.to_owned(),
        external_id: value("external_id"),
        session_name: session_name_of(profile),
        duration: duration_of(profile)?,
        mfa_serial: value("mfa_serial"),
    })
}

fn session_name_of(profile: &Profile) -> String {
    let given = profile.get("role_session_name");
    given.unwrap_or(SESSION_NAME).to_owned()
}

fn duration_of(profile: &Profile) -> Result<Duration, IdentityError> {
    let Some(seconds) = profile.get("duration_seconds") else {
        return Ok(ROLE_DURATION);
    };
    match seconds.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => Err(unusable(
            profile.name(),
            "has a duration_seconds that is no number",
        )),
    }
}

/// What a profile gives that takes no role.
fn source_of(profile: &Profile) -> Result<Source, IdentityError> {
    let has = |key| profile.get(key).is_some();
    if let Some(source) = profile.get("credential_source") {
        return named(profile.name(), source);
    }
    let sso = has("sso_session") || has("sso_start_url");
    if !sso && !has("login_session") && !has("credential_process") && has("aws_access_key_id") {
        return keys_of(profile);
    }
    Ok(Source::Profile {
        name: profile.name().to_owned(),
        sso,
    })
}

fn named(profile: &str, source: &str) -> Result<Source, IdentityError> {
    match source.to_ascii_lowercase().as_str() {
        "environment" => Ok(environment()),
        "ecscontainer" => Ok(Source::Container),
        "ec2instancemetadata" => Ok(Source::Instance),
        _ => Err(unusable(
            profile,
            "has a credential_source that is none of Environment, EcsContainer, Ec2InstanceMetadata",
        )),
    }
}

/// Keys without a session have no end, whatever is left over in the environment.
fn environment() -> Source {
    let end = variable(ENVIRONMENT_END).filter(|_| session_in_environment());
    Source::Environment(end.and_then(|text| time_of(ENVIRONMENT_END, &text)))
}

/// Whether the keys in the environment are those of a session.
pub(crate) fn session_in_environment() -> bool {
    variable("AWS_SESSION_TOKEN").is_some()
}

fn keys_of(profile: &Profile) -> Result<Source, IdentityError> {
    let (Some(id), Some(secret)) = (
        profile.get("aws_access_key_id"),
        profile.get("aws_secret_access_key"),
    ) else {
        return Err(unusable(
            profile.name(),
            "is to have aws_access_key_id and aws_secret_access_key",
        ));
    };
    let token = profile.get("aws_session_token").map(str::to_owned);
    let end = profile.get(PROFILE_END);
    let end = end.and_then(|text| time_of(PROFILE_END, text));
    Ok(Source::Keys {
        profile: profile.name().to_owned(),
        credentials: Credentials::new(id, secret, token, end, "Profile"),
    })
}

fn unusable(profile: &str, why: &'static str) -> IdentityError {
    IdentityError::ProfileUnusable {
        profile: profile.to_owned(),
        why,
    }
}

/// A variable that has something in it.
fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|text| !text.trim().is_empty())
}

/// The time that a setting tells; none if it cannot be read, for it is a help and no more.
fn time_of(setting: &str, text: &str) -> Option<SystemTime> {
    let read = OffsetDateTime::parse(text.trim(), &Rfc3339);
    read.inspect_err(|_| tracing::warn!("{setting} is no time of RFC 3339 and was not read"))
        .ok()
        .map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_runtime::env_config::file::EnvConfigFileKind;

    async fn of(config: &str, first: &str) -> Result<Origin, IdentityError> {
        let files = EnvConfigFiles::builder()
            .with_contents(EnvConfigFileKind::Config, config)
            .build();
        let profiles = aws_config::profile::load(
            &aws_types::os_shim_internal::Fs::real(),
            &aws_types::os_shim_internal::Env::real(),
            &files,
            Some(first.to_owned().into()),
        )
        .await;
        of_profile(&profiles.unwrap(), first)
    }

    const KEYS: &str = "aws_access_key_id = AKIA\naws_secret_access_key = secret\n";

    #[tokio::test]
    async fn sources() {
        for (settings, expected) in [
            (KEYS, "Keys"),
            ("credential_process = true\n", "Profile"),
            (
                "sso_session = s\nsso_account_id = 1\nsso_role_name = r\n",
                "sso: true",
            ),
            ("credential_source = EcsContainer\n", "Container"),
            ("credential_source = ec2instancemetadata\n", "Instance"),
            ("credential_source = Environment\n", "Environment"),
            (
                "role_arn = r\nweb_identity_token_file = /t\n",
                "WebIdentity",
            ),
            // A note for other tools, without a role.
            ("mfa_serial = m\ncredential_process = true\n", "Profile"),
            (
                "role_arn = r\ncredential_source = EcsContainer\n",
                "Container",
            ),
        ] {
            let origin = of(&format!("[profile p]\n{settings}"), "p").await.unwrap();
            let found = format!("{:?}", origin.source);
            assert!(found.contains(expected), "{settings}: {found}");
            assert_eq!(origin.mfa_serial(), None, "{settings}");
        }
    }

    #[tokio::test]
    async fn a_chain_of_profiles() {
        let config = format!(
            "[profile last]\nrole_arn = second\nsource_profile = middle\nduration_seconds = 900\n\
             [profile middle]\nrole_arn = first\nsource_profile = user\nmfa_serial = device\n\
             external_id = e\nrole_session_name = n\n\
             [profile user]\n{KEYS}role_arn = not-taken\nsource_profile = none\n"
        );
        let origin = of(&config, "last").await.unwrap();
        assert!(matches!(&origin.source, Source::Keys { profile, .. } if profile == "user"));
        assert_eq!(origin.mfa_serial(), Some("device"));
        let [first, second] = &origin.roles[..] else {
            panic!("{origin:?}");
        };
        let role = |role: &ProfileRole| {
            let words = (role.role_arn.clone(), role.session_name.clone());
            (
                words.0,
                words.1,
                role.external_id.clone(),
                role.duration.as_secs(),
            )
        };
        let expected = ("first".into(), "n".into(), Some("e".into()), 3600);
        assert_eq!(role(first), expected);
        assert_eq!(
            role(second),
            ("second".into(), SESSION_NAME.into(), None, 900)
        );
    }

    #[tokio::test]
    async fn a_profile_that_builds_on_its_own_keys() {
        let config =
            format!("[profile p]\nrole_arn = r\nsource_profile = p\nmfa_serial = m\n{KEYS}");
        let origin = of(&config, "p").await.unwrap();
        assert!(matches!(origin.source, Source::Keys { .. }));
        assert_eq!(origin.mfa_serial(), Some("m"));
    }

    #[tokio::test]
    async fn a_session_in_a_profile_may_tell_its_end() {
        for (text, known) in [("2030-01-02T00:47:31+02:00", true), ("tomorrow", false)] {
            let config =
                format!("[profile p]\n{KEYS}aws_session_token = t\n{PROFILE_END} = {text}\n");
            let origin = of(&config, "p").await.unwrap();
            let Source::Keys { credentials, .. } = origin.source else {
                panic!("{:?}", origin.source);
            };
            assert_eq!(credentials.session_token(), Some("t"));
            assert_eq!(credentials.expiry().is_some(), known, "{text}");
        }
    }

    #[tokio::test]
    async fn profiles_that_make_no_sense() {
        for (settings, words) in [
            (
                "role_arn = r\n",
                "neither source_profile nor credential_source",
            ),
            (
                "role_arn = r\nsource_profile = q\ncredential_source = Environment\n",
                "has source_profile and credential_source",
            ),
            (
                "role_arn = r\nsource_profile = q\n",
                "there is no profile q",
            ),
            ("role_arn = r\nsource_profile = p\n", "aws_access_key_id"),
            (
                "role_arn = r\ncredential_source = Floozle\n",
                "none of Environment",
            ),
            ("web_identity_token_file = /t\n", "without role_arn"),
            (
                "role_arn = r\ncredential_source = EcsContainer\nmfa_serial = m\n",
                "only an IAM user has a device",
            ),
            (
                "role_arn = r\ncredential_source = Environment\nduration_seconds = 1h\n",
                "duration_seconds that is no number",
            ),
            (
                "role_arn = r\nsource_profile = two\n[profile two]\nrole_arn = s\nsource_profile = p\n",
                "builds on itself",
            ),
        ] {
            let error = of(&format!("[profile p]\n{settings}"), "p")
                .await
                .unwrap_err();
            let error = error.to_string();
            assert!(error.contains(words), "{settings}: {error}");
        }
    }
}
