//! An object that is put, and deleted again if that is allowed.

use bytes::Bytes;
use md5::{Digest, Md5};
use s3haul_s3::{Head, HeadObject, HeaderPair, Operation, PutBody, PutObject};

use super::Probe;
use crate::job::copy::Overwrite;
use crate::job::copy::settings::StorageClass;
use crate::job::manifest::key::Shown;
use crate::preflight::finding::{Finding, Outcome, PROBE_OBJECT};
use crate::preflight::probe_key;

/// What an object is made of that `--probe-object` puts.
const CONTENT: &[u8] = b"s3haul check put this object, and could not delete it\n";

impl Probe<'_> {
    /// Puts an object, and deletes it again if that is allowed: by its version, so that nothing else can go.
    pub(super) async fn put(&self, headers: &[HeaderPair]) -> Finding {
        let topic = &PROBE_OBJECT;
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
        let version_id = match self.ask().write(Operation::PutObject, put).await {
            Ok(put) => put.version_id,
            Err(error) if error.is_in_doubt() => {
                let Ok(there) = self.look(&key).await else {
                    let what = format!(
                        "an object was put, the answer was lost, and it may be there: {place}"
                    );
                    return Finding::new(topic, Outcome::Warning, what).answered(&error);
                };
                there.version_id
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
        let version = version_id.as_deref();
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

    /// Looks for an object whose key is nobody else's.
    async fn look(&self, key: &str) -> s3haul_s3::Result<Head> {
        let headers = self.known.headers.destination_object();
        let head = HeadObject {
            bucket: self.bucket(),
            key,
            version_id: None,
            part_number: None,
            headers: &headers,
        };
        let head = || self.client.head_object(head);
        self.ask().ask(Operation::HeadObject, head).await
    }
}
