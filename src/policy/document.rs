//! Statements and policies, and how one goes into another.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// An IAM policy, in the order in which people read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    /// Its statements.
    pub statement: Vec<Statement>,
}

impl Policy {
    /// A policy of these statements.
    pub fn new(statement: Vec<Statement>) -> Self {
        Self {
            version: "2012-10-17",
            statement,
        }
    }
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// Its name, of which a policy has each once: letters and digits.
    pub sid: String,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// Whom; none in a policy of an identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Value>,
    /// The actions, in order.
    pub action: Vec<String>,
    /// ARNs; none in a trust policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource: Vec<String>,
    /// Under which conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Value>,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// It allows.
    Allow,
    /// It denies, whatever allows.
    Deny,
}

impl Statement {
    /// A statement that allows actions on resources, in a policy of an identity.
    pub fn allow(sid: &str, action: Vec<String>, resource: Vec<String>) -> Self {
        Self {
            sid: sid.to_owned(),
            effect: Effect::Allow,
            principal: None,
            action,
            resource,
            condition: None,
        }
    }

    /// The same in a policy of a resource, for the identity with this ARN.
    #[must_use]
    pub fn to_principal(mut self, arn: &str) -> Self {
        self.principal = Some(json!({"AWS": arn}));
        self
    }

    /// The same under conditions.
    #[must_use]
    pub fn under(mut self, condition: Value) -> Self {
        self.condition = Some(condition);
        self
    }
}

/// ARN of a bucket.
pub fn bucket_arn(partition: &str, bucket: &str) -> String {
    format!("arn:{partition}:s3:::{bucket}")
}

/// ARN of all objects whose keys begin so. What a policy would take for a pattern is escaped.
///
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars>
pub fn objects_arn(partition: &str, bucket: &str, prefix: &str) -> String {
    format!("{}/{}*", bucket_arn(partition, bucket), escaped(prefix))
}

/// ARN of one object.
pub fn object_arn(partition: &str, bucket: &str, key: &str) -> String {
    format!("{}/{}", bucket_arn(partition, bucket), escaped(key))
}

fn escaped(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for letter in key.chars() {
        match letter {
            '*' | '?' | '$' => escaped.extend(["${", letter.encode_utf8(&mut [0; 4]), "}"]),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// Why a policy cannot be merged into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no policy: {0}")]
pub struct MergeError(&'static str);

/// `policy` with these statements added: one of the same `Sid` is replaced, all else stays as it is.
///
/// # Errors
/// `policy` is none.
pub fn merge(policy: &Value, statements: &[Statement]) -> Result<Value, MergeError> {
    let mut merged: Map<String, Value> = policy
        .as_object()
        .cloned()
        .ok_or(MergeError("not an object"))?;
    // A policy may have one statement in place of a list.
    let mut all = match merged.remove("Statement") {
        Some(Value::Array(statements)) => statements,
        Some(statement @ Value::Object(_)) => vec![statement],
        _ => return Err(MergeError("it has no Statement")),
    };
    let old = merged.get("Version").and_then(Value::as_str) != Some("2012-10-17");
    if old
        && statements
            .iter()
            .flat_map(|s| &s.resource)
            .any(|arn| arn.contains("${"))
    {
        return Err(MergeError(
            "its Version is not 2012-10-17, before which ${*} stands for itself in a resource",
        ));
    }
    for statement in statements {
        let new = serde_json::to_value(statement).unwrap_or_default();
        let same = all.iter_mut().find(|old| old.get("Sid") == new.get("Sid"));
        match same {
            Some(old) => *old = new,
            None => all.push(new),
        }
    }
    merged.insert("Statement".to_owned(), Value::Array(all));
    Ok(Value::Object(merged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_no_patterns() {
        assert_eq!(
            objects_arn("aws-cn", "b", "a*b?c${x}/"),
            "arn:aws-cn:s3:::b/a${*}b${?}c${$}{x}/*"
        );
        assert_eq!(object_arn("aws", "b", "é /+"), "arn:aws:s3:::b/é /+");
    }

    #[test]
    fn merging_keeps_what_is_there() {
        let ours = Statement::allow("Ours", vec!["s3:GetObject".into()], vec!["*".into()]);
        let theirs = json!({"Sid": "Theirs", "Effect": "Deny", "Extra": 1});
        let old = json!({"Version": "2008-10-17", "Id": "x", "Statement": theirs});
        let merged = merge(&old, std::slice::from_ref(&ours)).unwrap();
        assert_eq!(
            (&merged["Version"], &merged["Id"]),
            (&"2008-10-17".into(), &"x".into())
        );
        assert_eq!(merged["Statement"][0], theirs);
        assert_eq!(merged["Statement"][1]["Sid"], "Ours");
        // A second time it is replaced.
        let again = merge(
            &merged,
            &[Statement {
                effect: Effect::Deny,
                ..ours
            }],
        )
        .unwrap();
        assert_eq!(again["Statement"].as_array().map(Vec::len), Some(2));
        assert_eq!(again["Statement"][1]["Effect"], "Deny");
        let escaped = Statement::allow("Ours", vec![], vec!["a${*}".into()]);
        assert!(merge(&old, &[escaped]).is_err());
        for bad in [json!([]), json!({}), json!({"Statement": "x"})] {
            assert!(merge(&bad, &[]).is_err(), "{bad}");
        }
    }
}
