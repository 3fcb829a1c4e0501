//! Who may do what: the part of IAM that a copy between two accounts meets.
//!
//! Pure: values in, a [`Decision`] out, no clock, no network. In the order in which a request meets them:
//!
//! * [`accounts`]: the accounts, users, roles and KMS keys of a sandbox, from a file or [built in](AccountsFile::built_in)
//! * [`principal`]: who signed the request
//! * [`context`]: what else is known of it, as condition keys
//! * [`actions`]: which IAM actions an S3 request is, from `actions.csv`
//! * [`document`]: the policies that speak of them
//! * [`condition`]: the `Condition` member of a statement
//! * [`evaluate`](mod@evaluate): all of it together: allowed, or denied and why
//!
//! Not here: permissions boundaries, service control policies, VPC endpoint policies, ACLs, grants of KMS.

pub mod accounts;
pub mod actions;
mod built_in;
pub mod condition;
mod condition_grammar;
pub mod context;
pub mod document;
pub mod evaluate;
mod grammar;
mod pattern;
pub mod principal;

pub use accounts::{Account, AccountsError, AccountsFile, Key, Role, User};
pub use actions::{ActionRow, Resource, Side, actions_for};
pub use built_in::{
    COPY_ROLE, DESTINATION_ACCOUNT, DESTINATION_ADMIN_ACCESS_KEY_ID,
    DESTINATION_ADMIN_SECRET_ACCESS_KEY, EXTERNAL_ID, OPERATOR_ACCESS_KEY_ID,
    OPERATOR_SECRET_ACCESS_KEY, SOURCE_ACCOUNT, SOURCE_ADMIN_ACCESS_KEY_ID,
    SOURCE_ADMIN_SECRET_ACCESS_KEY, STRANGER_ACCESS_KEY_ID, STRANGER_ACCOUNT,
    STRANGER_SECRET_ACCESS_KEY,
};
pub use condition::{Condition, Operator};
pub use context::Context;
pub use document::{
    Choice, Effect, Policy, PolicyError, PolicyKind, PrincipalBlock, Statement, Version,
};
pub use evaluate::{Decision, Request, evaluate, evaluate_key, may_assume, may_assume_within};
pub use principal::Principal;

/// Names a bucket as policies do. A bucket's ARN holds no account and no Region.
pub fn bucket_arn(bucket: &str) -> String {
    format!("arn:aws:s3:::{bucket}")
}

/// Names an object as policies do; the key stands as it is, unencoded.
pub fn object_arn(bucket: &str, key: &str) -> String {
    format!("arn:aws:s3:::{bucket}/{key}")
}

/// Names a user as policies do.
pub fn user_arn(account: &str, user: &str) -> String {
    format!("arn:aws:iam::{account}:user/{user}")
}

/// Names a role as policies do.
pub fn role_arn(account: &str, role: &str) -> String {
    format!("arn:aws:iam::{account}:role/{role}")
}

/// Names an account as policies do, "root" standing for all that is in it.
pub fn account_arn(account: &str) -> String {
    format!("arn:aws:iam::{account}:root")
}

/// True for what an account ID looks like: twelve digits.
pub(crate) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}
