//! Conditions from JSON and to it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::grammar::OneOrManyOf;

/// The `Condition` member: operator to key to values.
#[derive(Default)]
pub(super) struct Conditions(pub(super) Vec<Condition>);

impl Conditions {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Entries(operators) = Entries::<Entries<Values>>::deserialize(deserializer)?;
        let mut conditions = Vec::new();
        for (operator, Entries(keys)) in operators {
            for (key, Values(values)) in keys {
                let condition =
                    Condition::new(&operator, &key, values).map_err(D::Error::custom)?;
                conditions.push(condition);
            }
        }
        Ok(Self(conditions))
    }
}

impl Serialize for Conditions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Keys<'a>(Vec<&'a Condition>);

        impl Serialize for Keys<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(
                    self.0
                        .iter()
                        .map(|condition| (condition.key(), OneOrManyOf(condition.values()))),
                )
            }
        }

        let mut operators: Vec<(String, Keys<'_>)> = Vec::new();
        for condition in &self.0 {
            let name = condition.operator().to_string();
            match operators.iter_mut().find(|(operator, _)| *operator == name) {
                Some((_, Keys(conditions))) => conditions.push(condition),
                None => operators.push((name, Keys(vec![condition]))),
            }
        }
        serializer.collect_map(operators)
    }
}

/// An object whose names the grammar does not fix, in its order. The same name twice is an error: one would be lost.
struct Entries<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<T> {
            type Value = Entries<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries: Vec<(String, T)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if entries
                        .iter()
                        .any(|(known, _)| known.eq_ignore_ascii_case(&name))
                    {
                        return Err(A::Error::custom(format!("duplicate member \"{name}\"")));
                    }
                    entries.push((name, value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Each(PhantomData))
    }
}

/// Values of a condition key: one or a list, and a bare number or truth value for its text.
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a string, a number, true or false, or a list of them"
        )]
        enum Value {
            Text(String),
            Truth(bool),
            Number(serde_json::Number),
        }

        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a string, a number, true or false, or a list of them"
        )]
        enum OneOrMany {
            One(Value),
            Many(Vec<Value>),
        }

        let values = match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        };
        Ok(Self(
            values
                .into_iter()
                .map(|value| match value {
                    Value::Text(text) => text,
                    Value::Truth(truth) => truth.to_string(),
                    Value::Number(number) => number.to_string(),
                })
                .collect(),
        ))
    }
}
