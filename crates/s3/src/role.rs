//! Who we become: the role to assume, with MFA or without.

use std::fmt;
use std::time::Duration;

/// The role that the job takes.
#[derive(Debug, Clone)]
pub struct RoleOptions {
    /// `arn:aws:iam::ACCOUNT:role/NAME`, of any partition.
    pub role_arn: String,
    /// The external ID that the role's trust policy may ask for.
    pub external_id: Option<String>,
    /// The name of the session, seen in CloudTrail and in who started an upload.
    pub session_name: String,
    /// How long each session lives, in whole seconds: 15 minutes to the role's own maximum, 1 h for a
    /// role assumed with another role's credentials.
    ///
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
    pub duration: Duration,
    /// The ARN or serial number of the MFA device.
    pub mfa_serial: Option<String>,
    /// The code that it shows.
    pub mfa_code: Option<MfaCode>,
}

/// A code of an MFA device. Shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct MfaCode(String);

impl MfaCode {
    /// Takes the code as it was typed, less the spaces around it.
    pub fn new(code: &str) -> Self {
        Self(code.trim().to_owned())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MfaCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MfaCode(******)")
    }
}

/// Whether that is a role's ARN: `arn:PARTITION:iam::12 DIGITS:role/PATH`.
///
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns>
pub fn is_role_arn(arn: &str) -> bool {
    let mut fields = arn.splitn(6, ':');
    let mut next = || fields.next().unwrap_or_default();
    let (head, partition, service, region) = (next(), next(), next(), next());
    let (account, resource) = (next(), next());
    head == "arn"
        && (partition == "aws" || partition.starts_with("aws-"))
        && service == "iam"
        && region.is_empty()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && resource
            .strip_prefix("role/")
            .is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_arns() {
        for good in [
            "arn:aws:iam::123456789012:role/copy",
            "arn:aws:iam::123456789012:role/path/to/copy",
            "arn:aws-cn:iam::123456789012:role/copy",
            "arn:aws-us-gov:iam::123456789012:role/copy+=,.@_-",
        ] {
            assert!(is_role_arn(good), "{good}");
        }
        for bad in [
            "",
            "copy",
            "arn:aws:iam::123456789012:user/me",
            "arn:aws:iam::12345678901:role/copy",
            "arn:aws:iam::12345678901x:role/copy",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam:eu-west-1:123456789012:role/copy",
            "arn:aws:sts::123456789012:assumed-role/copy/session",
            "arn:awsx:iam::123456789012:role/copy",
            "arn:aws:iam::123456789012:role/copy ",
        ] {
            assert!(!is_role_arn(bad), "{bad}");
        }
    }

    #[test]
    fn a_code_is_not_shown() {
        let code = MfaCode::new(" 123456\n");
        assert_eq!(code.reveal(), "123456");
        assert!(!format!("{code:?}").contains("123456"));
    }
}
