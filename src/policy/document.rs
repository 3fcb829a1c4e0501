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

/// `policy` with these statements added: one of ours that is there is replaced, all else stays as it is.
///
/// Ours is what differs in nothing but its actions. Another's of the same `Sid`, such as that of a job with
/// another role, stays, and ours takes a number.
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
        let mut new = serde_json::to_value(statement).unwrap_or_default();
        if let Some(old) = all
            .iter_mut()
            .find(|old| is_ours(old, &new, &statement.sid))
        {
            new["Sid"] = old["Sid"].clone();
            *old = new;
            continue;
        }
        let mut number = 1;
        while all.iter().any(|old| old.get("Sid") == new.get("Sid")) {
            number += 1;
            new["Sid"] = format!("{}{number}", statement.sid).into();
        }
        all.push(new);
    }
    merged.insert("Statement".to_owned(), Value::Array(all));
    Ok(Value::Object(merged))
}

/// Whether a statement is an earlier one of ours: the same but for its actions, and a number behind its name.
fn is_ours(old: &Value, new: &Value, sid: &str) -> bool {
    let number = old.get("Sid").and_then(Value::as_str);
    let number = number.and_then(|old| old.strip_prefix(sid));
    let named = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let rest = |statement: &Value| {
        let mut statement = statement.clone();
        if let Some(members) = statement.as_object_mut() {
            members.retain(|name, _| name != "Sid" && name != "Action");
        }
        plain(&mut statement);
        statement
    };
    named && rest(old) == rest(new)
}

/// S3 gives back a list of one as that one.
fn plain(value: &mut Value) {
    match value {
        Value::Array(values) if values.len() == 1 => {
            *value = values.remove(0);
        }
        Value::Array(values) => values.iter_mut().for_each(plain),
        Value::Object(members) => members.values_mut().for_each(plain),
        _ => {}
    }
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
        // A second time it is replaced, also as S3 gives it back.
        let mut given_back = merged.clone();
        given_back["Statement"][1]["Resource"] = "*".into();
        let more = Statement {
            action: vec!["s3:GetObject".into(), "s3:GetObjectVersion".into()],
            ..ours.clone()
        };
        let again = merge(&given_back, std::slice::from_ref(&more)).unwrap();
        assert_eq!(again["Statement"].as_array().map(Vec::len), Some(2));
        assert_eq!(again["Statement"][1], serde_json::to_value(&more).unwrap());
        // What another job needs stays, and both go on being told apart.
        let other = ours.clone().to_principal("arn:aws:iam::1:role/other");
        let both = merge(&again, std::slice::from_ref(&other)).unwrap();
        assert_eq!(both["Statement"].as_array().map(Vec::len), Some(3));
        assert_eq!(both["Statement"][1], again["Statement"][1]);
        assert_eq!(both["Statement"][2]["Sid"], "Ours2");
        let twice = merge(&both, &[more, other]).unwrap();
        assert_eq!(twice["Statement"].as_array().map(Vec::len), Some(3));
        let escaped = Statement::allow("Ours", vec![], vec!["a${*}".into()]);
        assert!(merge(&old, &[escaped]).is_err());
        for bad in [json!([]), json!({}), json!({"Statement": "x"})] {
            assert!(merge(&bad, &[]).is_err(), "{bad}");
        }
    }
}
