//! What is known of a request, as condition keys.

use std::collections::BTreeMap;

/// Holds the condition keys of one request, with their values.
///
/// Names of keys are not case-sensitive, values are. A key with no value counts as absent, as IAM counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    keys: BTreeMap<String, Vec<String>>,
}

impl Context {
    /// Makes a context that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key with one value, for chains; replaces what the key had.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.insert(key, value);
        self
    }

    /// Sets a key to one value; replaces what it had.
    pub fn insert(&mut self, key: &str, value: impl Into<String>) {
        self.insert_all(key, vec![value.into()]);
    }

    /// Sets a key to a set of values, such as `aws:TagKeys`; replaces what it had.
    pub fn insert_all(&mut self, key: &str, values: Vec<String>) {
        self.keys.insert(key.to_ascii_lowercase(), values);
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: &str) {
        self.keys.remove(&key.to_ascii_lowercase());
    }

    /// Gives the values of a key; none means that the key is absent.
    pub fn values(&self, key: &str) -> &[String] {
        self.keys
            .get(&key.to_ascii_lowercase())
            .map_or(&[], Vec::as_slice)
    }

    /// Gives the only value of a key, as a policy variable needs it.
    pub fn value(&self, key: &str) -> Option<&str> {
        match self.values(key) {
            [value] => Some(value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Context;

    #[test]
    fn names_of_keys_are_not_case_sensitive() {
        let context = Context::new().with("s3:RequestObjectTag/Team", "Blue");
        assert_eq!(context.values("S3:requestobjecttag/team"), ["Blue"]);
        assert_eq!(context.value("s3:requestobjecttag/team"), Some("Blue"));
    }

    #[test]
    fn an_empty_key_counts_as_absent() {
        let mut context = Context::new();
        context.insert_all("aws:TagKeys", Vec::new());
        assert!(context.values("aws:TagKeys").is_empty());
        assert_eq!(context.value("aws:TagKeys"), None);
    }

    #[test]
    fn a_set_is_not_one_value() {
        let mut context = Context::new();
        context.insert_all("aws:TagKeys", vec!["a".into(), "b".into()]);
        assert_eq!(context.value("aws:TagKeys"), None);
        context.remove("AWS:TAGKEYS");
        assert_eq!(context, Context::new());
    }
}
