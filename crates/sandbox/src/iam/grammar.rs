//! Statements and principals from JSON and to it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::condition_grammar::Conditions;
use super::document::{Choice, Effect, PrincipalBlock, Statement};
use super::is_account_id;

/// The members of a statement as JSON has them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Members {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    effect: Effect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    principal: Option<PrincipalBlock>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_principal: Option<PrincipalBlock>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    action: Option<Strings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_action: Option<Strings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<Strings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_resource: Option<Strings>,
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    condition: Conditions,
}

impl TryFrom<Members> for Statement {
    type Error = String;

    fn try_from(members: Members) -> Result<Self, String> {
        let principals = choice("Principal", members.principal, members.not_principal)?;
        let actions = choice("Action", members.action, members.not_action)?
            .ok_or("missing required field Action")?;
        let resources = choice("Resource", members.resource, members.not_resource)?;
        let statement = Self {
            sid: members.sid,
            effect: members.effect,
            principals,
            actions: actions.map(|Strings(actions)| actions),
            resources: resources.map(|resources| resources.map(|Strings(listed)| listed)),
            conditions: members.condition.0,
        };
        let actions = statement.actions.listed();
        if let Some(action) = actions.iter().find(|action| !is_action(action)) {
            return Err(format!("invalid action \"{action}\""));
        }
        let resources = statement
            .resources
            .as_ref()
            .map_or(&[][..], |it| it.listed());
        match resources.iter().find(|resource| !is_resource(resource)) {
            Some(resource) => Err(format!(
                "resource \"{resource}\" is neither an ARN nor \"*\""
            )),
            None => Ok(statement),
        }
    }
}

impl From<Statement> for Members {
    fn from(statement: Statement) -> Self {
        let (principal, not_principal) = members(statement.principals);
        let (action, not_action) = members(Some(statement.actions.map(Strings)));
        let (resource, not_resource) =
            members(statement.resources.map(|resources| resources.map(Strings)));
        Self {
            sid: statement.sid,
            effect: statement.effect,
            principal,
            not_principal,
            action,
            not_action,
            resource,
            not_resource,
            condition: Conditions(statement.conditions),
        }
    }
}

impl<T> Choice<T> {
    fn map<U>(self, function: impl FnOnce(T) -> U) -> Choice<U> {
        match self {
            Self::Only(listed) => Choice::Only(function(listed)),
            Self::AllBut(listed) => Choice::AllBut(function(listed)),
        }
    }
}

impl Choice<Vec<String>> {
    /// Gives what is listed, whichever way it counts.
    pub(super) fn listed(&self) -> &[String] {
        let (Self::Only(listed) | Self::AllBut(listed)) = self;
        listed
    }
}

/// Makes one of two members that exclude each other.
fn choice<T>(name: &str, only: Option<T>, all_but: Option<T>) -> Result<Option<Choice<T>>, String> {
    match (only, all_but) {
        (Some(_), Some(_)) => Err(format!("{name} and Not{name} exclude each other")),
        (Some(listed), None) => Ok(Some(Choice::Only(listed))),
        (None, Some(listed)) => Ok(Some(Choice::AllBut(listed))),
        (None, None) => Ok(None),
    }
}

fn members<T>(choice: Option<Choice<T>>) -> (Option<T>, Option<T>) {
    match choice {
        Some(Choice::Only(listed)) => (Some(listed), None),
        Some(Choice::AllBut(listed)) => (None, Some(listed)),
        None => (None, None),
    }
}

/// True for `*` and `service:name`.
fn is_action(text: &str) -> bool {
    text == "*"
        || text
            .split_once(':')
            .is_some_and(|(service, name)| !service.is_empty() && !name.is_empty())
}

/// True for `*` and what has the six parts of an ARN.
fn is_resource(text: &str) -> bool {
    text == "*" || (text.starts_with("arn:") && text.splitn(6, ':').count() == 6)
}

/// True for what `Principal`'s member `AWS` may hold. Wildcards stand alone: IAM takes none inside an ARN here.
fn is_aws_principal(text: &str) -> bool {
    if text == "*" || is_account_id(text) {
        return true;
    }
    let parts: Vec<&str> = text.split(':').collect();
    let &["arn", "aws", service, "", account, name] = parts.as_slice() else {
        return false;
    };
    let kinds: &[&str] = match service {
        "iam" if name == "root" => return is_account_id(account),
        "iam" => &["user/", "role/"],
        "sts" => &["assumed-role/"],
        _ => return false,
    };
    is_account_id(account)
        && !name.contains(['*', '?'])
        && kinds
            .iter()
            .any(|kind| name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()))
}

/// Strings that JSON has as one string or a list of them.
pub(super) struct Strings(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let strings: Vec<String> = one_or_many(deserializer)?;
        if strings.is_empty() {
            return Err(D::Error::invalid_length(0, &"at least one string"));
        }
        Ok(Self(strings))
    }
}

impl Serialize for Strings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_one_or_many(&self.0, serializer)
    }
}

fn serialize_one_or_many<S: Serializer>(
    texts: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match texts {
        [text] => text.serialize(serializer),
        texts => texts.serialize(serializer),
    }
}

/// Reads one value or a list of them.
pub(super) fn one_or_many<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct OneOrMany<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("one value or a list")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(serde::de::IntoDeserializer::into_deserializer(text)).map(|it| vec![it])
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(|it| vec![it])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(sequence))
        }
    }

    deserializer.deserialize_any(OneOrMany(PhantomData))
}

impl<'de> Deserialize<'de> for PrincipalBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "PascalCase")]
        struct Kinds {
            #[serde(default, rename = "AWS")]
            aws: Option<Strings>,
            service: Option<Strings>,
            canonical_user: Option<Strings>,
            federated: Option<Strings>,
        }

        struct Block;

        impl<'de> Visitor<'de> for Block {
            type Value = PrincipalBlock;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter
                    .write_str("\"*\" or an object with AWS, Service, CanonicalUser or Federated")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PrincipalBlock, E> {
                match text {
                    "*" => Ok(PrincipalBlock::Everyone),
                    _ => Err(E::custom(format!(
                        "invalid principal in policy: \"{text}\""
                    ))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PrincipalBlock, A::Error> {
                let kinds = Kinds::deserialize(MapAccessDeserializer::new(map))?;
                let list = |kind: Option<Strings>| kind.map_or(Vec::new(), |Strings(names)| names);
                let aws = list(kinds.aws);
                match aws.iter().find(|name| !is_aws_principal(name)) {
                    Some(name) => Err(A::Error::custom(format!(
                        "invalid principal in policy: \"AWS\":\"{name}\""
                    ))),
                    None => Ok(PrincipalBlock::Named {
                        aws,
                        service: list(kinds.service),
                        canonical_user: list(kinds.canonical_user),
                        federated: list(kinds.federated),
                    }),
                }
            }
        }

        deserializer.deserialize_any(Block)
    }
}

impl Serialize for PrincipalBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self::Named {
            aws,
            service,
            canonical_user,
            federated,
        } = self
        else {
            return serializer.serialize_str("*");
        };
        let mut map = serializer.serialize_map(None)?;
        for (kind, names) in [
            ("AWS", aws),
            ("Service", service),
            ("CanonicalUser", canonical_user),
            ("Federated", federated),
        ] {
            if !names.is_empty() {
                map.serialize_entry(kind, &OneOrManyOf(names))?;
            }
        }
        map.end()
    }
}

/// Borrowed strings that JSON gets as one string or a list.
pub(super) struct OneOrManyOf<'a>(pub(super) &'a [String]);

impl Serialize for OneOrManyOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_one_or_many(self.0, serializer)
    }
}
