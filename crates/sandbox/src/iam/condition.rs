//! The `Condition` member of a statement.
//!
//! `https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html`

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use time::format_description::well_known::Iso8601;
use time::{Date, OffsetDateTime};

use super::context::Context;
use super::document::Version;
use super::pattern::Expanded;

/// Says how a value of the policy is compared with one of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Bool,
    Null,
    Numeric(Order),
    Date(Order),
    Arn,
    IpAddress,
}

/// Says which orders of the request's value to the policy's are a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Each operator's name, its test, and whether a match makes it fail.
const OPERATORS: [(&str, Test, bool); 26] = [
    ("StringEquals", Test::StringEquals, false),
    ("StringNotEquals", Test::StringEquals, true),
    (
        "StringEqualsIgnoreCase",
        Test::StringEqualsIgnoreCase,
        false,
    ),
    (
        "StringNotEqualsIgnoreCase",
        Test::StringEqualsIgnoreCase,
        true,
    ),
    ("StringLike", Test::StringLike, false),
    ("StringNotLike", Test::StringLike, true),
    ("Bool", Test::Bool, false),
    ("Null", Test::Null, false),
    ("NumericEquals", Test::Numeric(Order::Equal), false),
    ("NumericNotEquals", Test::Numeric(Order::Equal), true),
    ("NumericLessThan", Test::Numeric(Order::Less), false),
    (
        "NumericLessThanEquals",
        Test::Numeric(Order::LessOrEqual),
        false,
    ),
    ("NumericGreaterThan", Test::Numeric(Order::Greater), false),
    (
        "NumericGreaterThanEquals",
        Test::Numeric(Order::GreaterOrEqual),
        false,
    ),
    ("DateEquals", Test::Date(Order::Equal), false),
    ("DateNotEquals", Test::Date(Order::Equal), true),
    ("DateLessThan", Test::Date(Order::Less), false),
    ("DateLessThanEquals", Test::Date(Order::LessOrEqual), false),
    ("DateGreaterThan", Test::Date(Order::Greater), false),
    (
        "DateGreaterThanEquals",
        Test::Date(Order::GreaterOrEqual),
        false,
    ),
    // IAM reads both names of each pair alike, wildcards included.
    ("ArnEquals", Test::Arn, false),
    ("ArnLike", Test::Arn, false),
    ("ArnNotEquals", Test::Arn, true),
    ("ArnNotLike", Test::Arn, true),
    ("IpAddress", Test::IpAddress, false),
    ("NotIpAddress", Test::IpAddress, true),
];

/// Says how many of a key's values must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    ForAllValues,
    ForAnyValue,
}

/// Names an operator of a condition: the comparison, `…IfExists`, `ForAllValues:` or `ForAnyValue:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    quantifier: Option<Quantifier>,
    name: &'static str,
    test: Test,
    negated: bool,
    if_exists: bool,
}

/// Reports an operator that IAM does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown condition operator \"{0}\"")]
pub struct UnknownOperator(String);

impl FromStr for Operator {
    type Err = UnknownOperator;

    fn from_str(text: &str) -> Result<Self, UnknownOperator> {
        let unknown = || UnknownOperator(text.to_owned());
        let (quantifier, rest) = match text.split_once(':') {
            Some(("ForAllValues", rest)) => (Some(Quantifier::ForAllValues), rest),
            Some(("ForAnyValue", rest)) => (Some(Quantifier::ForAnyValue), rest),
            Some(_) => return Err(unknown()),
            None => (None, text),
        };
        let (wanted, if_exists) = match rest.strip_suffix("IfExists") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (name, test, negated) = OPERATORS
            .into_iter()
            .find(|(name, ..)| *name == wanted)
            .ok_or_else(unknown)?;
        if test == Test::Null && (if_exists || quantifier.is_some()) {
            return Err(unknown());
        }
        Ok(Self {
            quantifier,
            name,
            test,
            negated,
            if_exists,
        })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.quantifier {
            Some(Quantifier::ForAllValues) => "ForAllValues:",
            Some(Quantifier::ForAnyValue) => "ForAnyValue:",
            None => "",
        })?;
        formatter.write_str(self.name)?;
        formatter.write_str(if self.if_exists { "IfExists" } else { "" })
    }
}

/// Reports a condition that can never be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// The operator is none of IAM's.
    #[error(transparent)]
    Operator(#[from] UnknownOperator),
    /// The value is not of the operator's kind.
    #[error("value \"{value}\" of condition key {key} does not suit {operator}")]
    Value {
        /// The operator, as the policy has it.
        operator: String,
        /// The condition key.
        key: String,
        /// The value.
        value: String,
    },
}

/// Compares one condition key with a list of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    operator: Operator,
    key: String,
    values: Vec<String>,
}

impl Condition {
    /// Makes a condition from its three parts.
    ///
    /// # Errors
    ///
    /// An operator that IAM does not have, or a value that is not of the operator's kind: a number, a date, an address, a truth value.
    pub fn new(operator: &str, key: &str, values: Vec<String>) -> Result<Self, ConditionError> {
        let operator: Operator = operator.parse()?;
        if let Some(value) = values.iter().find(|value| !operator.test.takes(value)) {
            return Err(ConditionError::Value {
                operator: operator.to_string(),
                key: key.to_owned(),
                value: value.clone(),
            });
        }
        Ok(Self {
            operator,
            key: key.to_owned(),
            values,
        })
    }

    /// Makes the condition that a key has exactly this value.
    pub fn string_equals(key: &str, value: &str) -> Self {
        let (name, test, negated) = OPERATORS[0];
        Self {
            operator: Operator {
                quantifier: None,
                name,
                test,
                negated,
                if_exists: false,
            },
            key: key.to_owned(),
            values: vec![value.to_owned()],
        }
    }

    /// Gives the operator.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// Gives the condition key, as written.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Gives the values to compare with.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// True if the condition holds for a request.
    ///
    /// With several values any of them will do; negated, none may match. Of an absent key, a negated operator and `…IfExists` hold, `ForAllValues` too, and all others do not.
    /// A variable without a value makes the condition fail and its statement void.
    pub(super) fn holds(&self, version: Version, context: &Context) -> bool {
        let found = context.values(&self.key);
        let Operator {
            quantifier,
            test,
            negated,
            if_exists,
            ..
        } = self.operator;
        if test == Test::Null {
            let absent = if found.is_empty() { "true" } else { "false" };
            return self
                .values
                .iter()
                .any(|value| value.eq_ignore_ascii_case(absent));
        }
        if found.is_empty() {
            return if_exists
                || match quantifier {
                    Some(Quantifier::ForAllValues) => true,
                    Some(Quantifier::ForAnyValue) => false,
                    None => negated,
                };
        }
        let Some(wanted) = self
            .values
            .iter()
            .map(|value| Expanded::new(value, version, context))
            .collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        let matched = |value: &String| wanted.iter().any(|wanted| test.matches(wanted, value));
        match quantifier {
            Some(Quantifier::ForAllValues) => found.iter().all(|value| matched(value) != negated),
            Some(Quantifier::ForAnyValue) => found.iter().any(|value| matched(value) != negated),
            None => found.iter().any(matched) != negated,
        }
    }
}

impl Test {
    /// True if a policy may hold this value under the operator.
    fn takes(self, value: &str) -> bool {
        match self {
            Self::StringEquals | Self::StringEqualsIgnoreCase | Self::StringLike => true,
            Self::Bool => value.contains("${") || truth(value).is_some(),
            Self::Null => truth(value).is_some(),
            Self::Numeric(_) => number(value).is_some(),
            Self::Date(_) => date(value).is_some(),
            Self::Arn => value == "*" || value.starts_with("arn:") || value.contains("${"),
            Self::IpAddress => network(value).is_some(),
        }
    }

    /// Compares a value of the policy with one of the request; what cannot be read matches nothing.
    fn matches(self, wanted: &Expanded<'_>, found: &str) -> bool {
        let ordered = |order: Order, ordering: Option<Ordering>| {
            ordering.is_some_and(|ordering| order.holds(ordering))
        };
        match self {
            Self::StringEquals => wanted.text() == found,
            Self::StringEqualsIgnoreCase => wanted.text().to_lowercase() == found.to_lowercase(),
            Self::StringLike => wanted.pattern().matches(found),
            Self::Bool => truth(found).is_some_and(|found| truth(&wanted.text()) == Some(found)),
            Self::Null => false,
            Self::Numeric(order) => ordered(
                order,
                number(found)
                    .zip(number(&wanted.text()))
                    .and_then(|(found, wanted)| found.partial_cmp(&wanted)),
            ),
            Self::Date(order) => ordered(
                order,
                date(found)
                    .zip(date(&wanted.text()))
                    .map(|(found, wanted)| found.cmp(&wanted)),
            ),
            Self::Arn => wanted.pattern().matches_arn(found),
            Self::IpAddress => found
                .parse()
                .ok()
                .zip(network(&wanted.text()))
                .is_some_and(|(found, network)| contains(network, found)),
        }
    }
}

fn truth(text: &str) -> Option<bool> {
    text.to_ascii_lowercase().parse().ok()
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Reads a date in one of IAM's forms: ISO 8601 with an offset, a day, seconds since 1970.
fn date(text: &str) -> Option<OffsetDateTime> {
    if let Ok(seconds) = text.parse::<i64>() {
        return OffsetDateTime::from_unix_timestamp(seconds).ok();
    }
    OffsetDateTime::parse(text, &Iso8601::PARSING)
        .ok()
        .or_else(|| {
            let day = Date::parse(text, &Iso8601::DATE).ok()?;
            Some(day.midnight().assume_utc())
        })
}

/// Reads an address with an optional length of prefix, all of it by default.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(whole), |length| length.parse().ok())?;
    (length <= whole).then_some((address, length))
}

fn contains((network, length): (IpAddr, u8), address: IpAddr) -> bool {
    let shared_bits = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits()).leading_zeros()
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits()).leading_zeros()
        }
        _ => return false,
    };
    shared_bits >= u32::from(length)
}

#[cfg(test)]
mod tests {
    use super::{Condition, OPERATORS, Operator};
    use crate::iam::{Context, Version};

    fn holds(operator: &str, wanted: &[&str], found: &[&str]) -> bool {
        let mut context = Context::new().with("aws:username", "ann");
        context.insert_all("k", found.iter().map(|it| (*it).to_owned()).collect());
        let wanted = wanted.iter().map(|it| (*it).to_owned()).collect();
        Condition::new(operator, "K", wanted)
            .unwrap()
            .holds(Version::V2012, &context)
    }

    /// Operator, the policy's value, the request's, and whether the operator that is not negated holds.
    const SINGLE: &[(&str, &str, &str, &str, bool)] = &[
        ("StringEquals", "StringNotEquals", "a", "a", true),
        ("StringEquals", "StringNotEquals", "a", "A", false),
        ("StringEquals", "StringNotEquals", "a*", "ab", false),
        (
            "StringEquals",
            "StringNotEquals",
            "${aws:username}",
            "ann",
            true,
        ),
        (
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "aB",
            "Ab",
            true,
        ),
        (
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "a",
            "b",
            false,
        ),
        ("StringLike", "StringNotLike", "a*", "abc", true),
        ("StringLike", "StringNotLike", "a*", "Abc", false),
        (
            "StringLike",
            "StringNotLike",
            "home/${aws:username}/?",
            "home/ann/x",
            true,
        ),
        ("StringLike", "StringNotLike", "a${*}", "ab", false),
        ("Bool", "", "true", "true", true),
        ("Bool", "", "True", "true", true),
        ("Bool", "", "true", "false", false),
        ("Bool", "", "false", "maybe", false),
        ("NumericEquals", "NumericNotEquals", "10", "10.0", true),
        ("NumericEquals", "NumericNotEquals", "10", "11", false),
        ("NumericEquals", "NumericNotEquals", "10", "ten", false),
        ("NumericLessThan", "", "10", "9", true),
        ("NumericLessThan", "", "10", "10", false),
        ("NumericLessThanEquals", "", "10", "10", true),
        ("NumericLessThanEquals", "", "10", "11", false),
        ("NumericGreaterThan", "", "10", "11", true),
        ("NumericGreaterThan", "", "10", "10", false),
        ("NumericGreaterThanEquals", "", "10", "10", true),
        ("NumericGreaterThanEquals", "", "10", "9", false),
        (
            "DateEquals",
            "DateNotEquals",
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00+01:00",
            true,
        ),
        (
            "DateEquals",
            "DateNotEquals",
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            true,
        ),
        (
            "DateEquals",
            "DateNotEquals",
            "1767225600",
            "2026-01-01T00:00:00.000Z",
            true,
        ),
        (
            "DateEquals",
            "DateNotEquals",
            "2026-01-01",
            "2026-01-01T00:00:01Z",
            false,
        ),
        (
            "DateEquals",
            "DateNotEquals",
            "2026-01-01",
            "yesterday",
            false,
        ),
        (
            "DateLessThan",
            "",
            "2026-01-02",
            "2026-01-01T23:59:59Z",
            true,
        ),
        (
            "DateLessThan",
            "",
            "2026-01-02",
            "2026-01-02T00:00:00Z",
            false,
        ),
        (
            "DateLessThanEquals",
            "",
            "2026-01-02",
            "2026-01-02T00:00:00Z",
            true,
        ),
        (
            "DateGreaterThan",
            "",
            "2026-01-02",
            "2026-01-02T00:00:01Z",
            true,
        ),
        (
            "DateGreaterThan",
            "",
            "2026-01-02",
            "2026-01-02T00:00:00Z",
            false,
        ),
        (
            "DateGreaterThanEquals",
            "",
            "2026-01-02",
            "2026-01-02T00:00:00Z",
            true,
        ),
        (
            "ArnEquals",
            "ArnNotEquals",
            "arn:aws:s3:::b",
            "arn:aws:s3:::b",
            true,
        ),
        (
            "ArnEquals",
            "ArnNotEquals",
            "arn:aws:iam::1*:role/x",
            "arn:aws:iam::111111111111:role/x",
            true,
        ),
        (
            "ArnLike",
            "ArnNotLike",
            "arn:aws:ecs:*:111111111111:*",
            "arn:aws:ecs:eu-west-1:111111111111:task/a:b",
            true,
        ),
        (
            "ArnLike",
            "ArnNotLike",
            "arn:aws:s3:::b",
            "arn:aws:s3:::c",
            false,
        ),
        (
            "ArnLike",
            "ArnNotLike",
            "arn:aws:*:b",
            "arn:aws:s3:::b",
            false,
        ),
        ("IpAddress", "NotIpAddress", "10.0.0.0/8", "10.1.2.3", true),
        ("IpAddress", "NotIpAddress", "10.0.0.0/8", "11.1.2.3", false),
        ("IpAddress", "NotIpAddress", "10.0.0.1", "10.0.0.1", true),
        ("IpAddress", "NotIpAddress", "10.0.0.1", "10.0.0.2", false),
        ("IpAddress", "NotIpAddress", "0.0.0.0/0", "10.0.0.2", true),
        ("IpAddress", "NotIpAddress", "0.0.0.0/0", "::1", false),
        (
            "IpAddress",
            "NotIpAddress",
            "2001:db8::/32",
            "2001:db8:1::1",
            true,
        ),
        (
            "IpAddress",
            "NotIpAddress",
            "2001:db8::/32",
            "2001:db9::1",
            false,
        ),
        (
            "IpAddress",
            "NotIpAddress",
            "10.0.0.0/8",
            "somewhere",
            false,
        ),
    ];

    #[test]
    fn each_operator() {
        for &(operator, negated, wanted, found, expected) in SINGLE {
            let case = format!("{operator} {wanted} {found}");
            assert_eq!(holds(operator, &[wanted], &[found]), expected, "{case}");
            let if_exists = format!("{operator}IfExists");
            assert_eq!(
                holds(&if_exists, &[wanted], &[found]),
                expected,
                "{case} IfExists"
            );
            if !negated.is_empty() {
                assert_eq!(
                    holds(negated, &[wanted], &[found]),
                    !expected,
                    "{case} negated"
                );
            }
        }
    }

    #[test]
    fn every_operator_has_a_row() {
        for (name, ..) in OPERATORS {
            let known = SINGLE
                .iter()
                .any(|(operator, negated, ..)| *operator == name || *negated == name);
            assert!(known || name == "Null", "{name}");
            assert_eq!(name.parse::<Operator>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn an_absent_key() {
        for &(operator, negated, wanted, ..) in SINGLE {
            assert!(!holds(operator, &[wanted], &[]), "{operator}");
            assert!(
                holds(&format!("{operator}IfExists"), &[wanted], &[]),
                "{operator}"
            );
            assert!(
                holds(&format!("ForAllValues:{operator}"), &[wanted], &[]),
                "{operator}"
            );
            assert!(
                !holds(&format!("ForAnyValue:{operator}"), &[wanted], &[]),
                "{operator}"
            );
            assert!(
                holds(&format!("ForAnyValue:{operator}IfExists"), &[wanted], &[]),
                "{operator}"
            );
            if !negated.is_empty() {
                assert!(holds(negated, &[wanted], &[]), "{negated}");
                assert!(
                    holds(&format!("{negated}IfExists"), &[wanted], &[]),
                    "{negated}"
                );
                assert!(
                    !holds(&format!("ForAnyValue:{negated}"), &[wanted], &[]),
                    "{negated}"
                );
            }
        }
    }

    #[test]
    fn null_asks_for_absence() {
        for (wanted, found, expected) in [
            ("true", &[][..], true),
            ("true", &["x"], false),
            ("false", &[], false),
            ("False", &["x"], true),
        ] {
            assert_eq!(
                holds("Null", &[wanted], found),
                expected,
                "{wanted} {found:?}"
            );
        }
    }

    #[test]
    fn several_values() {
        for (operator, wanted, found, expected) in [
            ("StringEquals", &["a", "b"][..], &["b"][..], true),
            ("StringEquals", &["a", "b"], &["c"], false),
            ("StringEquals", &[], &["c"], false),
            ("StringNotEquals", &["a", "b"], &["b"], false),
            ("StringNotEquals", &["a", "b"], &["c"], true),
            ("ForAllValues:StringEquals", &["a", "b"], &["a"], true),
            ("ForAllValues:StringEquals", &["a", "b"], &["a", "b"], true),
            ("ForAllValues:StringEquals", &["a", "b"], &["a", "c"], false),
            (
                "ForAllValues:StringNotEquals",
                &["a", "b"],
                &["c", "d"],
                true,
            ),
            (
                "ForAllValues:StringNotEquals",
                &["a", "b"],
                &["a", "c"],
                false,
            ),
            ("ForAnyValue:StringEquals", &["a", "b"], &["a", "c"], true),
            ("ForAnyValue:StringEquals", &["a", "b"], &["c", "d"], false),
            (
                "ForAnyValue:StringNotEquals",
                &["a", "b"],
                &["a", "c"],
                true,
            ),
            (
                "ForAnyValue:StringNotEquals",
                &["a", "b"],
                &["a", "b"],
                false,
            ),
            ("ForAllValues:StringLike", &["a*"], &["ab", "ac"], true),
            (
                "ForAnyValue:ArnLike",
                &["arn:aws:s3:::*"],
                &["x", "arn:aws:s3:::b"],
                true,
            ),
        ] {
            assert_eq!(
                holds(operator, wanted, found),
                expected,
                "{operator} {wanted:?} {found:?}"
            );
        }
    }

    #[test]
    fn a_variable_without_a_value_fails_either_way() {
        for operator in [
            "StringEquals",
            "StringNotEquals",
            "StringLike",
            "StringNotLike",
        ] {
            assert!(!holds(operator, &["${aws:nobody}"], &["x"]), "{operator}");
        }
    }

    #[test]
    fn names_that_are_no_operators() {
        for name in [
            "",
            "IfExists",
            "stringequals",
            "StringEqualsIfExistsIfExists",
            "NullIfExists",
            "ForAllValues:Null",
            "forallvalues:StringEquals",
            "ForAllValues:",
            "BinaryEquals",
            "StringEquals ",
        ] {
            assert!(name.parse::<Operator>().is_err(), "{name}");
        }
        for name in [
            "ForAllValues:StringLikeIfExists",
            "NumericLessThanEqualsIfExists",
            "NotIpAddress",
        ] {
            assert_eq!(name.parse::<Operator>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn values_that_never_suit() {
        for (operator, value) in [
            ("Bool", "yes"),
            ("Null", "x"),
            ("NumericEquals", "1,5"),
            ("NumericEquals", "NaN"),
            ("DateLessThan", "tomorrow"),
            ("IpAddress", "10.0.0.0/33"),
            ("IpAddress", "host"),
            ("ArnLike", "bucket"),
        ] {
            assert!(
                Condition::new(operator, "k", vec![value.to_owned()]).is_err(),
                "{operator} {value}"
            );
        }
    }
}
