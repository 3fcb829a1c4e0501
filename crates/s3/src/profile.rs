//! What a profile asks for that the SDK would leave out without a word.

use std::collections::HashSet;

use aws_runtime::env_config::file::EnvConfigFiles;

use crate::identity_error::IdentityError;

/// The settings of a role profile that the SDK reads over: the session would lack MFA, or last an hour.
const IGNORED: [&str; 2] = ["mfa_serial", "duration_seconds"];

/// Checks the profile that gives the base identity, and those it builds on.
///
/// # Errors
///
/// A named profile that is not there, or a setting that would be ignored.
pub(crate) async fn check(profile: Option<&str>) -> Result<(), IdentityError> {
    // Keys in the environment come before an unnamed profile.
    if profile.is_none() && std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        return Ok(());
    }
    let loaded = aws_config::profile::load(
        &aws_types::os_shim_internal::Fs::real(),
        &aws_types::os_shim_internal::Env::real(),
        &EnvConfigFiles::default(),
        profile.map(|name| name.to_owned().into()),
    )
    .await;
    let sections = match loaded {
        Ok(sections) => sections,
        // Without a profile that was asked for, the chain goes on, and says more if it finds nothing.
        Err(_) if profile.is_none() => return Ok(()),
        Err(source) => return Err(IdentityError::ProfilesUnreadable(Box::new(source))),
    };
    if let Some(name) = profile
        && sections.get_profile(name).is_none()
    {
        return Err(IdentityError::ProfileNotFound {
            profile: name.to_owned(),
        });
    }
    let value = |profile: &str, key: &str| {
        let profile = sections.get_profile(profile)?;
        profile.get(key).map(str::to_owned)
    };
    match ignored(sections.selected_profile(), value) {
        Some((profile, what)) => Err(IdentityError::ProfileUnsupported { profile, what }),
        None => Ok(()),
    }
}

/// The first setting that would be ignored, along the chain of `source_profile`.
fn ignored(
    first: &str,
    value: impl Fn(&str, &str) -> Option<String>,
) -> Option<(String, &'static str)> {
    let mut seen = HashSet::new();
    let mut profile = first.to_owned();
    while seen.insert(profile.clone()) {
        // They mean something only together with a role.
        value(&profile, "role_arn")?;
        for what in IGNORED {
            if value(&profile, what).is_some() {
                return Some((profile, what));
            }
        }
        profile = value(&profile, "source_profile")?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    type Profiles = &'static [(&'static str, &'static [(&'static str, &'static str)])];

    fn ignored_in(profiles: Profiles) -> Option<(String, &'static str)> {
        ignored("first", |profile, key| {
            let (_, settings) = profiles.iter().find(|(name, _)| *name == profile)?;
            let (_, value) = settings.iter().find(|(name, _)| *name == key)?;
            Some((*value).to_owned())
        })
    }

    #[test]
    fn finds_what_the_sdk_ignores() {
        let table: [(Profiles, Option<(&str, &str)>); 7] = [
            (&[], None),
            (&[("first", &[("region", "x")])], None),
            // Without a role it is a note for other tools.
            (&[("first", &[("mfa_serial", "m")])], None),
            (
                &[("first", &[("role_arn", "r"), ("mfa_serial", "m")])],
                Some(("first", "mfa_serial")),
            ),
            (
                &[("first", &[("role_arn", "r"), ("duration_seconds", "900")])],
                Some(("first", "duration_seconds")),
            ),
            (
                &[
                    ("first", &[("role_arn", "r"), ("source_profile", "second")]),
                    ("second", &[("role_arn", "r"), ("mfa_serial", "m")]),
                ],
                Some(("second", "mfa_serial")),
            ),
            (
                &[("first", &[("role_arn", "r"), ("source_profile", "first")])],
                None,
            ),
        ];
        for (profiles, expected) in table {
            let expected = expected.map(|(profile, what)| (profile.to_owned(), what));
            assert_eq!(ignored_in(profiles), expected, "{profiles:?}");
        }
    }
}
