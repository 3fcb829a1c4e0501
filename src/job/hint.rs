//! What to do about an error of S3's, for the row that it fails.

use s3haul_s3::S3Error;

/// What to do about an error, where that is known.
pub(super) fn hint(error: &S3Error) -> Option<String> {
    let code = error.report_code();
    if code == "AccessDenied" {
        if let Some(action) = of_key(&error.message) {
            return Some(format!(
                "who copies (the role, if there is one) needs {action} on the KMS key, allowed by its own \
                 policy and by the key's; a bucket's policy cannot allow it"
            ));
        }
        let needed = needed(error.operation)?;
        return Some(format!(
            "who copies (the role, if there is one) needs {needed}"
        ));
    }
    let hint = match (code, error.operation) {
        ("InvalidArgument", "RestoreObject") => {
            "expedited is not for Deep Archive: give --restore-tier standard or bulk in a new job"
        }
        ("BadRequest", "HeadObject") => {
            "an object under a customer's key takes --source-sse-c-key-file with that key, and its copy \
             --sse-c-key-file; any other takes none"
        }
        ("NotImplemented", "CopyObject") => {
            "a destination whose policy enforces conditional writes refuses every CopyObject, and S3 takes \
             --overwrite never there of copies in parts alone: lower --multipart-threshold for objects over \
             5 MiB, or have the policy except this role; a store like S3 may not know a setting that was \
             asked for"
        }
        ("RequestNotBuilt", _) => {
            "a key of white space alone cannot be sent: give --to a prefix for it; of any other key please \
             report it"
        }
        ("GlacierExpeditedRetrievalNotAvailable", _) => {
            "S3 has no room for expedited retrievals now: run resume later, or give --restore-tier \
             standard in a new job"
        }
        ("AccessControlListNotSupported", _) => {
            "the destination bucket has ACLs disabled: give --acl bucket-owner-full-control or \
             --acl none, and no --grant"
        }
        ("InvalidObjectState" | "ObjectNotInActiveTierError", _) => {
            "the object is archived: restore it first, then run resume; in a new job --archived restore \
             asks for it, and --archived skip leaves such objects out"
        }
        (
            "NoSuchKey" | "NoSuchVersion" | "NotFound",
            "CopyObject"
            | "UploadPartCopy"
            | "HeadObject"
            | "GetObjectTagging"
            | "ListObjectAnnotations",
        ) => "the source has no such object any more: nothing was copied",
        ("RequestTimedOut", _) => {
            "give --attempt-timeout a longer time if S3 is slow for this object"
        }
        ("OutOfSockets", _) => "raise the limit of open files (ulimit -n), or lower --concurrency",
        ("SlowDown" | "ServiceUnavailable", _) => {
            "S3 throttled this row to its end: run resume, with a lower --max-rps if it happens again"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The action of KMS that S3 says is lacking. Nothing else tells a key from a bucket.
fn of_key(message: &str) -> Option<&str> {
    let (_, said) = message.split_once("is not authorized to perform: ")?;
    said.split(' ')
        .next()
        .filter(|action| action.starts_with("kms:"))
}

/// The permissions that a request takes, where it was refused, and what else may refuse it.
fn needed(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "CopyObject" | "UploadPartCopy" => {
            "s3:GetObject, s3:GetObjectTagging and, of an object with annotations, \
             s3:GetObjectAnnotation (with a version: s3:GetObjectVersion, s3:GetObjectVersionTagging, \
             s3:GetObjectVersionAnnotation) on the source, allowed by its own policy and by the source \
             bucket's, and s3:PutObject, s3:PutObjectTagging, s3:PutObjectAnnotation and s3:PutObjectAcl \
             on the destination; without s3:ListBucket on the source a missing object answers 403 too. \
             The source bucket's policy does not speak for objects that another account owns there: its \
             owner sets Object Ownership to BucketOwnerEnforced, or copies them onto themselves; and a \
             destination that enforces conditional writes takes copies in parts with --overwrite never \
             alone"
        }
        "HeadObject" => {
            "s3:GetObject on this object, under SSE-KMS also kms:Decrypt on its key, and s3:ListBucket on \
             its bucket: without it a missing object answers 403 too. A bucket's policy does not speak for objects that another account owns \
             there: its owner sets Object Ownership to BucketOwnerEnforced, or copies them onto themselves"
        }
        "GetObjectTagging" => {
            "s3:GetObjectTagging (with a version: s3:GetObjectVersionTagging) on the source, allowed by \
             its own policy and by the source bucket's; --tags none copies without tags"
        }
        "ListObjectAnnotations" => {
            "s3:ListObjectAnnotations on the source, allowed by its own policy and by the source \
             bucket's, to copy objects in parts; --annotations exclude copies without annotations"
        }
        "GetObjectAnnotation" => {
            "s3:GetObjectAnnotation (with a version: s3:GetObjectVersionAnnotation) on the source, \
             allowed by its own policy and by the source bucket's; --annotations exclude copies without \
             annotations"
        }
        "PutObjectAnnotation" => {
            "s3:PutObjectAnnotation (with a version: s3:PutObjectVersionAnnotation) on the destination; \
             --annotations exclude copies without annotations"
        }
        "PutObjectTagging" => {
            "s3:PutObjectTagging (with a version: s3:PutObjectVersionTagging) on the destination"
        }
        "CreateMultipartUpload" | "CompleteMultipartUpload" => {
            "s3:PutObject, s3:PutObjectTagging for tagged objects and s3:PutObjectAcl (unless --acl none) \
             on the destination, for locks s3:PutObjectRetention and s3:PutObjectLegalHold too; one that \
             enforces conditional writes takes --overwrite never alone"
        }
        "GetObjectAttributes" => {
            "s3:GetObject and s3:GetObjectAttributes (with a version: s3:GetObjectVersion, \
             s3:GetObjectVersionAttributes) on this object"
        }
        "GetObjectAcl" => "s3:GetObjectAcl (with a version: s3:GetObjectVersionAcl) on this object",
        "RestoreObject" => {
            "s3:RestoreObject on the source, as the object is archived, allowed by its own policy and by \
             the source bucket's"
        }
        "DeleteObject" => {
            "s3:DeleteObject on the destination to add delete markers: it removes no version, which would \
             take s3:DeleteObjectVersion"
        }
        _ => return None,
    })
}
