//! Who signed a request, and how a policy names them.

use super::context::Context;
use super::document::PrincipalBlock;
use super::{account_arn, role_arn, user_arn};

/// Says whose credentials signed a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A user, by long-lived keys or by a session token of `GetSessionToken`, which has the user's own ARN.
    User {
        /// The account that the user is in: twelve digits.
        account: String,
        /// The user's name.
        name: String,
    },
    /// A session of a role, by the credentials that `AssumeRole` gave.
    RoleSession {
        /// The account that the role is in: twelve digits.
        account: String,
        /// The role's name.
        role: String,
        /// The `RoleSessionName` of `AssumeRole`.
        session_name: String,
    },
}

impl Principal {
    /// Makes the principal for a user's credentials.
    pub fn user(account: impl Into<String>, name: impl Into<String>) -> Self {
        Self::User {
            account: account.into(),
            name: name.into(),
        }
    }

    /// Makes the principal for a role session's credentials.
    pub fn role_session(
        account: impl Into<String>,
        role: impl Into<String>,
        session_name: impl Into<String>,
    ) -> Self {
        Self::RoleSession {
            account: account.into(),
            role: role.into(),
            session_name: session_name.into(),
        }
    }

    /// Gives the account that the principal belongs to.
    pub fn account(&self) -> &str {
        match self {
            Self::User { account, .. } | Self::RoleSession { account, .. } => account,
        }
    }

    /// Names the principal as `GetCallerIdentity` and S3's refusals do.
    pub fn arn(&self) -> String {
        match self {
            Self::User { account, name } => user_arn(account, name),
            Self::RoleSession {
                account,
                role,
                session_name,
            } => format!("arn:aws:sts::{account}:assumed-role/{role}/{session_name}"),
        }
    }

    /// Names the user or the role behind the session: `aws:PrincipalArn` of both.
    pub fn principal_arn(&self) -> String {
        match self {
            Self::User { account, name } => user_arn(account, name),
            Self::RoleSession { account, role, .. } => role_arn(account, role),
        }
    }

    /// Sets the condition keys that follow from the principal: `aws:PrincipalArn`, `aws:PrincipalAccount`, `aws:PrincipalType`, and `aws:username` of a user.
    pub fn describe(&self, context: &mut Context) {
        context.insert("aws:PrincipalArn", self.principal_arn());
        context.insert("aws:PrincipalAccount", self.account());
        match self {
            Self::User { name, .. } => {
                context.insert("aws:PrincipalType", "User");
                context.insert("aws:username", name);
            }
            Self::RoleSession { .. } => {
                context.insert("aws:PrincipalType", "AssumedRole");
                context.remove("aws:username");
            }
        }
    }
}

/// Says how closely a resource-based policy names a principal, which decides what else must allow. Least first.
///
/// `https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Naming {
    /// By its account, which hands the decision to that account's own policies.
    Account,
    /// By the role of its session: as good as the role's own policies, so that a session policy limits it.
    Role,
    /// By itself, or as everyone: past what its own policies do not say, a session policy too.
    Direct,
}

impl PrincipalBlock {
    /// Finds the closest naming of a principal in a `Principal` member.
    pub(super) fn naming(&self, principal: &Principal) -> Option<Naming> {
        match self {
            Self::Everyone => Some(Naming::Direct),
            Self::Named { aws, .. } => aws.iter().filter_map(|name| naming(name, principal)).max(),
        }
    }

    /// True if a `NotPrincipal` member of a `Deny` spares a principal.
    ///
    /// Every name must be there, its account and the role of its session too: what is not listed is denied, and an account that is not listed is denied with all that is in it.
    /// `https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html`
    pub(super) fn spares(&self, principal: &Principal) -> bool {
        let Self::Named { aws, .. } = self else {
            return true;
        };
        let account = account_arn(principal.account());
        [principal.arn(), principal.principal_arn()]
            .iter()
            .all(|arn| aws.contains(arn))
            && aws
                .iter()
                .any(|name| *name == account || name == principal.account())
    }
}

/// Compares one name of a policy with a principal.
fn naming(name: &str, principal: &Principal) -> Option<Naming> {
    if name == "*" || name == principal.arn() {
        Some(Naming::Direct)
    } else if name == principal.principal_arn() {
        Some(Naming::Role)
    } else if name == principal.account() || name == account_arn(principal.account()) {
        Some(Naming::Account)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Naming, Principal};
    use crate::iam::{Context, PrincipalBlock};

    fn user() -> Principal {
        Principal::user("111111111111", "ann")
    }

    fn session() -> Principal {
        Principal::role_session("111111111111", "copy", "night")
    }

    #[test]
    fn arns() {
        assert_eq!(user().arn(), "arn:aws:iam::111111111111:user/ann");
        assert_eq!(user().principal_arn(), user().arn());
        assert_eq!(
            session().arn(),
            "arn:aws:sts::111111111111:assumed-role/copy/night"
        );
        assert_eq!(
            session().principal_arn(),
            "arn:aws:iam::111111111111:role/copy"
        );
    }

    #[test]
    fn names_of_principals() {
        use Naming::{Account, Direct, Role};
        for (name, of_user, of_session) in [
            ("*", Some(Direct), Some(Direct)),
            ("111111111111", Some(Account), Some(Account)),
            ("222222222222", None, None),
            (
                "arn:aws:iam::111111111111:root",
                Some(Account),
                Some(Account),
            ),
            ("arn:aws:iam::222222222222:root", None, None),
            ("arn:aws:iam::111111111111:user/ann", Some(Direct), None),
            ("arn:aws:iam::111111111111:user/Ann", None, None),
            ("arn:aws:iam::222222222222:user/ann", None, None),
            ("arn:aws:iam::111111111111:role/copy", None, Some(Role)),
            ("arn:aws:iam::111111111111:role/ann", None, None),
            (
                "arn:aws:sts::111111111111:assumed-role/copy/night",
                None,
                Some(Direct),
            ),
            (
                "arn:aws:sts::111111111111:assumed-role/copy/day",
                None,
                None,
            ),
        ] {
            let block = PrincipalBlock::aws(&[name]);
            assert_eq!(block.naming(&user()), of_user, "{name} and the user");
            assert_eq!(
                block.naming(&session()),
                of_session,
                "{name} and the session"
            );
        }
    }

    #[test]
    fn the_closest_name_counts() {
        let block = PrincipalBlock::aws(&[
            "arn:aws:iam::111111111111:role/copy",
            "arn:aws:iam::111111111111:root",
        ]);
        assert_eq!(block.naming(&session()), Some(Naming::Role));
        assert_eq!(
            PrincipalBlock::Everyone.naming(&session()),
            Some(Naming::Direct)
        );
    }

    #[test]
    fn not_principal_spares_only_who_is_listed_whole() {
        let role = "arn:aws:iam::111111111111:role/copy";
        let night = "arn:aws:sts::111111111111:assumed-role/copy/night";
        let root = "arn:aws:iam::111111111111:root";
        for (names, expected) in [
            (vec![role, night, root], true),
            (vec![role, night, "111111111111"], true),
            (vec![role, night], false),
            (vec![role, root], false),
            (vec![root], false),
            (vec![], false),
        ] {
            assert_eq!(
                PrincipalBlock::aws(&names).spares(&session()),
                expected,
                "{names:?}"
            );
        }
        assert!(PrincipalBlock::aws(&["arn:aws:iam::111111111111:user/ann", root]).spares(&user()));
    }

    #[test]
    fn a_principal_describes_itself() {
        let mut context = Context::new();
        user().describe(&mut context);
        assert_eq!(context.value("aws:username"), Some("ann"));
        session().describe(&mut context);
        assert_eq!(context.value("aws:username"), None);
        assert_eq!(
            context.value("aws:PrincipalArn"),
            Some("arn:aws:iam::111111111111:role/copy")
        );
        assert_eq!(context.value("aws:PrincipalAccount"), Some("111111111111"));
        assert_eq!(context.value("aws:PrincipalType"), Some("AssumedRole"));
    }
}
