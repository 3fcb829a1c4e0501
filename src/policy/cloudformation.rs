//! The documents of one account as a template that can be deployed as it is.

use serde_json::{Map, Value, json};

use super::documents::{Arn, Body, Document, Kind, Trust, name_of};

/// What of an account's documents a template can hold, as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// The template.
    pub template: Value,
    /// IDs of the documents that it cannot hold: they are settings of things that exist.
    pub left_out: Vec<String>,
}

/// The template of an account; `trust` is of the role, if it is this account's.
pub fn template(account: &str, documents: &[Document], trust: Option<&Trust>) -> Template {
    let of_account = documents
        .iter()
        .filter(|document| document.account == account);
    let (mut resources, mut left_out) = (Map::new(), Vec::new());
    let of = |kind: Kind, on: &str| {
        let found = documents.iter().find(|d| d.kind == kind && d.on == on);
        found.map(|found| found.document.clone())
    };
    for document in of_account {
        let name = logical_id(&document.id);
        let resource = match document.kind {
            // It goes with the role.
            Kind::TrustPolicy => continue,
            Kind::IdentityPolicy => {
                let Some(arn) = Arn::parse(&document.on, "iam") else {
                    continue;
                };
                match of(Kind::TrustPolicy, &document.on) {
                    Some(trusted) => role(&arn, document, &trusted, trust),
                    None => managed_policy(&arn, document),
                }
            }
            Kind::BucketPolicy => {
                let bucket = document.on.rsplit(':').next().unwrap_or_default();
                json!({
                    "Type": "AWS::S3::BucketPolicy",
                    "Properties": {"Bucket": bucket, "PolicyDocument": document.document},
                })
            }
            Kind::KeyPolicy | Kind::OwnershipControls | Kind::Acl => {
                left_out.push(document.id.clone());
                continue;
            }
        };
        resources.insert(name, resource);
    }
    let template = json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": format!(
            "What s3haul needs in account {account}. A bucket policy here is the whole of the bucket's: \
             where there is another, merge them first."
        ),
        "Resources": resources,
    });
    Template { template, left_out }
}

fn role(arn: &Arn, permissions: &Document, trusted: &Body, trust: Option<&Trust>) -> Value {
    let path = arn
        .resource
        .trim_start_matches("role")
        .trim_end_matches(name_of(arn));
    let mut properties = json!({
        "RoleName": name_of(arn),
        "Path": path,
        "AssumeRolePolicyDocument": trusted,
        "Policies": [{"PolicyName": "s3haul", "PolicyDocument": permissions.document}],
    });
    // IAM takes no less than an hour.
    let longest = trust.map_or(0, |trust| trust.session_seconds);
    if longest > 3600 {
        properties["MaxSessionDuration"] = longest.into();
    }
    json!({"Type": "AWS::IAM::Role", "Properties": properties})
}

/// A policy for a role or user that is there already.
fn managed_policy(arn: &Arn, document: &Document) -> Value {
    let whose = if arn.resource.starts_with("role/") {
        "Roles"
    } else {
        "Users"
    };
    json!({
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {
            "Description": format!("s3haul: {}", document.why),
            whose: [name_of(arn)],
            "PolicyDocument": document.document,
        },
    })
}

/// Letters and digits.
fn logical_id(id: &str) -> String {
    let words = id.split(|letter: char| !letter.is_ascii_alphanumeric());
    let mut name = String::new();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.extend(letters);
    }
    name
}
