//! Who may do what, by `actions.csv` and the policies of both sides.

use std::sync::Arc;

use hyper::HeaderMap;
use s3s::S3Error;

use crate::access::header;
use crate::copy_source::CopySource;
use crate::error::{access_denied, not_implemented};
use crate::exchange::Exchange;
use crate::iam::actions::Fact;
use crate::iam::{
    AccountsFile, ActionRow, Context, Decision, Request, Resource, Side, actions_for, bucket_arn,
    evaluate, evaluate_key, object_arn,
};
use crate::identity::Identity;
use crate::operation::Operation;
use crate::s3::settings::encryption;
use crate::store::acl::lets;
use crate::store::bucket::{Bucket, Found, ObjectOwnership};
use crate::store::object::{Encryption, Object, VersionId};
use crate::store::upload::parse_upload_id;

/// What of an object the caller may see in the answer to a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) tag_count: bool,
    pub(crate) retention: bool,
    pub(crate) legal_hold: bool,
}

/// The buckets of a request.
pub(crate) struct Sides {
    pub(crate) bucket: Option<Arc<Bucket>>,
    pub(crate) source: Option<(Arc<Bucket>, CopySource)>,
}

/// Asks the policies of both sides for each action that the request is.
pub(crate) fn authorize(
    headers: &HeaderMap,
    exchange: &Exchange,
    identity: &Identity,
    sides: &Sides,
    accounts: &AccountsFile,
) -> Result<Shown, S3Error> {
    let mut shown = Shown::default();
    // Each key of these is asked for by the operation.
    if exchange.operation == Operation::DeleteObjects {
        return Ok(shown);
    }
    let subject = Subject::of(headers, exchange, sides);
    let facts = |token: &str| subject.fact(token, headers);
    let rows = actions_for(exchange.operation.as_str(), &facts);
    if rows.is_empty() {
        return Err(not_implemented("Operation", exchange.operation.as_str()));
    }
    let context = context(headers, exchange, identity);
    for row in rows {
        let of_object = subject
            .owned_object()
            .filter(|_| row.resource == Resource::Object);
        let allowed = match (row.side, &sides.source, &sides.bucket) {
            (side, _, _) if row.resource == Resource::Key => allow_key(
                identity,
                row,
                accounts,
                &subject.encrypted(side, exchange, sides),
            ),
            (Side::Source, Some((bucket, source)), _) => {
                allow_read(identity, row, bucket, &source.key, &context, of_object)
            }
            (Side::Bucket, _, Some(bucket)) => {
                allow_read(identity, row, bucket, &exchange.key, &context, of_object)
            }
            (_, _, Some(bucket)) => allow(identity, row, bucket, &exchange.key, &context),
            _ => allow_unowned(identity, row, exchange, &context),
        };
        match row
            .when
            .iter()
            .find(|Fact { token, .. }| token.starts_with("shows-"))
        {
            None => allowed?,
            Some(Fact {
                token: "shows-tag-count",
                ..
            }) => shown.tag_count = allowed.is_ok(),
            Some(Fact {
                token: "shows-retention",
                ..
            }) => shown.retention = allowed.is_ok(),
            Some(_) => shown.legal_hold = allowed.is_ok(),
        }
    }
    Ok(shown)
}

/// The object that a request reads.
enum ReadObject {
    /// It reads none.
    Nothing,
    Missing,
    Object(Arc<Object>),
}

/// What the table's tokens are about.
struct Subject {
    has_version_id: bool,
    object: ReadObject,
    /// How what is written will be encrypted.
    written: Encryption,
    copies_tags: bool,
    copies_annotations: bool,
}

impl Subject {
    fn of(headers: &HeaderMap, exchange: &Exchange, sides: &Sides) -> Self {
        let (bucket, key, version_id) = match (&sides.source, &sides.bucket) {
            (Some((bucket, source)), _) => (
                Some(bucket),
                source.key.as_str(),
                source.version_id.as_deref(),
            ),
            (None, bucket) => (
                bucket.as_ref(),
                exchange.key.as_str(),
                exchange.parameter("versionId"),
            ),
        };
        let reads = matches!(
            exchange.operation,
            Operation::CopyObject
                | Operation::UploadPartCopy
                | Operation::HeadObject
                | Operation::GetObject
                | Operation::GetObjectAttributes
                | Operation::GetObjectAcl
                | Operation::GetObjectTagging
                | Operation::GetObjectAnnotation
                | Operation::ListObjectAnnotations
                | Operation::RestoreObject
        );
        let object = match bucket.filter(|_| reads) {
            None => ReadObject::Nothing,
            Some(bucket) => {
                let id = version_id.map(|id| VersionId::parse(id).unwrap_or(VersionId(u64::MAX)));
                match bucket.find(key, id) {
                    Found::Object(found) => ReadObject::Object(found.object),
                    _ => ReadObject::Missing,
                }
            }
        };
        let copies = exchange.operation == Operation::CopyObject;
        let replaces_tags = header(headers, "x-amz-tagging-directive")
            .is_some_and(|value| value.eq_ignore_ascii_case("REPLACE"));
        Self {
            has_version_id: version_id.is_some(),
            object,
            written: written(headers, exchange, sides),
            copies_tags: copies && !replaces_tags,
            copies_annotations: copies
                && header(headers, "x-amz-object-annotation-directive") != Some("EXCLUDE"),
        }
    }

    fn owned_object(&self) -> Option<&Object> {
        match &self.object {
            ReadObject::Object(object) => Some(object),
            ReadObject::Nothing | ReadObject::Missing => None,
        }
    }

    /// What is under the KMS key of a side.
    fn encrypted<'a>(
        &'a self,
        side: Side,
        exchange: &'a Exchange,
        sides: &'a Sides,
    ) -> Encrypted<'a> {
        let (bucket, key) = match (side, &sides.source) {
            (Side::Source, Some((_, source))) => (source.bucket.as_str(), source.key.as_str()),
            _ => (exchange.bucket.as_str(), exchange.key.as_str()),
        };
        let encryption = match (side, self.owned_object()) {
            (Side::Source | Side::Bucket, Some(object)) => &object.settings.encryption,
            _ => &self.written,
        };
        Encrypted {
            bucket,
            key,
            encryption,
        }
    }

    fn fact(&self, token: &str, headers: &HeaderMap) -> bool {
        let object = self.owned_object();
        match token {
            "versionId" => self.has_version_id,
            "source-kms" | "object-kms" => {
                object.is_some_and(|object| object.settings.encryption.kms.is_some())
            }
            "destination-kms" => self.written.kms.is_some(),
            "missing-object" => matches!(self.object, ReadObject::Missing),
            "source-tagged" => {
                self.copies_tags && object.is_some_and(|object| !object.tags.is_empty())
            }
            "source-annotated" => {
                self.copies_annotations
                    && object.is_some_and(|object| !object.annotations.is_empty())
            }
            "shows-tag-count" => object.is_some_and(|object| !object.tags.is_empty()),
            "shows-retention" => {
                object.is_some_and(|object| object.settings.lock.retention.is_some())
            }
            "shows-legal-hold" => object.is_some_and(|object| object.settings.lock.legal_hold),
            "x-amz-grant-*" => headers
                .keys()
                .any(|name| name.as_str().starts_with("x-amz-grant-")),
            header_name => header(headers, &header_name.to_ascii_lowercase()).is_some(),
        }
    }
}

/// How a write's object will be encrypted: as its headers or its upload have it. Headers that contradict each other are
/// the operation's to refuse.
fn written(headers: &HeaderMap, exchange: &Exchange, sides: &Sides) -> Encryption {
    let Some(bucket) = &sides.bucket else {
        return Encryption::default();
    };
    match exchange.operation {
        Operation::CopyObject | Operation::PutObject | Operation::CreateMultipartUpload => {
            encryption(headers, &bucket.settings()).unwrap_or_default()
        }
        Operation::UploadPart
        | Operation::UploadPartCopy
        | Operation::CompleteMultipartUpload
        | Operation::ListParts => exchange
            .parameter("uploadId")
            .and_then(parse_upload_id)
            .and_then(|number| {
                let place = (exchange.key.as_str().into(), number);
                let state = bucket.lock();
                let upload = state.uploads.get(&place)?;
                Some(upload.settings.encryption.clone())
            })
            .unwrap_or_default(),
        _ => Encryption::default(),
    }
}

/// Condition keys of a request, those aside that follow from principal and resource.
fn context(headers: &HeaderMap, exchange: &Exchange, identity: &Identity) -> Context {
    let mut context = Context::new()
        .with("aws:SourceIp", "127.0.0.1")
        .with("aws:SecureTransport", "false")
        .with("s3:signatureversion", "AWS4-HMAC-SHA256");
    if let Some(session) = &identity.session {
        context.insert("aws:MultiFactorAuthPresent", session.mfa.to_string());
    }
    for (name, value) in headers {
        let name = name.as_str();
        let is_secret = name == "x-amz-security-token" || name.ends_with("-customer-key");
        if (name.starts_with("x-amz-") && !is_secret || name.starts_with("if-"))
            && let Ok(value) = value.to_str()
        {
            context.insert(&format!("s3:{name}"), value);
        }
    }
    for (parameter, key) in [
        ("prefix", "s3:prefix"),
        ("delimiter", "s3:delimiter"),
        ("max-keys", "s3:max-keys"),
        ("versionId", "s3:VersionId"),
    ] {
        if let Some(value) = exchange.parameter(parameter) {
            context.insert(key, value);
        }
    }
    if let Some(tagging) = header(headers, "x-amz-tagging") {
        let tags = crate::exchange::parse_query(tagging);
        for (key, value) in &tags {
            context.insert(&format!("s3:RequestObjectTag/{key}"), value.as_str());
        }
        context.insert_all(
            "s3:RequestObjectTagKeys",
            tags.into_iter().map(|(key, _)| key).collect(),
        );
    }
    context
}

fn allow(
    identity: &Identity,
    row: &ActionRow,
    bucket: &Bucket,
    key: &str,
    context: &Context,
) -> Result<(), S3Error> {
    let policy = bucket.policy();
    let decision = evaluate(&Request {
        principal: &identity.principal,
        action: row.action,
        resource: &row.resource.arn(&bucket.name, key, ""),
        resource_account: &bucket.account,
        context,
        identity_policies: &identity.policies,
        session_policy: identity.session_policy(),
        resource_policy: policy.as_deref(),
    });
    match decision {
        Decision::Allowed => Ok(()),
        // Between accounts S3 says no more.
        Decision::Denied { reason } if identity.account() == &*bucket.account => {
            Err(access_denied(reason))
        }
        Decision::Denied { .. } => Err(access_denied("Access Denied")),
    }
}

/// Asks for an action on an object that a request reads.
///
/// Where ACLs count, a bucket's policy can let nobody in to what another account owns there: the owner can, and the
/// ACL. It can still refuse. `https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html`
fn allow_read(
    identity: &Identity,
    row: &ActionRow,
    bucket: &Bucket,
    key: &str,
    context: &Context,
    object: Option<&Object>,
) -> Result<(), S3Error> {
    let has_acls = bucket.settings().effective_ownership() != ObjectOwnership::BucketOwnerEnforced;
    let Some(object) = object.filter(|object| has_acls && *object.owner != *bucket.account) else {
        return allow(identity, row, bucket, key, context);
    };
    let account = identity.account();
    if !lets(object, &bucket.account, account, row.action) {
        return Err(access_denied("Access Denied"));
    }
    let policy = bucket.policy();
    let own = Request {
        principal: &identity.principal,
        action: row.action,
        resource: &row.resource.arn(&bucket.name, key, ""),
        resource_account: account,
        context,
        identity_policies: &identity.policies,
        session_policy: identity.session_policy(),
        resource_policy: None,
    };
    // What the caller's own policies allow, the bucket's can only take away.
    let with_bucket = Request {
        resource_policy: policy.as_deref(),
        ..own
    };
    for request in [own, with_bucket] {
        if !evaluate(&request).is_allowed() {
            return Err(access_denied("Access Denied"));
        }
    }
    Ok(())
}

/// An object, there or to be, and how it is encrypted.
struct Encrypted<'a> {
    bucket: &'a str,
    key: &'a str,
    encryption: &'a Encryption,
}

/// Asks KMS, as S3 does in the caller's name, for the key of an object. What KMS answers S3 passes on, to any account.
fn allow_key(
    identity: &Identity,
    row: &ActionRow,
    accounts: &AccountsFile,
    encrypted: &Encrypted<'_>,
) -> Result<(), S3Error> {
    let Encrypted {
        bucket,
        key,
        encryption,
    } = encrypted;
    let arn = encryption.kms_key_id.as_deref().unwrap_or_default();
    let Some((account, kms_key)) = accounts.key_by_arn(arn) else {
        return Ok(());
    };
    let region = arn.split(':').nth(3).unwrap_or_default();
    let about = if encryption.bucket_key {
        bucket_arn(bucket)
    } else {
        object_arn(bucket, key)
    };
    let context = Context::new()
        .with("aws:SecureTransport", "true")
        .with("kms:CallerAccount", identity.account())
        .with("kms:ViaService", format!("s3.{region}.amazonaws.com"))
        .with("kms:EncryptionContext:aws:s3:arn", about);
    let decision = evaluate_key(&Request {
        principal: &identity.principal,
        action: row.action,
        resource: &row.resource.arn(bucket, key, arn),
        resource_account: &account.id,
        context: &context,
        identity_policies: &identity.policies,
        session_policy: identity.session_policy(),
        resource_policy: Some(&kms_key.policy),
    });
    match decision {
        Decision::Allowed => Ok(()),
        Decision::Denied { reason } => Err(access_denied(reason)),
    }
}

/// Asks for an action on what nobody owns yet: the caller's account will.
fn allow_unowned(
    identity: &Identity,
    row: &ActionRow,
    exchange: &Exchange,
    context: &Context,
) -> Result<(), S3Error> {
    let decision = evaluate(&Request {
        principal: &identity.principal,
        action: row.action,
        resource: &row.resource.arn(&exchange.bucket, &exchange.key, ""),
        resource_account: identity.account(),
        context,
        identity_policies: &identity.policies,
        session_policy: identity.session_policy(),
        resource_policy: None,
    });
    match decision {
        Decision::Allowed => Ok(()),
        Decision::Denied { reason } => Err(access_denied(reason)),
    }
}

/// Whether the caller may delete a key or a version of it, of several in one request.
pub(crate) fn authorize_delete(
    exchange: &Exchange,
    headers: &HeaderMap,
    bucket: &Bucket,
    key: &str,
    version_id: Option<&str>,
) -> Result<(), S3Error> {
    let Some(identity) = &exchange.identity else {
        return Err(access_denied("Access Denied"));
    };
    let facts = |token: &str| match token {
        "versionId" => version_id.is_some(),
        header => headers.contains_key(header),
    };
    let context = context(headers, exchange, identity);
    for row in actions_for(Operation::DeleteObject.as_str(), &facts) {
        allow(identity, row, bucket, key, &context)?;
    }
    Ok(())
}
