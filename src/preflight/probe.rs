//! A write that leaves nothing: CreateMultipartUpload with exactly the job's headers, then its abort. No object,
//! no event, no version, no lock comes of it.

mod object;
mod refusal;

use s3haul_s3::{
    CreateMultipartUpload, Head, HeadObject, HeaderPair, Operation, S3Client, S3Error,
};
use tokio_util::sync::CancellationToken;

use super::denial::{Needed, explain};
use super::encryption::Kms;
use super::finding::{
    DESTINATION_ABORT, DESTINATION_READ, DESTINATION_TAGS, DESTINATION_UPLOADS, DESTINATION_WRITE,
    Finding, Outcome, PROBE_OBJECT,
};
use super::source::Example;
use super::{Asker, Known, probe_key};
use crate::job::copy::Overwrite;
use crate::job::copy::settings::{StorageClass, Verify};
use crate::job::manifest::key::Shown;

pub(super) struct Probe<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) client: &'a S3Client,
    /// What a row's object looks like.
    pub(super) sample: Option<&'a Example>,
    pub(super) kms: Kms,
    pub(super) object: bool,
    /// An object that is put could be deleted again.
    pub(super) lets_go: bool,
}

/// How often an abort is begun anew that S3 had no time for, all attempts each.
const ABORTS: u32 = 3;

/// An upload of ours.
struct Upload {
    key: String,
    upload_id: String,
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
        // One that cannot be aborted is enough.
        let aborted = findings
            .iter()
            .all(|f| f.id != DESTINATION_ABORT.id || f.outcome == Outcome::Pass);
        if written && aborted && !stop.is_cancelled() {
            findings.extend(self.tags(&headers).await);
        }
        if self.object && !self.lets_go {
            let what = "no object was put, as the destination may retain it: its Object Lock has a default, or \
                        cannot be read";
            findings.push(Finding::new(&PROBE_OBJECT, Outcome::Unknown, what));
        } else if self.object && written && !stop.is_cancelled() {
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
        let operation = Operation::AbortMultipartUpload;
        let mut aborted = self.ask().ask(operation, abort).await;
        // Nobody else would: it is asked for longer than anything else is.
        for _ in 1..ABORTS {
            match &aborted {
                Err(error) if matches!(error.status, None | Some(429 | 500..)) => {
                    aborted = self.ask().ask(operation, abort).await;
                }
                _ => break,
            }
        }
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
            "; remove it with: aws s3api abort-multipart-upload --bucket {} --key {} --upload-id {}",
            for_shell(bucket),
            for_shell(&upload.key),
            for_shell(id)
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
    async fn tags(&self, headers: &[HeaderPair]) -> Vec<Finding> {
        let shown = headers.iter().any(|(name, _)| name == "x-amz-tagging");
        if shown || self.known.headers.new_tags().is_some() {
            return Vec::new();
        }
        let topic = &DESTINATION_TAGS;
        let tag = [("x-amz-tagging".into(), "s3haul-check=1".to_owned())];
        let headers: Vec<_> = headers.iter().cloned().chain(tag).collect();
        let key = probe_key(&self.known.job.read.rename.prefix);
        let error = match self.create(&key, &headers).await {
            Ok(upload) => {
                let what = "objects with tags can be written";
                let mut found = vec![Finding::new(topic, Outcome::Pass, what)];
                if let Err(refused) = self.abort(&upload).await {
                    found.push(self.aborted(&upload, Err(refused)));
                }
                return found;
            }
            Err(error) => error,
        };
        let mut found = self.settle(&key, &error).await;
        if error.status != Some(403) {
            let what = "it cannot be told whether objects with tags can be written";
            found.push(Finding::new(topic, Outcome::Unknown, what).answered(&error));
            return found;
        }
        let what = "objects with tags may not be written, as others may: rows whose objects have tags fail";
        let finding = Finding::new(topic, Outcome::Likely, what);
        let resource = self.resource();
        let finding = self.explain(finding, &error, &["s3:PutObjectTagging"], &resource);
        let remedy = finding.remedy.clone().unwrap_or_default();
        found.push(finding.remedy(format!("{remedy}; or --tags none copies without tags")));
        found
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
}

/// A word as a shell takes it.
fn for_shell(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=+:@%,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::for_shell;

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        for (word, quoted) in [
            ("a/b-c.d_e", "a/b-c.d_e"),
            ("", "''"),
            ("$(id) b", "'$(id) b'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(for_shell(word), quoted);
        }
    }
}
