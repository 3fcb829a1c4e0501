//! A write that leaves nothing: CreateMultipartUpload with exactly the job's headers, then its abort. No object,
//! no event, no version, no lock comes of it.

use bytes::Bytes;
use futures::future::join_all;
use md5::{Digest, Md5};
use s3haul_s3::{
    CreateMultipartUpload, Head, HeadObject, HeaderPair, Operation, PutBody, PutObject, S3Client,
    S3Error,
};
use tokio_util::sync::CancellationToken;

use super::denial::{Denial, Needed, explain, statement};
use super::encryption::Kms;
use super::finding::{
    DESTINATION_ABORT, DESTINATION_READ, DESTINATION_TAGS, DESTINATION_UPLOADS, DESTINATION_WRITE,
    Finding, Outcome, PROBE_OBJECT, Topic,
};
use super::source::Example;
use super::{Asker, Known, probe_key};
use crate::job::copy::Overwrite;
use crate::job::copy::settings::{StorageClass, Verify};
use crate::job::manifest::key::Shown;

/// What an object is made of that `--probe-object` puts.
const CONTENT: &[u8] = b"s3haul check put this object, and could not delete it\n";

pub(super) struct Probe<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) client: &'a S3Client,
    /// What a row's object looks like.
    pub(super) sample: Option<&'a Example>,
    pub(super) kms: Kms,
    pub(super) object: bool,
}

/// An upload of ours.
struct Upload {
    key: String,
    upload_id: String,
}

/// What of the headers takes a permission of its own.
struct Group {
    name: &'static str,
    action: &'static str,
    of_kms: bool,
    begins: &'static [&'static str],
}

const GROUPS: [Group; 5] = [
    Group {
        name: "its ACL",
        action: "s3:PutObjectAcl",
        of_kms: false,
        begins: &["x-amz-acl", "x-amz-grant-"],
    },
    Group {
        name: "its tags",
        action: "s3:PutObjectTagging",
        of_kms: false,
        begins: &["x-amz-tagging"],
    },
    Group {
        name: "its retention",
        action: "s3:PutObjectRetention",
        of_kms: false,
        begins: &["x-amz-object-lock-mode", "x-amz-object-lock-retain"],
    },
    Group {
        name: "its legal hold",
        action: "s3:PutObjectLegalHold",
        of_kms: false,
        begins: &["x-amz-object-lock-legal-hold"],
    },
    Group {
        name: "SSE-KMS",
        action: "kms:GenerateDataKey",
        of_kms: true,
        begins: &[
            "x-amz-server-side-encryption",
            "x-amz-server-side-encryption-aws-kms",
        ],
    },
];

impl Group {
    fn has(&self, (name, _): &HeaderPair) -> bool {
        // The headers of SSE-C begin alike, and are no KMS.
        let customer = name.contains("customer");
        !customer && self.begins.iter().any(|begin| name.starts_with(begin))
    }
}

impl Probe<'_> {
    /// Writes, as far as `stop` lets it begin; what was begun is undone either way.
    pub(super) async fn run(&self, stop: &CancellationToken) -> Vec<Finding> {
        let key = probe_key(&self.known.job.read.rename.prefix);
        let headers = self.headers();
        let mut findings = match self.create(&key, &headers).await {
            Ok(upload) => self.created(&upload).await,
            Err(error) => self.refused(&key, &headers, error).await,
        };
        let written = findings
            .iter()
            .any(|f| f.id == DESTINATION_WRITE.id && f.outcome == Outcome::Pass);
        if written && !stop.is_cancelled() {
            findings.extend(self.tags(&headers).await);
        }
        if self.object && written && !stop.is_cancelled() {
            findings.push(self.put(&headers).await);
        } else if self.object {
            let what = "no object was put, as its upload was refused already";
            findings.push(Finding::new(&PROBE_OBJECT, Outcome::Unknown, what));
        }
        findings
    }

    /// Those of a copy in parts of the sample; of an object without anything, if none could be read.
    fn headers(&self) -> Vec<HeaderPair> {
        let known = self.known;
        let nothing = Head {
            bytes: 0,
            e_tag: String::new(),
            version_id: None,
            last_modified: None,
            headers: Vec::new(),
            date: None,
        };
        let head = self.sample.map_or(&nothing, |sample| &sample.head);
        let tags = known.headers.new_tags();
        let tags = tags.or(self.sample.map(|sample| sample.tags.as_slice()));
        let preserves = known.job.copy.object.storage_class == StorageClass::Preserve;
        let class = self.sample.filter(|_| preserves).and_then(|sample| {
            let listed = sample.row.facts.storage_class.as_deref();
            listed.or(sample.head.header("x-amz-storage-class"))
        });
        known.headers.create(head, tags.unwrap_or_default(), class)
    }

    fn bucket(&self) -> &str {
        &self.known.job.destination_bucket
    }

    fn ask(&self) -> &Asker {
        self.known.ask
    }

    async fn create(&self, key: &str, headers: &[HeaderPair]) -> Result<Upload, S3Error> {
        let bucket = self.bucket();
        let create = || {
            self.client.create_multipart_upload(CreateMultipartUpload {
                bucket,
                key,
                headers,
            })
        };
        let operation = Operation::CreateMultipartUpload;
        let created = self.ask().write(operation, create).await?;
        Ok(Upload {
            key: key.to_owned(),
            upload_id: created.upload_id,
        })
    }

    async fn abort(&self, upload: &Upload) -> Result<(), S3Error> {
        let Upload { key, upload_id } = upload;
        let headers = self.known.headers.destination();
        let abort = || {
            self.client
                .abort_multipart_upload(self.bucket(), key, upload_id, headers)
        };
        let aborted = self.ask().ask(Operation::AbortMultipartUpload, abort).await;
        match aborted {
            // An answer was lost, and the abort was sent again.
            Err(error) if error.report_code() == "NoSuchUpload" => Ok(()),
            aborted => aborted,
        }
    }

    fn resource(&self) -> String {
        let prefix = &self.known.job.read.rename.prefix;
        self.known.who.objects_arn(self.bucket(), prefix)
    }

    /// Says what a refusal takes.
    fn explain(
        &self,
        finding: Finding,
        error: &S3Error,
        actions: &[&str],
        resource: &str,
    ) -> Finding {
        let needed = Needed {
            actions,
            resource,
            bucket: self.bucket(),
            account: self.known.destination_account.as_deref(),
            kms_key: self.kms.key(),
        };
        explain(finding, error, &self.known.who, &needed)
    }

    /// The upload is there: what is asked of it besides, then it goes.
    async fn created(&self, upload: &Upload) -> Vec<Finding> {
        let (client, bucket) = (self.client, self.bucket());
        let (key, id) = (upload.key.as_str(), upload.upload_id.as_str());
        let (plain, seen) = (
            self.known.headers.destination(),
            self.known.headers.destination_object(),
        );
        let parts = || client.list_parts(bucket, key, id, &seen);
        let uploads = || client.list_multipart_uploads_of(bucket, key, plain);
        let head = HeadObject {
            bucket,
            key,
            version_id: None,
            part_number: None,
            headers: &seen,
        };
        let head = || client.head_object(head);
        let (parts, uploads, head) = tokio::join!(
            self.ask().ask(Operation::ListParts, parts),
            self.ask().ask(Operation::ListMultipartUploads, uploads),
            self.ask().ask(Operation::HeadObject, head)
        );
        let aborted = self.abort(upload).await;
        let what = "an upload with the job's headers was begun under the destination prefix";
        let place = format!("s3://{bucket}/{}", Shown(key));
        let mut findings = vec![
            Finding::new(&DESTINATION_WRITE, Outcome::Pass, what)
                .evidence(format!("CreateMultipartUpload: 200, {place}")),
            self.aborted(upload, aborted),
        ];
        findings.push(
            self.listed(
                parts
                    .err()
                    .map(|error| (error, "s3:ListMultipartUploadParts", true)),
                uploads
                    .err()
                    .map(|error| (error, "s3:ListBucketMultipartUploads", false)),
            ),
        );
        findings.push(self.looked(head.err()));
        findings
    }

    fn aborted(&self, upload: &Upload, aborted: Result<(), S3Error>) -> Finding {
        let Err(error) = aborted else {
            let what = "the upload was aborted, and nothing of it is left";
            return Finding::new(&DESTINATION_ABORT, Outcome::Pass, what)
                .evidence("AbortMultipartUpload: 204");
        };
        let (bucket, key, id) = (self.bucket(), Shown(&upload.key), &upload.upload_id);
        // Also said where a signal leaves no finding of it.
        tracing::warn!(bucket, %key, upload_id = id, "an upload without parts is left");
        let what = format!(
            "the upload that was begun cannot be aborted, and is left without parts: key {key}, upload ID {id}"
        );
        let outcome = match self.known.in_parts {
            Some(false) => Outcome::Warning,
            _ => Outcome::Likely,
        };
        let finding = Finding::new(&DESTINATION_ABORT, outcome, what);
        let undo = format!(
            "; remove it with: aws s3api abort-multipart-upload --bucket {bucket} --key {key} --upload-id {id}"
        );
        if error.status != Some(403) {
            return finding
                .answered(&error)
                .remedy(format!("S3 did not take it{undo}"));
        }
        let actions = ["s3:AbortMultipartUpload"];
        let finding = self.explain(finding, &error, &actions, &self.resource());
        let remedy = finding.remedy.clone().unwrap_or_default();
        finding.remedy(format!("{remedy}{undo}"))
    }

    fn listed(
        &self,
        parts: Option<(S3Error, &str, bool)>,
        uploads: Option<(S3Error, &str, bool)>,
    ) -> Finding {
        let topic = &DESTINATION_UPLOADS;
        let Some((error, action, of_object)) = parts.or(uploads) else {
            let what = "uploads and their parts can be listed, which settles what is in doubt";
            return Finding::new(topic, Outcome::Pass, what);
        };
        if error.status != Some(403) {
            let what = "it cannot be told whether uploads and their parts can be listed";
            return Finding::new(topic, Outcome::Unknown, what).answered(&error);
        }
        let outcome = match self.known.for_parts() {
            Outcome::Fail => Outcome::Likely,
            _ => Outcome::Warning,
        };
        let what = "uploads or their parts may not be listed: a copy in parts whose answer is lost cannot be \
                    settled, nor gone on with in a resume";
        let resource = if of_object {
            self.resource()
        } else {
            self.known.who.bucket_arn(self.bucket())
        };
        self.explain(
            Finding::new(topic, outcome, what),
            &error,
            &[action],
            &resource,
        )
    }

    /// A HEAD of a key that is not there: 404 takes s3:GetObject and s3:ListBucket.
    fn looked(&self, error: Option<S3Error>) -> Finding {
        let topic = &DESTINATION_READ;
        let copy = &self.known.job.copy;
        let Some(error) = error.filter(|error| error.status != Some(404)) else {
            let what = "copies can be looked at, which settles what is in doubt";
            return Finding::new(topic, Outcome::Pass, what)
                .evidence("HeadObject: 404 of a key that is not there");
        };
        if error.status != Some(403) {
            let what = "it cannot be told whether copies can be looked at";
            return Finding::new(topic, Outcome::Unknown, what).answered(&error);
        }
        // Without s3:ListBucket a missing object answers 403, and one that is there does not.
        let looks = copy.verify != Verify::Response || copy.overwrite == Overwrite::IfDifferent;
        let outcome = if looks {
            Outcome::Likely
        } else {
            Outcome::Warning
        };
        let what = "a key that is not there answers 403 there, as a copy that may not be looked at does: what is in \
                    doubt may not be settled";
        let finding = Finding::new(topic, outcome, what);
        let resource = self.resource();
        let finding = self.explain(finding, &error, &["s3:GetObject"], &resource);
        let remedy = finding.remedy.clone().unwrap_or_default();
        let bucket = self.known.who.bucket_arn(self.bucket());
        finding.remedy(format!("{remedy}; or it lacks s3:ListBucket on {bucket}"))
    }

    /// Tags that a row may have, where the sample had none to show.
    async fn tags(&self, headers: &[HeaderPair]) -> Option<Finding> {
        let shown = headers.iter().any(|(name, _)| name == "x-amz-tagging");
        if shown || self.known.headers.new_tags().is_some() {
            return None;
        }
        let topic = &DESTINATION_TAGS;
        let tag = [("x-amz-tagging".into(), "s3haul-check=1".to_owned())];
        let headers: Vec<_> = headers.iter().cloned().chain(tag).collect();
        let key = probe_key(&self.known.job.read.rename.prefix);
        let error = match self.create(&key, &headers).await {
            Ok(upload) => {
                return Some(match self.abort(&upload).await {
                    Ok(()) => {
                        let what = "objects with tags can be written";
                        Finding::new(topic, Outcome::Pass, what)
                    }
                    refused => self.aborted(&upload, refused),
                });
            }
            Err(error) => error,
        };
        self.settle(&key, &error).await;
        if error.status != Some(403) {
            let what = "it cannot be told whether objects with tags can be written";
            return Some(Finding::new(topic, Outcome::Unknown, what).answered(&error));
        }
        let what = "objects with tags may not be written, as others may: rows whose objects have tags fail";
        let finding = Finding::new(topic, Outcome::Likely, what);
        let resource = self.resource();
        let finding = self.explain(finding, &error, &["s3:PutObjectTagging"], &resource);
        let remedy = finding.remedy.clone().unwrap_or_default();
        Some(finding.remedy(format!("{remedy}; or --tags none copies without tags")))
    }

    /// What the job's request was refused for, by which others pass.
    async fn refused(&self, key: &str, headers: &[HeaderPair], error: S3Error) -> Vec<Finding> {
        let mut left = self.settle(key, &error).await;
        let topic = &DESTINATION_WRITE;
        let what = "an upload with the job's headers is refused under the destination prefix";
        let finding = Finding::new(topic, self.outcome(&error), what);
        if error.status != Some(403) {
            let finding = finding.answered(&error);
            left.insert(
                0,
                match advice(&error) {
                    Some(advice) => finding.remedy(advice),
                    None => finding,
                },
            );
            return left;
        }
        let resource = self.resource();
        if Denial::of(&error.message).is_some() {
            let finding = self.explain(finding, &error, &["s3:PutObject"], &resource);
            left.insert(0, finding);
            return left;
        }
        let (passed, more) = self.variants(headers).await;
        left.extend(more);
        let kms = passed.iter().any(|group| group.of_kms);
        let actions: Vec<_> = match passed[..] {
            [] => vec!["s3:PutObject"],
            _ => passed.iter().map(|group| group.action).collect(),
        };
        let finding = match (kms, self.kms.key()) {
            (true, key) => finding
                .granted_by(statement(
                    None,
                    &["kms:GenerateDataKey", "kms:Decrypt"],
                    key.unwrap_or("*"),
                ))
                .in_account(self.known.who.account.as_deref())
                .remedy(
                    "likely: the key's policy or that of who copies does not allow kms:GenerateDataKey; across \
                     accounts both must",
                )
                .answered(&error),
            _ => self.explain(finding, &error, &actions, &resource),
        };
        let names: Vec<_> = passed.iter().map(|group| group.name).collect();
        let finding = match names[..] {
            [] => finding,
            _ => finding.evidence(format!("{error}; 200 without {}", names.join(" and "))),
        };
        left.insert(0, finding);
        left
    }

    /// A refusal is the job's, too. What only uploads send matters as much as uploads do.
    fn outcome(&self, error: &S3Error) -> Outcome {
        let code = error.report_code();
        let of_settings = matches!(
            code,
            "AccessControlListNotSupported"
                | "InvalidStorageClass"
                | "KeyTooLongError"
                | "NoSuchBucket"
        ) || code.starts_with("KMS.");
        match error.status {
            Some(403) => Outcome::Fail,
            Some(400..=499) if of_settings => Outcome::Fail,
            Some(400..=499 | 501) => match self.known.for_parts() {
                Outcome::Fail => Outcome::Fail,
                _ => Outcome::Likely,
            },
            _ => Outcome::Unknown,
        }
    }

    /// The same without what takes a permission of its own: one after the other, then without all. Gives those
    /// that it passes without.
    async fn variants(&self, headers: &[HeaderPair]) -> (Vec<&'static Group>, Vec<Finding>) {
        let by_default = self.kms != Kms::None;
        let there = |group: &&Group| {
            group.of_kms && by_default || headers.iter().any(|pair| group.has(pair))
        };
        let groups: Vec<_> = GROUPS.iter().filter(there).collect();
        let mut tries: Vec<_> = groups.iter().map(|group| vec![*group]).collect();
        if groups.len() > 1 {
            tries.push(groups);
        }
        let tried = tries.into_iter().map(|without| async move {
            let key = probe_key(&self.known.job.read.rename.prefix);
            let stripped = headers
                .iter()
                .filter(|pair| !without.iter().any(|g| g.has(pair)));
            let mut stripped: Vec<_> = stripped.cloned().collect();
            if without.iter().any(|group| group.of_kms) {
                stripped.push(("x-amz-server-side-encryption".into(), "AES256".to_owned()));
            }
            match self.create(&key, &stripped).await {
                Ok(upload) => {
                    let aborted = self.abort(&upload).await;
                    let left = aborted.is_err().then(|| self.aborted(&upload, aborted));
                    (Some(without), left)
                }
                Err(error) => {
                    let left = self.settle(&key, &error).await;
                    (None, left.into_iter().next())
                }
            }
        });
        let tried = join_all(tried.collect::<Vec<_>>()).await;
        let mut passed = Vec::new();
        let mut left = Vec::new();
        for (without, finding) in tried {
            // One alone says more than all together.
            if passed.is_empty() {
                passed = without.unwrap_or_default();
            }
            left.extend(finding);
        }
        (passed, left)
    }

    /// After a lost answer an upload may be there all the same: its key is nobody else's.
    async fn settle(&self, key: &str, error: &S3Error) -> Vec<Finding> {
        if !error.is_in_doubt() {
            return Vec::new();
        }
        let headers = self.known.headers.destination();
        let list = || {
            self.client
                .list_multipart_uploads_of(self.bucket(), key, headers)
        };
        let listed = self.ask().ask(Operation::ListMultipartUploads, list).await;
        let Ok(uploads) = listed else {
            let what = format!(
                "an answer was lost, and an upload without parts may be left: key {}",
                Shown(key)
            );
            return vec![Finding::new(&DESTINATION_ABORT, Outcome::Warning, what)];
        };
        let mut left = Vec::new();
        for upload in uploads {
            let upload = Upload {
                key: upload.key,
                upload_id: upload.upload_id,
            };
            if let Err(error) = self.abort(&upload).await {
                left.push(self.aborted(&upload, Err(error)));
            }
        }
        left
    }

    /// Puts an object, and deletes it again if that is allowed: by its version, so that nothing else can go.
    async fn put(&self, headers: &[HeaderPair]) -> Finding {
        let topic: &Topic = &PROBE_OBJECT;
        let key = probe_key(&self.known.job.read.rename.prefix);
        // Those are of uploads; here the SDK says which checksum it sends.
        let preserves = self.known.job.copy.object.storage_class == StorageClass::Preserve;
        let of_upload = |name: &str| {
            name.starts_with("x-amz-checksum-") || preserves && name == "x-amz-storage-class"
        };
        let mut headers: Vec<_> = headers
            .iter()
            .filter(|(name, _)| !of_upload(name))
            .cloned()
            .collect();
        if self.known.job.copy.overwrite == Overwrite::Never {
            headers.push(("if-none-match".into(), "*".to_owned()));
        }
        let bytes = Bytes::from_static(CONTENT);
        let request = PutObject {
            bucket: self.bucket(),
            key: &key,
            body: PutBody::Bytes(&bytes),
            content_md5: Md5::digest(CONTENT).into(),
            headers: &headers,
        };
        let put = || self.client.put_object(request);
        let place = format!("s3://{}/{}", self.bucket(), Shown(&key));
        let put = match self.ask().write(Operation::PutObject, put).await {
            Ok(put) => put,
            Err(error) if error.is_in_doubt() => {
                let what =
                    format!("an object was put, the answer was lost, and it may be there: {place}");
                return Finding::new(topic, Outcome::Warning, what).answered(&error);
            }
            Err(error) => {
                let what =
                    "an object with the job's headers may not be put under the destination prefix";
                let finding = Finding::new(topic, Outcome::Fail, what);
                if error.status != Some(403) {
                    return finding.answered(&error);
                }
                let resource = self.resource();
                return self.explain(finding, &error, &["s3:PutObject"], &resource);
            }
        };
        let version = put.version_id.as_deref();
        let owner = self.known.headers.destination();
        let delete = || {
            self.client
                .delete_object(self.bucket(), &key, version, owner)
        };
        let deleted = self.ask().ask(Operation::DeleteObject, delete).await;
        let of = version.map_or_else(String::new, |id| format!(", version {id}"));
        match deleted {
            Ok(_) => {
                let what = "an object with the job's headers was put, and is deleted again";
                Finding::new(topic, Outcome::Pass, what)
                    .evidence(format!("PutObject: 200, DeleteObject: 204, {place}{of}"))
            }
            Err(error) => {
                let what = format!(
                    "an object with the job's headers was put, and stays, as it may not be deleted: {place}{of}"
                );
                Finding::new(topic, Outcome::Warning, what)
                    .answered(&error)
                    .remedy("a job needs no right to delete: have somebody else delete it")
            }
        }
    }
}

/// What to do about a refusal that is no matter of permissions.
fn advice(error: &S3Error) -> Option<&'static str> {
    let code = error.report_code();
    Some(match code {
        "AccessControlListNotSupported" => {
            "the destination bucket has ACLs disabled: give --acl bucket-owner-full-control or --acl none, and \
             no --grant"
        }
        _ if code.starts_with("KMS.") => {
            "the key must be there, enabled, in the destination's region, and named by its full ARN"
        }
        _ => return None,
    })
}
