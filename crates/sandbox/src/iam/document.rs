//! Policies as JSON documents, by the grammar of IAM.
//!
//! `https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html`. A member, an operator or a form of principal that is not known is an error: a policy read in part would allow or deny what its author never wrote.

use serde::{Deserialize, Serialize};

use super::bucket_arn;
use super::condition::Condition;
use super::grammar::{Members, one_or_many};

/// Holds one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct Policy {
    /// The version of the grammar; IAM takes an absent one for 2008-10-17.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is allowed and denied, in no order that matters.
    #[serde(deserialize_with = "one_or_many")]
    pub statement: Vec<Statement>,
}

/// Names a version of the grammar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// Has no variables: `${aws:username}` is text.
    #[default]
    #[serde(rename = "2008-10-17")]
    V2008,
    /// The current one.
    #[serde(rename = "2012-10-17")]
    V2012,
}

/// Allows or denies actions on resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Members", into = "Members")]
pub struct Statement {
    /// A name for people, unique in its policy.
    pub sid: Option<String>,
    /// What the statement does where it applies.
    pub effect: Effect,
    /// `Principal` or `NotPrincipal`; absent where the policy hangs on its principal.
    pub principals: Option<Choice<PrincipalBlock>>,
    /// `Action` or `NotAction`, with wildcards, case ignored.
    pub actions: Choice<Vec<String>>,
    /// `Resource` or `NotResource`, with wildcards and variables; absent in a role's trust policy.
    pub resources: Option<Choice<Vec<String>>>,
    /// What must hold besides, all of it.
    pub conditions: Vec<Condition>,
}

/// Says what a statement does where it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Allows what nothing denies.
    Allow,
    /// Denies whatever else allows it.
    Deny,
}

/// Lists what a statement is about, or all that it is not about: `Action` or `NotAction` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice<T> {
    /// What is listed.
    Only(T),
    /// All but what is listed.
    AllBut(T),
}

/// Names principals in a resource-based policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalBlock {
    /// `"*"`.
    Everyone,
    /// An object with a list for each kind.
    Named {
        /// `AWS`: accounts, users, roles, sessions of roles, or `*`.
        aws: Vec<String>,
        /// `Service`: AWS services, which never call the sandbox.
        service: Vec<String>,
        /// `CanonicalUser`: canonical IDs of accounts, which the sandbox has none of.
        canonical_user: Vec<String>,
        /// `Federated`: identity providers, which never call the sandbox.
        federated: Vec<String>,
    },
}

/// Says what a policy hangs on, which decides what its statements must and must not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind<'a> {
    /// On a user or role, or given to `AssumeRole` as session policy: names resources and no principal.
    Identity,
    /// On the bucket of this name: names principals, and resources in this bucket only.
    Bucket(&'a str),
    /// On a role, as its trust policy: names principals and no resource.
    Trust,
    /// On a KMS key: names principals, and as resource the key itself, mostly by `*`.
    Key,
}

/// Reports a policy that IAM or S3 would call malformed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The text is not JSON, or not IAM's grammar; the cause says what of both.
    #[error("malformed policy at line {line}, column {column}")]
    Grammar {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        source: serde_json::Error,
    },
    /// A statement lacks what its kind of policy needs, or has what it must not.
    #[error("Statement[{statement}]: {problem}")]
    Rule {
        /// The statement, from 0.
        statement: usize,
        /// What is wrong with it, in S3's words where S3 has some.
        problem: String,
    },
}

impl Policy {
    /// Makes a policy of the current version.
    pub fn new(statement: Vec<Statement>) -> Self {
        Self {
            version: Some(Version::V2012),
            id: None,
            statement,
        }
    }

    /// Reads a policy and checks it against what it will hang on.
    ///
    /// # Errors
    ///
    /// What is not JSON, not the grammar, or not right for the kind.
    pub fn parse(json: &str, kind: PolicyKind<'_>) -> Result<Self, PolicyError> {
        let policy: Self = serde_json::from_str(json).map_err(|source| PolicyError::Grammar {
            line: source.line(),
            column: source.column(),
            source,
        })?;
        policy.check(kind)?;
        Ok(policy)
    }

    /// Checks a policy against what it will hang on.
    ///
    /// # Errors
    ///
    /// The first statement that is not right for the kind.
    pub fn check(&self, kind: PolicyKind<'_>) -> Result<(), PolicyError> {
        for (index, statement) in self.statement.iter().enumerate() {
            statement.check(kind).map_err(|problem| PolicyError::Rule {
                statement: index,
                problem,
            })?;
        }
        Ok(())
    }

    /// Gives the version whose rules hold, 2008-10-17 if none is named.
    pub fn version(&self) -> Version {
        self.version.unwrap_or_default()
    }
}

impl Statement {
    /// Makes a statement that allows actions on resources, for a policy on a user or role.
    pub fn allow(actions: &[&str], resources: &[&str]) -> Self {
        Self {
            sid: None,
            effect: Effect::Allow,
            principals: None,
            actions: Choice::Only(owned(actions)),
            resources: Some(Choice::Only(owned(resources))),
            conditions: Vec::new(),
        }
    }

    /// Makes a statement that denies actions on resources, for a policy on a user or role.
    pub fn deny(actions: &[&str], resources: &[&str]) -> Self {
        Self {
            effect: Effect::Deny,
            ..Self::allow(actions, resources)
        }
    }

    /// Makes a statement that lets principals assume a role, for its trust policy.
    pub fn trust(principals: PrincipalBlock) -> Self {
        Self {
            resources: None,
            ..Self::allow(&["sts:AssumeRole"], &[]).to(principals)
        }
    }

    /// Names the principals, for a resource-based policy.
    #[must_use]
    pub fn to(self, principals: PrincipalBlock) -> Self {
        Self {
            principals: Some(Choice::Only(principals)),
            ..self
        }
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Names the statement.
    #[must_use]
    pub fn named(self, sid: &str) -> Self {
        Self {
            sid: Some(sid.to_owned()),
            ..self
        }
    }

    fn check(&self, kind: PolicyKind<'_>) -> Result<(), String> {
        let prefix = match kind {
            PolicyKind::Identity => None,
            // kms: and the rest cannot be granted on a bucket, whatever S3 is asked to store.
            PolicyKind::Bucket(_) => Some("s3:"),
            PolicyKind::Trust => Some("sts:"),
            PolicyKind::Key => Some("kms:"),
        };
        if let Some(prefix) = prefix
            && let Some(action) = self
                .actions
                .listed()
                .iter()
                .find(|action| *action != "*" && !starts_with_ignoring_case(action, prefix))
        {
            return Err(format!("policy has invalid action {action}"));
        }
        match (kind, &self.principals) {
            (PolicyKind::Identity, Some(_)) => {
                return Err("policy document should not specify a principal".to_owned());
            }
            (PolicyKind::Bucket(_) | PolicyKind::Trust | PolicyKind::Key, None) => {
                return Err("missing required field Principal".to_owned());
            }
            _ => {}
        }
        match (kind, &self.resources) {
            (PolicyKind::Trust, Some(_)) => Err("has prohibited field Resource".to_owned()),
            (PolicyKind::Identity | PolicyKind::Bucket(_) | PolicyKind::Key, None) => {
                Err("missing required field Resource".to_owned())
            }
            (PolicyKind::Bucket(bucket), Some(resources)) => {
                check_bucket(bucket, resources.listed())
            }
            (PolicyKind::Trust, None) | (PolicyKind::Identity | PolicyKind::Key, Some(_)) => Ok(()),
        }
    }
}

/// Finds a resource that is not of the bucket which the policy hangs on; S3 refuses to store such a policy.
fn check_bucket(bucket: &str, resources: &[String]) -> Result<(), String> {
    let bucket = bucket_arn(bucket);
    match resources.iter().find(|resource| {
        !resource
            .strip_prefix(&bucket)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '*']))
    }) {
        Some(resource) => Err(format!("policy has invalid resource {resource}")),
        None => Ok(()),
    }
}

impl PrincipalBlock {
    /// Names principals of AWS by account ID or ARN.
    pub fn aws(names: &[&str]) -> Self {
        Self::Named {
            aws: owned(names),
            service: Vec::new(),
            canonical_user: Vec::new(),
            federated: Vec::new(),
        }
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use serde_json::{Value, json};

    use super::{Policy, PolicyError, PolicyKind, Statement, Version};
    use crate::iam::{Choice, Effect, PrincipalBlock};

    /// The message and its causes, as a user would see them.
    fn chain(error: &dyn Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    fn refusal(policy: &Value, kind: PolicyKind<'_>) -> String {
        chain(&Policy::parse(&policy.to_string(), kind).unwrap_err())
    }

    #[test]
    fn one_or_many_of_everything() {
        let text = r#"{
            "Version": "2012-10-17", "Id": "source",
            "Statement": {
                "Sid": "Read", "Effect": "Allow",
                "Principal": {"AWS": ["111111111111", "arn:aws:iam::222222222222:role/copy"], "Service": "s3.amazonaws.com"},
                "Action": "s3:GetObject", "Resource": ["arn:aws:s3:::b/*", "arn:aws:s3:::b"],
                "Condition": {"Bool": {"aws:SecureTransport": true}, "NumericLessThan": {"s3:max-keys": [10, "20"]}}
            }
        }"#;
        let policy = Policy::parse(text, PolicyKind::Bucket("b")).unwrap();
        assert_eq!(policy.version(), Version::V2012);
        let [statement] = policy.statement.as_slice() else {
            panic!("{policy:?}")
        };
        assert_eq!(statement.effect, Effect::Allow);
        assert_eq!(statement.sid.as_deref(), Some("Read"));
        assert_eq!(
            statement.actions,
            Choice::Only(vec!["s3:GetObject".to_owned()])
        );
        let Some(Choice::Only(PrincipalBlock::Named { aws, service, .. })) = &statement.principals
        else {
            panic!("{statement:?}")
        };
        assert_eq!((aws.len(), service.len()), (2, 1));
        let conditions: Vec<_> = statement
            .conditions
            .iter()
            .map(|it| (it.operator().to_string(), it.key(), it.values()))
            .collect();
        assert_eq!(
            conditions,
            [
                (
                    "Bool".to_owned(),
                    "aws:SecureTransport",
                    &["true".to_owned()][..]
                ),
                (
                    "NumericLessThan".to_owned(),
                    "s3:max-keys",
                    &["10".to_owned(), "20".to_owned()][..]
                ),
            ]
        );
    }

    #[test]
    fn json_comes_back_as_it_was() {
        for policy in [
            json!({"Version": "2012-10-17", "Statement": [
                {"Sid": "A", "Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::b"},
                {"Effect": "Deny", "NotPrincipal": {"AWS": ["*", "111111111111"]}, "NotAction": ["s3:GetObject", "s3:PutObject"],
                 "NotResource": ["arn:aws:s3:::b/*", "arn:aws:s3:::b"],
                 "Condition": {
                    "StringNotEqualsIfExists": {"s3:x-amz-acl": "bucket-owner-full-control", "aws:PrincipalAccount": ["1", "2"]},
                    "ForAnyValue:StringLike": {"aws:TagKeys": ["a*"]},
                 }},
            ]}),
            json!({"Statement": [{"Effect": "Allow", "Principal": {"CanonicalUser": "abc", "Federated": "x", "Service": ["y", "z"]},
                "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}]}),
        ] {
            let read: Policy = serde_json::from_value(policy.clone()).unwrap();
            let mut written = serde_json::to_value(&read).unwrap();
            // One value in a list is written without it.
            if let Some(one) =
                written.pointer_mut("/Statement/1/Condition/ForAnyValue:StringLike/aws:TagKeys")
            {
                assert_eq!(*one, json!("a*"));
                *one = json!(["a*"]);
            }
            assert_eq!(written, policy);
        }
    }

    #[test]
    fn no_version_is_the_old_one() {
        let policy = r#"{"Statement": []}"#;
        let policy = Policy::parse(policy, PolicyKind::Identity).unwrap();
        assert_eq!(policy.version(), Version::V2008);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let good = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"});
        let with = |member: &str, value: Value| {
            let mut statement = good.clone();
            statement[member] = value;
            json!({"Version": "2012-10-17", "Statement": [statement]})
        };
        for (policy, expected) in [
            (
                json!({"Version": "2012-10-17", "Statement": [good], "Comment": "x"}),
                "unknown field `Comment`",
            ),
            (
                json!({"Version": "2020-01-01", "Statement": [good]}),
                "unknown variant `2020-01-01`",
            ),
            (
                json!({"Version": "2012-10-17"}),
                "missing field `Statement`",
            ),
            (
                json!({"Statement": [{"Effect": "Allow", "Resource": "*"}]}),
                "missing required field Action",
            ),
            (
                json!({"Statement": [{"Action": "*", "Resource": "*"}]}),
                "missing field `Effect`",
            ),
            (with("Effect", json!("allow")), "unknown variant `allow`"),
            (with("Actions", json!("*")), "unknown field `Actions`"),
            (
                with("NotAction", json!("*")),
                "Action and NotAction exclude each other",
            ),
            (
                with("NotResource", json!("*")),
                "Resource and NotResource exclude each other",
            ),
            (with("Action", json!([])), "invalid length 0"),
            (
                with("Action", json!("GetObject")),
                "invalid action \"GetObject\"",
            ),
            (with("Action", json!(1)), "invalid type: integer `1`"),
            (
                with("Resource", json!("bucket/*")),
                "resource \"bucket/*\" is neither an ARN",
            ),
            (
                with("Condition", json!({"StringSounds": {"a": "b"}})),
                "unknown condition operator \"StringSounds\"",
            ),
            (
                with("Condition", json!({"NullIfExists": {"a": "true"}})),
                "unknown condition operator \"NullIfExists\"",
            ),
            (
                with(
                    "Condition",
                    json!({"ForSomeValues:StringEquals": {"a": "b"}}),
                ),
                "unknown condition operator",
            ),
            (
                with("Condition", json!({"NumericEquals": {"a": "ten"}})),
                "value \"ten\" of condition key a does not suit NumericEquals",
            ),
            (
                with("Condition", json!({"StringEquals": {"a": {"b": "c"}}})),
                "expected a string, a number, true or false",
            ),
            (
                with("Condition", json!([])),
                "invalid type: sequence, expected an object",
            ),
        ] {
            let found = refusal(&policy, PolicyKind::Identity);
            assert!(found.contains(expected), "{policy}\n{found}");
            assert!(
                found.starts_with("malformed policy at line 1, column "),
                "{found}"
            );
        }
    }

    #[test]
    fn a_member_twice_is_refused() {
        for (condition, expected) in [
            (
                r#""Condition": {"StringEquals": {"a": "1"}, "StringEquals": {"b": "2"}}"#,
                "duplicate member \"StringEquals\"",
            ),
            (
                r#""Condition": {"StringEquals": {"aws:a": "1", "AWS:A": "2"}}"#,
                "duplicate member \"AWS:A\"",
            ),
            (r#""Effect": "Deny""#, "duplicate field `Effect`"),
        ] {
            let text = format!(
                r#"{{"Statement": [{{"Effect": "Allow", "Action": "*", "Resource": "*", {condition}}}]}}"#
            );
            let found = chain(&Policy::parse(&text, PolicyKind::Identity).unwrap_err());
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn principals_that_iam_does_not_take() {
        for principal in [
            json!("111111111111"),
            json!({"AWS": "11111111111"}),
            json!({"AWS": "arn:aws:iam::111111111111:user/*"}),
            json!({"AWS": "arn:aws:iam::111111111111:user/"}),
            json!({"AWS": "arn:aws:iam::*:root"}),
            json!({"AWS": "arn:aws:s3:::b"}),
            json!({"AWS": "ann"}),
            json!({"AWS": []}),
            json!({"Aws": "*"}),
        ] {
            let policy = json!({"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "s3:*", "Resource": "arn:aws:s3:::b"}]});
            let text = policy.to_string();
            assert!(
                Policy::parse(&text, PolicyKind::Bucket("b")).is_err(),
                "{principal}"
            );
        }
    }

    #[test]
    fn the_place_decides_what_a_statement_names() {
        let on_bucket = |action: &str, resource: &str| json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": action, "Resource": resource}]});
        let on_identity = json!({"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b"}]});
        let trust = json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]});
        let bucket = PolicyKind::Bucket("b");
        let good = [
            (on_bucket("s3:*", "arn:aws:s3:::b"), bucket),
            (on_bucket("S3:GetObject", "arn:aws:s3:::b/*"), bucket),
            (on_bucket("*", "arn:aws:s3:::b*"), bucket),
            (on_identity.clone(), PolicyKind::Identity),
            (trust.clone(), PolicyKind::Trust),
        ];
        for (policy, kind) in good {
            Policy::parse(&policy.to_string(), kind).unwrap();
        }
        for (policy, kind, expected) in [
            (
                on_bucket("s3:*", "arn:aws:s3:::bb"),
                bucket,
                "policy has invalid resource arn:aws:s3:::bb",
            ),
            (
                on_bucket("s3:*", "arn:aws:s3:::a/*"),
                bucket,
                "policy has invalid resource",
            ),
            (
                on_bucket("s3:*", "*"),
                bucket,
                "policy has invalid resource *",
            ),
            (
                on_bucket("kms:Decrypt", "arn:aws:s3:::b"),
                bucket,
                "policy has invalid action kms:Decrypt",
            ),
            (
                on_identity.clone(),
                bucket,
                "missing required field Principal",
            ),
            (
                trust.clone(),
                bucket,
                "policy has invalid action sts:AssumeRole",
            ),
            (
                on_bucket("s3:*", "arn:aws:s3:::b"),
                PolicyKind::Identity,
                "should not specify a principal",
            ),
            (
                on_bucket("sts:AssumeRole", "arn:aws:s3:::b"),
                PolicyKind::Trust,
                "has prohibited field Resource",
            ),
            (
                on_identity,
                PolicyKind::Trust,
                "policy has invalid action s3:*",
            ),
            (
                json!({"Statement": [{"Effect": "Allow", "Action": "s3:*"}]}),
                PolicyKind::Identity,
                "missing required field Resource",
            ),
        ] {
            let found = refusal(&policy, kind);
            assert!(
                found.starts_with("Statement[0]: ") && found.contains(expected),
                "{found}"
            );
        }
    }

    #[test]
    fn the_error_says_which_statement() {
        let policy = Policy::new(vec![
            Statement::allow(&["s3:*"], &["*"]),
            Statement::deny(&["s3:*"], &["*"]).to(PrincipalBlock::Everyone),
        ]);
        let error = policy.check(PolicyKind::Identity).unwrap_err();
        assert!(
            matches!(error, PolicyError::Rule { statement: 1, .. }),
            "{error}"
        );
    }
}
