//! Whether a request is allowed, and if not, why.
//!
//! `https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html`

use std::fmt;

use super::accounts::Role;
use super::context::Context;
use super::document::{Choice, Effect, Policy, Statement, Version};
use super::pattern::Expanded;
use super::principal::{Naming, Principal};

/// Asks whether a principal may do one action on one resource.
///
/// A request to S3 may need several; each is asked for by itself ([`super::actions_for`]).
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who signed it.
    pub principal: &'a Principal,
    /// The IAM action, such as `s3:GetObject`.
    pub action: &'a str,
    /// The ARN of the resource; of a request that names none, `*`.
    pub resource: &'a str,
    /// The account that owns the resource: twelve digits.
    pub resource_account: &'a str,
    /// What else is known. The keys that follow from the principal and from `resource_account` are set by [`evaluate()`].
    pub context: &'a Context,
    /// The policies on the user or the role.
    pub identity_policies: &'a [Policy],
    /// The policy that the session was made with.
    pub session_policy: Option<&'a Policy>,
    /// The policy on the resource.
    pub resource_policy: Option<&'a Policy>,
}

/// Answers a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed,
    /// It may not.
    Denied {
        /// Why, in the words of AWS. S3 shows them only within an account or organization, and else says no more than "Access Denied".
        reason: String,
    },
}

impl Decision {
    /// True if the request is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed)
    }
}

/// Names the kind of policy that a refusal blames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blamed {
    Identity,
    Session,
    Resource,
}

impl fmt::Display for Blamed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Identity => "identity-based",
            Self::Session => "session",
            Self::Resource => "resource-based",
        })
    }
}

/// Says what kept a request from being allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Explicit(Blamed),
    Implicit(Blamed),
}

/// Decides whether a request is allowed.
///
/// A `Deny` anywhere wins. Within one account, the identity's policies or the resource's are enough; between two, both must allow. A resource policy that names the account only hands the decision to the identity's policies, even within one account.
///
/// A session policy limits what the identity's policies allow, and what the resource's allow the *role*; what the resource's allow the session by its own ARN, or everyone, it limits by `Deny` alone. Between two accounts it limits everything: there the identity's side must allow too, and the session policy is part of it.
pub fn evaluate(request: &Request<'_>) -> Decision {
    match decide(request, within_account) {
        Ok(()) => Decision::Allowed,
        Err(refusal) => Decision::Denied {
            reason: reason(request, refusal),
        },
    }
}

/// Decides whether a principal may use a KMS key, of which the resource policy is the key's.
///
/// Other than elsewhere that policy must allow even within an account; where it names the account, it leaves the rest to the identity's policies. `https://docs.aws.amazon.com/kms/latest/developerguide/policy-evaluation.html`
pub fn evaluate_key(request: &Request<'_>) -> Decision {
    let refusal = match decide(request, within_account_trusted) {
        Ok(()) => return Decision::Allowed,
        Err(refusal) => refusal,
    };
    let blames_key = matches!(
        refusal,
        Refusal::Implicit(Blamed::Resource) | Refusal::Explicit(Blamed::Resource)
    );
    let reason = if blames_key && request.principal.account() != request.resource_account {
        // Nor does KMS say to another account whether there is such a key.
        let resource = if request.action == "kms:Decrypt" {
            "the resource associated with this ciphertext"
        } else {
            "this resource"
        };
        format!(
            "User: {} is not authorized to perform: {} on {resource} because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access",
            request.principal.arn(),
            request.action
        )
    } else {
        reason(request, refusal)
    };
    Decision::Denied { reason }
}

/// Decides whether a caller may assume a role: its trust policy is the resource policy of `sts:AssumeRole`, but one that must allow even within an account.
///
/// A trust policy that names a user of its own account is enough for that user; one that names an account leaves it to the caller's policies. The context holds what the call gave, `sts:ExternalId` above all.
pub fn may_assume(
    role: &Role,
    role_arn: &str,
    caller: &Principal,
    caller_identity_policies: &[Policy],
    context: &Context,
) -> Decision {
    may_assume_within(
        role,
        role_arn,
        caller,
        caller_identity_policies,
        None,
        context,
    )
}

/// Decides as [`may_assume`] for a caller whose own session may have a session policy.
pub fn may_assume_within(
    role: &Role,
    role_arn: &str,
    caller: &Principal,
    caller_identity_policies: &[Policy],
    caller_session_policy: Option<&Policy>,
    context: &Context,
) -> Decision {
    let request = Request {
        principal: caller,
        action: "sts:AssumeRole",
        resource: role_arn,
        resource_account: role_arn.split(':').nth(4).unwrap_or_default(),
        context,
        identity_policies: caller_identity_policies,
        session_policy: caller_session_policy,
        resource_policy: Some(&role.trust_policy),
    };
    let who = caller.arn();
    match decide(&request, within_account_trusted) {
        Ok(()) => Decision::Allowed,
        Err(Refusal::Implicit(Blamed::Resource)) => Decision::Denied {
            reason: format!(
                "User: {who} is not authorized to perform: sts:AssumeRole because no role trust policy allows the sts:AssumeRole action"
            ),
        },
        Err(Refusal::Explicit(Blamed::Resource)) => Decision::Denied {
            reason: format!(
                "User: {who} is not authorized to perform: sts:AssumeRole with an explicit deny in the role trust policy"
            ),
        },
        Err(refusal) => Decision::Denied {
            reason: reason(&request, refusal),
        },
    }
}

/// Words a refusal as AWS does.
///
/// `https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html`
fn reason(request: &Request<'_>, refusal: Refusal) -> String {
    let Request {
        principal,
        action,
        resource,
        ..
    } = request;
    let who = principal.arn();
    // S3 quotes the resource, other services do not.
    let quote = if action.starts_with("s3:") { "\"" } else { "" };
    let why = match refusal {
        Refusal::Explicit(Blamed::Identity) => {
            "with an explicit deny in an identity-based policy".to_owned()
        }
        Refusal::Explicit(blamed) => format!("with an explicit deny in a {blamed} policy"),
        Refusal::Implicit(blamed) => {
            format!("because no {blamed} policy allows the {action} action")
        }
    };
    format!(
        "User: {who} is not authorized to perform: {action} on resource: {quote}{resource}{quote} {why}"
    )
}

/// Weighs what the identity's policies, the session policy and the resource's policy allow.
type Weigh = fn(Verdict, bool, Verdict) -> Result<(), Refusal>;

fn decide(request: &Request<'_>, within_account: Weigh) -> Result<(), Refusal> {
    let mut context = request.context.clone();
    request.principal.describe(&mut context);
    for key in ["aws:ResourceAccount", "s3:ResourceAccount"] {
        context.insert(key, request.resource_account);
    }
    let identity = request
        .identity_policies
        .iter()
        .map(|policy| Verdict::of(policy, request, &context))
        .fold(Verdict::default(), Verdict::and);
    let session = request
        .session_policy
        .map(|policy| Verdict::of(policy, request, &context));
    let resource = request
        .resource_policy
        .map(|policy| Verdict::of(policy, request, &context))
        .unwrap_or_default();

    if identity.denied {
        return Err(Refusal::Explicit(Blamed::Identity));
    }
    if resource.denied {
        return Err(Refusal::Explicit(Blamed::Resource));
    }
    if session.is_some_and(|session| session.denied) {
        return Err(Refusal::Explicit(Blamed::Session));
    }
    let session_allows = session.is_none_or(|session| session.allowed.is_some());
    if request.principal.account() == request.resource_account {
        within_account(identity, session_allows, resource)
    } else {
        between_accounts(identity, session_allows, resource)
    }
}

fn within_account(
    identity: Verdict,
    session_allows: bool,
    resource: Verdict,
) -> Result<(), Refusal> {
    let limited_by_session = identity.allowed.is_some() || resource.allowed == Some(Naming::Role);
    if resource.allowed == Some(Naming::Direct) || (limited_by_session && session_allows) {
        Ok(())
    } else if limited_by_session {
        Err(Refusal::Implicit(Blamed::Session))
    } else {
        Err(Refusal::Implicit(Blamed::Identity))
    }
}

/// Weighs as [`within_account`] for a role or a KMS key: without the consent of its own policy, its account's other policies are worth nothing.
fn within_account_trusted(
    identity: Verdict,
    session_allows: bool,
    trust: Verdict,
) -> Result<(), Refusal> {
    if trust.allowed.is_none() {
        return Err(Refusal::Implicit(Blamed::Resource));
    }
    within_account(identity, session_allows, trust)
}

fn between_accounts(
    identity: Verdict,
    session_allows: bool,
    resource: Verdict,
) -> Result<(), Refusal> {
    let lacking = if identity.allowed.is_none() {
        Blamed::Identity
    } else if !session_allows {
        Blamed::Session
    } else if resource.allowed.is_none() {
        Blamed::Resource
    } else {
        return Ok(());
    };
    Err(Refusal::Implicit(lacking))
}

/// Sums up what policies of one kind say of a request.
#[derive(Clone, Copy, Debug, Default)]
struct Verdict {
    denied: bool,
    /// How closely the closest allowing statement names the principal; a policy on the principal itself is `Direct`.
    allowed: Option<Naming>,
}

impl Verdict {
    fn of(policy: &Policy, request: &Request<'_>, context: &Context) -> Self {
        policy
            .statement
            .iter()
            .filter(|statement| applies(statement, policy.version(), request, context))
            .map(|statement| Self::of_statement(statement, request.principal))
            .fold(Self::default(), Self::and)
    }

    /// Reads the effect of a statement which applies, once its principals are looked at.
    fn of_statement(statement: &Statement, principal: &Principal) -> Self {
        let naming = match (&statement.principals, statement.effect) {
            (None, _) => Some(Naming::Direct),
            (Some(Choice::Only(block)), _) => block.naming(principal),
            (Some(Choice::AllBut(block)), Effect::Allow) => match block.naming(principal) {
                Some(_) => None,
                None => Some(Naming::Direct),
            },
            (Some(Choice::AllBut(block)), Effect::Deny) => {
                (!block.spares(principal)).then_some(Naming::Direct)
            }
        };
        match statement.effect {
            Effect::Allow => Self {
                denied: false,
                allowed: naming,
            },
            Effect::Deny => Self {
                denied: naming.is_some(),
                allowed: None,
            },
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            denied: self.denied || other.denied,
            allowed: self.allowed.max(other.allowed),
        }
    }
}

/// True if a statement is about the action, the resource and the circumstances; its principals aside.
fn applies(
    statement: &Statement,
    version: Version,
    request: &Request<'_>,
    context: &Context,
) -> bool {
    lists_action(&statement.actions, request.action)
        && statement
            .resources
            .as_ref()
            .is_none_or(|resources| lists_resource(resources, version, request.resource, context))
        && statement
            .conditions
            .iter()
            .all(|condition| condition.holds(version, context))
}

fn lists_action(actions: &Choice<Vec<String>>, action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    let listed = actions.listed().iter().any(|wanted| {
        let wanted = wanted.to_ascii_lowercase();
        Expanded::verbatim(&wanted).pattern().matches(&action)
    });
    listed == matches!(actions, Choice::Only(_))
}

fn lists_resource(
    resources: &Choice<Vec<String>>,
    version: Version,
    resource: &str,
    context: &Context,
) -> bool {
    // None is a variable without a value: that ARN names nothing.
    let mut found = resources.listed().iter().map(|wanted| {
        Expanded::new(wanted, version, context).map(|wanted| wanted.pattern().matches(resource))
    });
    match resources {
        Choice::Only(_) => found.any(|found| found == Some(true)),
        Choice::AllBut(_) => found.all(|found| found == Some(false)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Decision, Request, evaluate, evaluate_key, may_assume, may_assume_within};
    use crate::iam::{Context, Policy, Principal, Role, Statement};

    const OWN: &str = "111111111111";
    const OTHER: &str = "222222222222";
    const OBJECT: &str = "arn:aws:s3:::b/k";

    fn policy(statements: &Value) -> Policy {
        serde_json::from_value(json!({"Version": "2012-10-17", "Statement": statements})).unwrap()
    }

    fn session() -> Principal {
        Principal::role_session(OWN, "copy", "night")
    }

    fn denied(reason: &str) -> Decision {
        Decision::Denied {
            reason: reason.to_owned(),
        }
    }

    /// A policy that allows (A), denies (D), or speaks of something else (N).
    fn speaking(effect: char, principal: Option<&str>) -> Policy {
        let statement = match effect {
            'A' => Statement::allow(&["s3:GetObject"], &["arn:aws:s3:::b/*"]),
            'D' => Statement::deny(&["s3:Get*"], &["*"]),
            _ => Statement::allow(&["s3:PutObject"], &["*"]),
        };
        Policy::new(vec![match principal {
            Some(name) => statement.to(crate::iam::PrincipalBlock::aws(&[name])),
            None => statement,
        }])
    }

    /// What the rows of a grid are: identity policy, resource policy.
    const ROWS: [(char, char); 9] = [
        ('A', 'A'),
        ('A', 'N'),
        ('A', 'D'),
        ('N', 'A'),
        ('N', 'N'),
        ('N', 'D'),
        ('D', 'A'),
        ('D', 'N'),
        ('D', 'D'),
    ];
    /// What the columns are: session policy, `-` for a session without.
    const COLUMNS: [char; 4] = ['-', 'A', 'N', 'D'];

    /// `.` is allowed; else who is to blame (identity, session, resource), a capital for an explicit deny.
    fn cell(
        identity: char,
        resource: char,
        session_effect: char,
        naming: &str,
        owner: &str,
    ) -> char {
        let principal = session();
        let identity_policies = [speaking(identity, None)];
        let resource_policy = speaking(resource, Some(naming));
        let session_policy = (session_effect != '-').then(|| speaking(session_effect, None));
        let decision = evaluate(&Request {
            principal: &principal,
            action: "s3:GetObject",
            resource: OBJECT,
            resource_account: owner,
            context: &Context::new(),
            identity_policies: &identity_policies,
            session_policy: session_policy.as_ref(),
            resource_policy: Some(&resource_policy),
        });
        let Decision::Denied { reason } = decision else {
            return '.';
        };
        let (_, why) = reason.split_once("\" ").unwrap();
        match why {
            "because no identity-based policy allows the s3:GetObject action" => 'i',
            "because no session policy allows the s3:GetObject action" => 's',
            "because no resource-based policy allows the s3:GetObject action" => 'r',
            "with an explicit deny in an identity-based policy" => 'I',
            "with an explicit deny in a session policy" => 'S',
            "with an explicit deny in a resource-based policy" => 'R',
            why => panic!("{why}"),
        }
    }

    fn check_grid(owner: &str, naming: &str, grid: [&str; 9]) {
        for ((identity, resource), row) in ROWS.into_iter().zip(grid) {
            let found: String = COLUMNS
                .iter()
                .map(|session| cell(identity, resource, *session, naming, owner))
                .collect();
            assert_eq!(
                found, row,
                "identity {identity}, resource {resource} naming {naming}, owner {owner}"
            );
        }
    }

    #[test]
    fn within_an_account_either_policy_is_enough() {
        // A session named by itself, or by "*", is past its session policy's silence.
        for naming in ["arn:aws:sts::111111111111:assumed-role/copy/night", "*"] {
            let grid = [
                "...S", "..sS", "RRRR", "...S", "iiiS", "RRRR", "IIII", "IIII", "IIII",
            ];
            check_grid(OWN, naming, grid);
        }
        // Named by its role, it is not.
        check_grid(
            OWN,
            "arn:aws:iam::111111111111:role/copy",
            [
                "..sS", "..sS", "RRRR", "..sS", "iiiS", "RRRR", "IIII", "IIII", "IIII",
            ],
        );
    }

    #[test]
    fn naming_the_account_leaves_it_to_the_identity() {
        for naming in ["arn:aws:iam::111111111111:root", "111111111111"] {
            let grid = [
                "..sS", "..sS", "RRRR", "iiiS", "iiiS", "RRRR", "IIII", "IIII", "IIII",
            ];
            check_grid(OWN, naming, grid);
        }
    }

    #[test]
    fn between_accounts_both_must_allow() {
        for naming in [
            "arn:aws:sts::111111111111:assumed-role/copy/night",
            "arn:aws:iam::111111111111:role/copy",
            "arn:aws:iam::111111111111:root",
            "111111111111",
            "*",
        ] {
            let grid = [
                "..sS", "rrsS", "RRRR", "iiiS", "iiiS", "RRRR", "IIII", "IIII", "IIII",
            ];
            check_grid(OTHER, naming, grid);
        }
    }

    #[test]
    fn a_policy_that_names_someone_else_says_nothing() {
        for naming in [
            "222222222222",
            "arn:aws:iam::111111111111:role/other",
            "arn:aws:iam::111111111111:user/copy",
        ] {
            let own = [
                "..sS", "..sS", "..sS", "iiiS", "iiiS", "iiiS", "IIII", "IIII", "IIII",
            ];
            check_grid(OWN, naming, own);
            let other = [
                "rrsS", "rrsS", "rrsS", "iiiS", "iiiS", "iiiS", "IIII", "IIII", "IIII",
            ];
            check_grid(OTHER, naming, other);
        }
    }

    /// Decides for a user of `OWN` on an object of `OTHER`, with only the bucket's policy in doubt.
    fn under_bucket_policy(statements: &Value, action: &str, context: &Context) -> Decision {
        under_bucket_policy_as(&Principal::user(OWN, "ann"), statements, action, context)
    }

    fn under_bucket_policy_as(
        principal: &Principal,
        statements: &Value,
        action: &str,
        context: &Context,
    ) -> Decision {
        evaluate(&Request {
            principal,
            action,
            resource: OBJECT,
            resource_account: OTHER,
            context,
            identity_policies: &[Policy::new(vec![Statement::allow(&["s3:*"], &["*"])])],
            session_policy: None,
            resource_policy: Some(&policy(statements)),
        })
    }

    #[test]
    fn refusals_in_the_words_of_aws() {
        let request = |action: &str, resource: &str, principal: &Principal| {
            evaluate(&Request {
                principal,
                action,
                resource,
                resource_account: OTHER,
                context: &Context::new(),
                identity_policies: &[],
                session_policy: None,
                resource_policy: None,
            })
        };
        assert_eq!(
            request("s3:GetObject", OBJECT, &Principal::user(OWN, "ann")),
            denied(
                "User: arn:aws:iam::111111111111:user/ann is not authorized to perform: s3:GetObject on resource: \"arn:aws:s3:::b/k\" because no identity-based policy allows the s3:GetObject action"
            )
        );
        assert_eq!(
            request("sts:GetSessionToken", "*", &session()),
            denied(
                "User: arn:aws:sts::111111111111:assumed-role/copy/night is not authorized to perform: sts:GetSessionToken on resource: * because no identity-based policy allows the sts:GetSessionToken action"
            )
        );
    }

    #[test]
    fn not_elements() {
        let context = Context::new();
        let allow = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"});
        for (deny, action, expected) in [
            (
                json!({"NotAction": ["s3:GetObject"], "Resource": "*", "Principal": "*"}),
                "s3:GetObject",
                true,
            ),
            (
                json!({"NotAction": ["s3:GetObject"], "Resource": "*", "Principal": "*"}),
                "s3:PutObject",
                false,
            ),
            (
                json!({"Action": "*", "NotResource": "arn:aws:s3:::b/*", "Principal": "*"}),
                "s3:GetObject",
                true,
            ),
            (
                json!({"Action": "*", "NotResource": "arn:aws:s3:::c/*", "Principal": "*"}),
                "s3:GetObject",
                false,
            ),
            (
                json!({"Action": "*", "Resource": "*", "NotPrincipal": {"AWS": ["arn:aws:iam::111111111111:user/ann", OWN]}}),
                "s3:GetObject",
                true,
            ),
            (
                json!({"Action": "*", "Resource": "*", "NotPrincipal": {"AWS": ["arn:aws:iam::111111111111:user/bob", OWN]}}),
                "s3:GetObject",
                false,
            ),
        ] {
            let mut deny = deny;
            deny["Effect"] = json!("Deny");
            let decision = under_bucket_policy(&json!([allow, deny]), action, &context);
            assert_eq!(decision.is_allowed(), expected, "{deny} {action}");
        }
        for (name, expected) in [
            ("arn:aws:iam::111111111111:user/ann", false),
            (OWN, false),
            (OTHER, true),
        ] {
            let allow = json!({"Effect": "Allow", "NotPrincipal": {"AWS": name}, "Action": "*", "Resource": "*"});
            assert_eq!(
                under_bucket_policy(&allow, "s3:GetObject", &context).is_allowed(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn actions_in_any_case_resources_in_theirs() {
        for (action, resource, expected) in [
            ("S3:getobject", "arn:aws:s3:::b/k", true),
            ("s3:GET*", "arn:aws:s3:::b/?", true),
            ("s3:GetObjectV*", "arn:aws:s3:::b/k", false),
            ("s3:GetObject", "arn:aws:s3:::b/K", false),
            ("s3:GetObject", "arn:aws:s3:::b", false),
        ] {
            let statement = json!({"Effect": "Allow", "Principal": "*", "Action": action, "Resource": resource});
            let decision = under_bucket_policy(&statement, "s3:GetObject", &Context::new());
            assert_eq!(decision.is_allowed(), expected, "{action} {resource}");
        }
    }

    #[test]
    fn variables_take_the_principal() {
        for (resource, expected) in [
            (
                "arn:aws:s3:::${aws:PrincipalAccount}/${aws:username}",
                false,
            ),
            ("arn:aws:s3:::b/${aws:PrincipalTag/letter}", false),
            ("arn:aws:s3:::b/${aws:PrincipalTag/letter, 'k'}", true),
            ("arn:aws:s3:::${aws:letter}/k", true),
        ] {
            let statement =
                json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": resource});
            let context = Context::new().with("aws:letter", "b");
            let decision = under_bucket_policy(&statement, "s3:GetObject", &context);
            assert_eq!(decision.is_allowed(), expected, "{resource}");
        }
        // An unknown value in a NotResource must not widen it.
        let statement = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "NotResource": "arn:aws:s3:::${aws:nothing}"});
        assert!(!under_bucket_policy(&statement, "s3:GetObject", &Context::new()).is_allowed());
    }

    #[test]
    fn the_principals_own_keys_cannot_be_given() {
        let statement = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*",
            "Condition": {"StringEquals": {"aws:PrincipalAccount": OTHER}}});
        let context = Context::new().with("aws:PrincipalAccount", OTHER);
        assert!(!under_bucket_policy(&statement, "s3:GetObject", &context).is_allowed());
        let statement = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*",
            "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/copy"}, "StringEquals": {"s3:ResourceAccount": OTHER}}});
        assert!(
            under_bucket_policy_as(&session(), &statement, "s3:GetObject", &Context::new())
                .is_allowed()
        );
        assert!(!under_bucket_policy(&statement, "s3:GetObject", &Context::new()).is_allowed());
    }

    /// Who may use a key, by whether the identity's policies allow it (`true`) and whom the key's policy names.
    #[test]
    fn keys() {
        let via_s3 = json!({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}});
        let why = |allowed_by: &str| {
            format!("on resource: KEY because no {allowed_by} policy allows the kms:Decrypt action")
        };
        let no_identity = why("identity-based");
        let no_key = why("resource-based");
        let denied = "on resource: KEY with an explicit deny in a resource-based policy";
        let hidden = "on the resource associated with this ciphertext because the resource does not exist in this \
                      Region, no resource-based policies allow access, or a resource-based policy explicitly denies access";
        let role = "arn:aws:iam::111111111111:role/copy";
        for (owner, identity, effect, principal, service, expected) in [
            // In the key's account: its policy alone, or its word for the account and the identity's policies.
            (OWN, false, "Allow", role, "s3", None),
            (OWN, true, "Allow", OWN, "s3", None),
            (OWN, false, "Allow", OWN, "s3", Some(no_identity.as_str())),
            (OWN, true, "Allow", OTHER, "s3", Some(no_key.as_str())),
            (OWN, true, "Deny", role, "s3", Some(denied)),
            (OWN, false, "Allow", role, "ec2", Some(&no_key)),
            // From another account: both.
            (OTHER, true, "Allow", role, "s3", None),
            (OTHER, true, "Allow", OWN, "s3", None),
            (OTHER, false, "Allow", role, "s3", Some(&no_identity)),
            (OTHER, true, "Allow", OTHER, "s3", Some(hidden)),
            (OTHER, true, "Deny", role, "s3", Some(hidden)),
        ] {
            let key = format!("arn:aws:kms:us-east-1:{owner}:key/k");
            let key_policy = policy(
                &json!([{"Effect": effect, "Principal": {"AWS": principal}, "Action": "kms:*",
                "Resource": "*", "Condition": via_s3}]),
            );
            let allowing = [policy(
                &json!([{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key}]),
            )];
            let context = Context::new().with(
                "kms:ViaService",
                format!("{service}.us-east-1.amazonaws.com"),
            );
            let decision = evaluate_key(&Request {
                principal: &session(),
                action: "kms:Decrypt",
                resource: &key,
                resource_account: owner,
                context: &context,
                identity_policies: if identity { &allowing } else { &[] },
                session_policy: None,
                resource_policy: Some(&key_policy),
            });
            let expected = match expected {
                None => Decision::Allowed,
                Some(why) => self::denied(&format!(
                    "User: {} is not authorized to perform: kms:Decrypt {}",
                    session().arn(),
                    why.replace("KEY", &key)
                )),
            };
            assert_eq!(
                decision, expected,
                "{owner} {identity} {effect} {principal}"
            );
        }
    }

    /// The bucket policies that make writers give the bucket's owner full control.
    #[test]
    fn policies_that_want_bucket_owner_full_control() {
        let allow = |condition: Value| json!([{"Effect": "Allow", "Principal": {"AWS": OWN}, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*", "Condition": condition}]);
        let deny = |operator: &str| {
            json!([
                {"Effect": "Allow", "Principal": {"AWS": OWN}, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*"},
                {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*",
                 "Condition": {operator: {"s3:x-amz-acl": "bucket-owner-full-control"}}},
            ])
        };
        let full_control = Some("bucket-owner-full-control");
        let enforced =
            allow(json!({"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}));
        let mut if_sent = deny("StringNotEquals");
        if_sent[1]["Condition"]["Null"] = json!({"s3:x-amz-acl": false});
        for (name, statements, acl, expected) in [
            ("allow", &enforced, full_control, true),
            ("allow", &enforced, Some("private"), false),
            ("allow", &enforced, None, false),
            ("deny", &deny("StringNotEquals"), full_control, true),
            ("deny", &deny("StringNotEquals"), Some("private"), false),
            ("deny", &deny("StringNotEquals"), None, false),
            // IfExists makes a condition hold where the key is absent, so this denies then like the one before.
            (
                "deny if it exists",
                &deny("StringNotEqualsIfExists"),
                full_control,
                true,
            ),
            (
                "deny if it exists",
                &deny("StringNotEqualsIfExists"),
                Some("private"),
                false,
            ),
            (
                "deny if it exists",
                &deny("StringNotEqualsIfExists"),
                None,
                false,
            ),
            // Part copies are s3:PutObject without the header: only this form lets them through.
            ("deny if it is sent", &if_sent, full_control, true),
            ("deny if it is sent", &if_sent, Some("private"), false),
            ("deny if it is sent", &if_sent, None, true),
        ] {
            let mut context = Context::new();
            if let Some(acl) = acl {
                context.insert("s3:x-amz-acl", acl);
            }
            let decision = under_bucket_policy(statements, "s3:PutObject", &context);
            assert_eq!(decision.is_allowed(), expected, "{name} {acl:?}");
        }
    }

    fn role(trust: &Value) -> Role {
        Role {
            name: "copy".to_owned(),
            trust_policy: policy(trust),
            policies: Vec::new(),
            max_session_seconds: 3600,
        }
    }

    const ROLE_ARN: &str = "arn:aws:iam::111111111111:role/copy";

    #[test]
    fn who_may_assume_a_role() {
        let own_user = Principal::user(OWN, "ann");
        let other_user = Principal::user(OTHER, "ann");
        let may = [Policy::new(vec![Statement::allow(
            &["sts:AssumeRole"],
            &[ROLE_ARN],
        )])];
        for (trusted, caller, by_itself, with_policy) in [
            ("arn:aws:iam::111111111111:user/ann", &own_user, true, true),
            ("arn:aws:iam::111111111111:root", &own_user, false, true),
            (
                "arn:aws:iam::222222222222:user/ann",
                &other_user,
                false,
                true,
            ),
            ("arn:aws:iam::222222222222:root", &other_user, false, true),
            ("*", &other_user, false, true),
            (
                "arn:aws:iam::222222222222:user/bob",
                &other_user,
                false,
                false,
            ),
            ("arn:aws:iam::222222222222:root", &own_user, false, false),
        ] {
            let role = role(
                &json!({"Effect": "Allow", "Principal": {"AWS": trusted}, "Action": "sts:AssumeRole"}),
            );
            let context = Context::new();
            let found = may_assume(&role, ROLE_ARN, caller, &[], &context).is_allowed();
            assert_eq!(found, by_itself, "{trusted} {caller:?} without a policy");
            let found = may_assume(&role, ROLE_ARN, caller, &may, &context).is_allowed();
            assert_eq!(found, with_policy, "{trusted} {caller:?} with a policy");
        }
    }

    #[test]
    fn the_external_id_must_be_the_one() {
        let role = role(
            &json!({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:root"}, "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "s3haul-demo"}}}),
        );
        let caller = Principal::user(OTHER, "ann");
        let may = [Policy::new(vec![Statement::allow(&["sts:*"], &["*"])])];
        let refused = denied(
            "User: arn:aws:iam::222222222222:user/ann is not authorized to perform: sts:AssumeRole because no role trust policy allows the sts:AssumeRole action",
        );
        for (external_id, expected) in [
            (Some("s3haul-demo"), Decision::Allowed),
            (Some("S3haul-demo"), refused.clone()),
            (None, refused),
        ] {
            let mut context = Context::new();
            if let Some(id) = external_id {
                context.insert("sts:ExternalId", id);
            }
            let found = may_assume(&role, ROLE_ARN, &caller, &may, &context);
            assert_eq!(found, expected, "{external_id:?}");
        }
    }

    #[test]
    fn why_a_role_may_not_be_assumed() {
        let caller = session();
        let trust = json!([{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:role/copy"}, "Action": "sts:AssumeRole"}]);
        let silent = Policy::new(vec![Statement::allow(&["s3:*"], &["*"])]);
        let context = Context::new();
        assert!(may_assume(&role(&trust), ROLE_ARN, &caller, &[], &context).is_allowed());
        assert_eq!(
            may_assume_within(
                &role(&trust),
                ROLE_ARN,
                &caller,
                &[],
                Some(&silent),
                &context
            ),
            denied(
                "User: arn:aws:sts::111111111111:assumed-role/copy/night is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111111111111:role/copy because no session policy allows the sts:AssumeRole action"
            )
        );
        let deny = json!([trust[0], {"Effect": "Deny", "Principal": "*", "Action": "sts:*", "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": false}}}]);
        assert_eq!(
            may_assume(&role(&deny), ROLE_ARN, &caller, &[], &context),
            denied(
                "User: arn:aws:sts::111111111111:assumed-role/copy/night is not authorized to perform: sts:AssumeRole with an explicit deny in the role trust policy"
            )
        );
        let with_mfa = Context::new().with("aws:MultiFactorAuthPresent", "true");
        assert!(may_assume(&role(&deny), ROLE_ARN, &caller, &[], &with_mfa).is_allowed());
    }
}
