//! A file of buckets and objects to start with.

use serde::Deserialize;

use super::bucket::BucketSettings;
use super::view::ObjectProperties;
use super::{Store, StoreError};

/// Buckets and declared objects, as JSON:
/// `{"buckets": [{"name", "account", "region", "settings": {…}, "objects": [{"key", "size", "seed", "count"}]}]}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// The buckets.
    pub buckets: Vec<FillBucket>,
}

/// A bucket of a [`Fill`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FillBucket {
    /// Its name.
    pub name: String,
    /// The account that owns it.
    pub account: String,
    /// Its Region; us-east-1 by default.
    #[serde(default = "us_east_1")]
    pub region: String,
    /// Its settings.
    #[serde(default)]
    pub settings: BucketSettings,
    /// Its policy as a JSON value, in place of the text in `settings`.
    #[serde(default)]
    pub policy: Option<serde_json::Value>,
    /// Its objects.
    #[serde(default)]
    pub objects: Vec<FillObject>,
}

/// An object of a [`Fill`], or many.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FillObject {
    /// Its key; with `count`, `{}` in it stands for the number from 0, eight digits wide.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// The seed of its bytes; the n-th of many has `seed + n`. 0 by default.
    #[serde(default)]
    pub seed: u64,
    /// How many; one by default.
    #[serde(default)]
    pub count: Option<u64>,
    /// Its properties.
    #[serde(default)]
    pub properties: ObjectProperties,
}

fn us_east_1() -> String {
    crate::DEFAULT_REGION.to_owned()
}

impl Store {
    /// Makes the buckets and objects of a file.
    ///
    /// # Errors
    /// If a bucket exists or a policy is malformed.
    pub fn fill(&self, fill: &Fill) -> Result<(), StoreError> {
        for bucket in &fill.buckets {
            let mut settings = bucket.settings.clone();
            if let Some(policy) = &bucket.policy {
                settings.policy = Some(policy.to_string());
            }
            self.create_bucket(&bucket.name, &bucket.account, &bucket.region, settings)?;
            for object in &bucket.objects {
                for number in 0..object.count.unwrap_or(1) {
                    let key = match object.count {
                        Some(_) => object.key.replace("{}", &format!("{number:08}")),
                        None => object.key.clone(),
                    };
                    let seed = object.seed.wrapping_add(number);
                    self.declare_object(&bucket.name, &key, object.size, seed, &object.properties)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_makes_numbered_objects() {
        let fill: Fill = serde_json::from_str(
            r#"{"buckets": [{"name": "src", "account": "111111111111",
                "objects": [{"key": "a/{}.bin", "size": 10, "count": 3}, {"key": "{}", "size": 7000000000000}]}]}"#,
        )
        .expect("JSON in the shape of a fill");
        let store = Store::default();
        store.fill(&fill).expect("new buckets");
        let keys: Vec<String> = store
            .objects("src")
            .into_iter()
            .map(|object| object.key)
            .collect();
        assert_eq!(
            keys,
            ["a/00000000.bin", "a/00000001.bin", "a/00000002.bin", "{}"]
        );
    }
}
