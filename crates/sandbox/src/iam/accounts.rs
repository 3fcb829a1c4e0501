//! The accounts, users, roles and KMS keys of a sandbox.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::document::{Policy, PolicyError, PolicyKind};
use super::{is_account_id, role_arn};

/// Lists the accounts of a sandbox, as its accounts file has them.
///
/// ```json
/// {"accounts": [{
///   "id": "111111111111",
///   "users": [{"name": "…", "access_key_id": "…", "secret_access_key": "…", "policies": []}],
///   "roles": [{"name": "…", "trust_policy": {}, "policies": [], "max_session_seconds": 3600}],
///   "keys": [{"arn": "arn:aws:kms:us-east-1:111111111111:key/…", "policy": {}}]
/// }]}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountsFile {
    /// The accounts, each with an ID of its own.
    pub accounts: Vec<Account>,
}

/// Holds one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// The users, each with a name of its own.
    #[serde(default)]
    pub users: Vec<User>,
    /// The roles, each with a name of its own.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// The KMS keys whose policies are asked. What is under any other key is as open as without one.
    #[serde(default)]
    pub keys: Vec<Key>,
}

/// Holds one user, with one pair of long-lived keys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// 1 to 64 of `A-Za-z0-9_+=,.@-`.
    pub name: String,
    /// 16 to 128 of `A-Za-z0-9_`, no other user's.
    pub access_key_id: String,
    /// The secret that goes with the access key.
    pub secret_access_key: String,
    /// What the user may do.
    #[serde(default)]
    pub policies: Vec<Policy>,
}

/// Holds one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// 1 to 64 of `A-Za-z0-9_+=,.@-`.
    pub name: String,
    /// Who may assume the role.
    pub trust_policy: Policy,
    /// What the role may do.
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// The longest session, in seconds: 3,600 (the default) to 43,200.
    #[serde(default = "one_hour")]
    pub max_session_seconds: u32,
}

/// Holds one KMS key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// `arn:aws:kms:REGION:ACCOUNT:key/ID`, of the account that it stands in; requests and buckets name it so.
    pub arn: String,
    /// Who may use it. Its account's own policies count only where it names the account.
    pub policy: Policy,
}

fn one_hour() -> u32 {
    3600
}

/// Shows all but the secret.
impl fmt::Debug for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("User")
            .field("name", &self.name)
            .field("access_key_id", &self.access_key_id)
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}

/// Reports an accounts file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The text is not JSON, or has not the members of an accounts file.
    #[error("malformed accounts file at line {line}, column {column}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        source: serde_json::Error,
    },
    /// A value is not what it must be.
    #[error("{place}: {problem}")]
    Invalid {
        /// The path to the value, such as `accounts[0].users[1].name`.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A policy is not right for where it stands.
    #[error("{place} is no policy for that place")]
    Policy {
        /// The path to the policy.
        place: String,
        /// What is wrong with it.
        source: PolicyError,
    },
}

impl AccountsError {
    fn invalid(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

impl AccountsFile {
    /// Reads an accounts file and checks it.
    ///
    /// # Errors
    ///
    /// What is not JSON or has unknown members; an ID, a name, a key or a policy that AWS would not take; and an account, a name in an account, or an access key that is there twice.
    pub fn parse(json: &str) -> Result<Self, AccountsError> {
        let file: Self = serde_json::from_str(json).map_err(|source| AccountsError::Malformed {
            line: source.line(),
            column: source.column(),
            source,
        })?;
        file.check()?;
        Ok(file)
    }

    /// Finds the account with an ID.
    pub fn account(&self, id: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == id)
    }

    /// Finds the user with an access key, and the account that the user is in.
    pub fn user_by_access_key_id(&self, access_key_id: &str) -> Option<(&Account, &User)> {
        self.accounts.iter().find_map(|account| {
            let user = account
                .users
                .iter()
                .find(|user| user.access_key_id == access_key_id)?;
            Some((account, user))
        })
    }

    /// Finds the role with an ARN, and the account that the role is in.
    pub fn role_by_arn(&self, arn: &str) -> Option<(&Account, &Role)> {
        self.accounts.iter().find_map(|account| {
            let role = account
                .roles
                .iter()
                .find(|role| role_arn(&account.id, &role.name) == arn)?;
            Some((account, role))
        })
    }

    /// Finds the KMS key with an ARN, and the account that the key is in.
    pub fn key_by_arn(&self, arn: &str) -> Option<(&Account, &Key)> {
        self.accounts.iter().find_map(|account| {
            let key = account.keys.iter().find(|key| key.arn == arn)?;
            Some((account, key))
        })
    }

    fn check(&self) -> Result<(), AccountsError> {
        let mut ids = BTreeSet::new();
        let mut access_keys = BTreeSet::new();
        for (index, account) in self.accounts.iter().enumerate() {
            let place = format!("accounts[{index}]");
            if !is_account_id(&account.id) {
                return Err(AccountsError::invalid(
                    format!("{place}.id"),
                    format!("\"{}\" is not twelve digits", account.id),
                ));
            }
            unique(&mut ids, &account.id, || format!("{place}.id"))?;
            let mut names = BTreeSet::new();
            for (index, user) in account.users.iter().enumerate() {
                let place = format!("{place}.users[{index}]");
                unique(&mut names, &user.name, || format!("{place}.name"))?;
                unique(&mut access_keys, &user.access_key_id, || {
                    format!("{place}.access_key_id")
                })?;
                user.check(&place)?;
            }
            let mut names = BTreeSet::new();
            for (index, role) in account.roles.iter().enumerate() {
                let place = format!("{place}.roles[{index}]");
                unique(&mut names, &role.name, || format!("{place}.name"))?;
                role.check(&place)?;
            }
            let mut arns = BTreeSet::new();
            for (index, key) in account.keys.iter().enumerate() {
                let place = format!("{place}.keys[{index}]");
                unique(&mut arns, &key.arn, || format!("{place}.arn"))?;
                key.check(&place, &account.id)?;
            }
        }
        Ok(())
    }
}

impl User {
    fn check(&self, place: &str) -> Result<(), AccountsError> {
        check_name(&self.name, place)?;
        let key = &self.access_key_id;
        if !(16..=128).contains(&key.len())
            || !key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(AccountsError::invalid(
                format!("{place}.access_key_id"),
                format!("\"{key}\" is not 16 to 128 letters, digits and underscores"),
            ));
        }
        if self.secret_access_key.is_empty() {
            return Err(AccountsError::invalid(
                format!("{place}.secret_access_key"),
                "is empty",
            ));
        }
        check_identity_policies(&self.policies, place)
    }
}

impl Role {
    fn check(&self, place: &str) -> Result<(), AccountsError> {
        check_name(&self.name, place)?;
        if !(3600..=43200).contains(&self.max_session_seconds) {
            return Err(AccountsError::invalid(
                format!("{place}.max_session_seconds"),
                format!("{} is not 3600 to 43200", self.max_session_seconds),
            ));
        }
        self.trust_policy
            .check(PolicyKind::Trust)
            .map_err(|source| AccountsError::Policy {
                place: format!("{place}.trust_policy"),
                source,
            })?;
        check_identity_policies(&self.policies, place)
    }
}

impl Key {
    fn check(&self, place: &str, account: &str) -> Result<(), AccountsError> {
        let fields: Vec<&str> = self.arn.split(':').collect();
        let fits = matches!(
            fields.as_slice(),
            ["arn", "aws", "kms", region, owner, resource]
                if !region.is_empty() && *owner == account && resource.starts_with("key/")
        );
        if !fits {
            return Err(AccountsError::invalid(
                format!("{place}.arn"),
                format!(
                    "\"{}\" is not arn:aws:kms:REGION:{account}:key/ID",
                    self.arn
                ),
            ));
        }
        self.policy
            .check(PolicyKind::Key)
            .map_err(|source| AccountsError::Policy {
                place: format!("{place}.policy"),
                source,
            })
    }
}

fn check_identity_policies(policies: &[Policy], place: &str) -> Result<(), AccountsError> {
    for (index, policy) in policies.iter().enumerate() {
        policy
            .check(PolicyKind::Identity)
            .map_err(|source| AccountsError::Policy {
                place: format!("{place}.policies[{index}]"),
                source,
            })?;
    }
    Ok(())
}

fn check_name(name: &str, place: &str) -> Result<(), AccountsError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(AccountsError::invalid(
        format!("{place}.name"),
        format!("\"{name}\" is not 1 to 64 of A-Z, a-z, 0-9 and _+=,.@-"),
    ))
}

fn unique<'a>(
    known: &mut BTreeSet<&'a str>,
    value: &'a str,
    place: impl FnOnce() -> String,
) -> Result<(), AccountsError> {
    if known.insert(value) {
        return Ok(());
    }
    Err(AccountsError::invalid(
        place(),
        format!("\"{value}\" is there twice"),
    ))
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use serde_json::{Value, json};

    use super::{AccountsError, AccountsFile};

    fn good() -> Value {
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
        json!({"accounts": [
            {"id": "111111111111", "users": [
                {"name": "ann", "access_key_id": "AKIAANNANNANNEXAMPLE", "secret_access_key": "secret", "policies": [policy]},
                {"name": "bob", "access_key_id": "AKIABOBBOBBOBEXAMPLE", "secret_access_key": "secret"},
            ]},
            {"id": "222222222222", "roles": [
                {"name": "copy", "policies": [policy],
                 "trust_policy": {"Statement": {"Effect": "Allow", "Principal": {"AWS": "111111111111"}, "Action": "sts:AssumeRole"}}},
            ], "keys": [
                {"arn": "arn:aws:kms:eu-west-1:222222222222:key/k",
                 "policy": {"Statement": {"Effect": "Allow", "Principal": {"AWS": "222222222222"}, "Action": "kms:*", "Resource": "*"}}},
            ]},
        ]})
    }

    #[test]
    fn a_good_file() {
        let file = AccountsFile::parse(&good().to_string()).unwrap();
        let (account, user) = file.user_by_access_key_id("AKIABOBBOBBOBEXAMPLE").unwrap();
        assert_eq!(
            (account.id.as_str(), user.name.as_str()),
            ("111111111111", "bob")
        );
        assert!(user.policies.is_empty());
        let (account, role) = file
            .role_by_arn("arn:aws:iam::222222222222:role/copy")
            .unwrap();
        assert_eq!(
            (account.id.as_str(), role.max_session_seconds),
            ("222222222222", 3600)
        );
        assert!(
            file.role_by_arn("arn:aws:iam::111111111111:role/copy")
                .is_none()
        );
        let (account, _) = file
            .key_by_arn("arn:aws:kms:eu-west-1:222222222222:key/k")
            .unwrap();
        assert_eq!(account.id, "222222222222");
        assert!(file.key_by_arn("k").is_none());
        assert!(file.user_by_access_key_id("AKIANOBODYEXAMPLE").is_none());
        assert!(file.account("333333333333").is_none());
        let again = serde_json::to_string(&file).unwrap();
        assert_eq!(AccountsFile::parse(&again).unwrap(), file);
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut file = good();
        file["accounts"][0]["users"][0]["secret_access_key"] = json!("wJalr");
        let file = AccountsFile::parse(&file.to_string()).unwrap();
        assert!(!format!("{file:?}").contains("wJalr"));
    }

    #[test]
    fn errors_name_the_place() {
        let statement =
            json!({"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"});
        for (path, value, expected) in [
            (
                "/accounts/0/id",
                json!("11111111111"),
                "accounts[0].id: \"11111111111\" is not twelve digits",
            ),
            (
                "/accounts/1/id",
                json!("111111111111"),
                "accounts[1].id: \"111111111111\" is there twice",
            ),
            (
                "/accounts/0/users/1/name",
                json!("ann"),
                "accounts[0].users[1].name: \"ann\" is there twice",
            ),
            (
                "/accounts/0/users/1/name",
                json!(""),
                "accounts[0].users[1].name: \"\" is not 1 to 64 of",
            ),
            (
                "/accounts/0/users/1/name",
                json!("a b"),
                "accounts[0].users[1].name: \"a b\" is not 1 to 64 of",
            ),
            (
                "/accounts/1/roles/0/name",
                json!("a/b"),
                "accounts[1].roles[0].name: \"a/b\" is not 1 to 64 of",
            ),
            (
                "/accounts/0/users/1/access_key_id",
                json!("AKIAANNANNANNEXAMPLE"),
                "accounts[0].users[1].access_key_id: \"AKIAANNANNANNEXAMPLE\" is there twice",
            ),
            (
                "/accounts/0/users/0/access_key_id",
                json!("AKIA"),
                "accounts[0].users[0].access_key_id: \"AKIA\" is not 16 to 128",
            ),
            (
                "/accounts/0/users/0/secret_access_key",
                json!(""),
                "accounts[0].users[0].secret_access_key: is empty",
            ),
            (
                "/accounts/0/users/0/policies/0/Statement/0",
                statement.clone(),
                "accounts[0].users[0].policies[0] is no policy for that place",
            ),
            (
                "/accounts/1/keys/0/arn",
                json!("arn:aws:kms:eu-west-1:111111111111:key/k"),
                "accounts[1].keys[0].arn: \"arn:aws:kms:eu-west-1:111111111111:key/k\" is not arn:aws:kms:REGION:222222222222:key/ID",
            ),
            (
                "/accounts/1/keys/0/policy/Statement/Action",
                json!("s3:GetObject"),
                "accounts[1].keys[0].policy is no policy for that place",
            ),
            (
                "/accounts/1/roles/0/trust_policy/Statement",
                statement,
                "accounts[1].roles[0].trust_policy is no policy for that place",
            ),
        ] {
            let mut file = good();
            *file.pointer_mut(path).unwrap() = value;
            let error = AccountsFile::parse(&file.to_string()).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{path}\n{error}");
        }
        let mut file = good();
        file["accounts"][1]["roles"][0]["max_session_seconds"] = json!(900);
        let error = AccountsFile::parse(&file.to_string()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "accounts[1].roles[0].max_session_seconds: 900 is not 3600 to 43200"
        );
    }

    #[test]
    fn what_is_not_json_is_placed_by_line() {
        for (text, expected) in [
            (
                "{\n  \"accounts\": [\n    {\"id\": }\n]}",
                (3, "expected value"),
            ),
            (
                "{\n\"accounts\": [],\n\"buckets\": []}",
                (3, "unknown field `buckets`"),
            ),
            (
                "{\"accounts\": [{\"id\": \"111111111111\",\n\"groups\": []}]}",
                (2, "unknown field `groups`"),
            ),
        ] {
            let error = AccountsFile::parse(text).unwrap_err();
            let AccountsError::Malformed { line, source, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!(*line, expected.0, "{source}");
            assert!(
                error.source().unwrap().to_string().starts_with(expected.1),
                "{source}"
            );
        }
    }
}
