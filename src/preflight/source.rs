//! What is copied: whether the rows that stand for all can be read, with all that goes along.

mod judge;

use std::collections::BTreeSet;

use futures::future::join_all;
use s3haul_s3::{
    AnnotationPage, GetObject, Head, HeadObject, HeaderPair, Operation, S3Client, S3Error, Tag,
};

use super::Known;
use super::bucket::Looked;
use super::denial::Needed;
use super::encryption;
use super::finding::{Finding, Outcome, SOURCE_PAYER, SOURCE_READ, SOURCE_VERSIONS};
use super::sample::Samples;
use crate::job::copy::settings::Verify;
use crate::job::manifest::{Row, Survey};

/// What the source gave.
#[derive(Default)]
pub(super) struct Read {
    pub(super) findings: Vec<Finding>,
    /// An object that was read, whose like is written.
    pub(super) example: Option<Example>,
    /// The actions that were asked for.
    pub(super) asked: BTreeSet<&'static str>,
    /// It keeps versions, or did, as far as is known.
    pub(super) versioned: bool,
}

/// An object as it stands.
pub(super) struct Example {
    pub(super) row: Row,
    pub(super) head: Head,
    pub(super) tags: Vec<Tag>,
}

/// One row's answers; none is what was not asked.
struct Answers<'a> {
    row: &'a Row,
    /// The version that a copy asks for, where it does.
    version_id: Option<String>,
    head: Result<Head, S3Error>,
    tags: Option<Result<Vec<Tag>, S3Error>>,
    annotations: Option<Result<AnnotationPage, S3Error>>,
    annotation: Option<Result<(), S3Error>>,
    attributes: Option<Result<(), S3Error>>,
    bytes: Option<Result<(), S3Error>>,
}

struct Reader<'a> {
    known: &'a Known<'a>,
    client: &'a S3Client,
    bucket: &'a str,
    account: Option<&'a str>,
    /// What is missing answers 404.
    listed: bool,
}

/// Reads the samples.
pub(super) async fn read(
    known: &Known<'_>,
    here: &Looked,
    survey: &Survey,
    samples: &Samples,
) -> Read {
    let reader = Reader {
        known,
        client: &here.client,
        bucket: &survey.bucket,
        account: here.account.as_deref(),
        listed: here.listed,
    };
    let rows = samples.rows.iter().map(|(_, row)| reader.answers(row));
    let (payer, versions, answers) = tokio::join!(
        reader.payer(),
        reader.versions(survey),
        join_all(rows.collect::<Vec<_>>())
    );
    let mut answers = answers;
    reader.read_more(&mut answers).await;
    let shows_version = |a: &Answers<'_>| matches!(&a.head, Ok(head) if head.version_id.is_some());
    let versioned = survey.version_ids || answers.iter().any(shows_version);
    let mut findings = vec![payer, versions];
    if answers.is_empty() {
        let what = "no row of the manifest has an object behind it";
        findings.push(Finding::new(&SOURCE_READ, Outcome::Unknown, what));
    } else {
        findings.push(reader.heads(&answers).await);
    }
    findings.extend(reader.tags(&answers));
    findings.extend(reader.annotations(&answers));
    findings.extend(reader.attributes(&answers));
    findings.extend(reader.kms(&answers));
    let asked = answers.iter().flat_map(Answers::asked).collect();
    // One with tags shows more.
    let tagged =
        |answers: &Answers<'_>| matches!(&answers.tags, Some(Ok(tags)) if !tags.is_empty());
    let mut read: Vec<_> = answers.into_iter().filter(|a| a.head.is_ok()).collect();
    let at = read.iter().position(tagged).unwrap_or_default();
    let example = (at < read.len()).then(|| read.swap_remove(at));
    Read {
        findings,
        example: example.and_then(|answers| {
            Some(Example {
                row: answers.row.clone(),
                head: answers.head.ok()?,
                tags: answers.tags.and_then(Result::ok).unwrap_or_default(),
            })
        }),
        asked,
        versioned,
    }
}

impl Answers<'_> {
    /// The actions that its requests took.
    fn asked(&self) -> Vec<&'static str> {
        let version = self.version_id.is_some();
        let of = |asked, current, versioned| match (asked, version) {
            (false, _) => None,
            (true, true) => Some(versioned),
            (true, false) => Some(current),
        };
        let (tags, annotation) = (self.tags.is_some(), self.annotation.is_some());
        let listed = self.annotations.is_some();
        [
            self.row.version_id.is_none().then_some("s3:GetObject"),
            of(true, "s3:GetObject", "s3:GetObjectVersion"),
            of(tags, "s3:GetObjectTagging", "s3:GetObjectVersionTagging"),
            of(
                annotation,
                "s3:GetObjectAnnotation",
                "s3:GetObjectVersionAnnotation",
            ),
            listed.then_some("s3:ListObjectAnnotations"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Reader<'_> {
    /// All that a copy asks of a row's object.
    async fn answers<'r>(&self, row: &'r Row) -> Answers<'r> {
        let copy = &self.known.job.copy;
        let headers = self.known.headers.source();
        let (ask, client, bucket) = (self.known.ask, self.client, self.bucket);
        let (key, version) = (row.key.as_str(), row.version_id.as_deref());
        let seen = self.known.headers.source_object();
        let mut head = self.head(row, version, &seen).await;
        // Copies in parts are pinned to the version that a HEAD shows.
        let large = |head: &&Head| head.bytes > copy.plan.multipart_threshold;
        let shown = head.as_ref().ok().filter(large);
        let pinned = shown.and_then(|head| head.version_id.clone());
        if let (None, Some(pinned)) = (version, &pinned) {
            head = self.head(row, Some(pinned), &seen).await;
        }
        let version_id = row.version_id.clone().or(pinned);
        let version = version_id.as_deref();
        let mut answers = Answers {
            row,
            version_id: version_id.clone(),
            head,
            tags: None,
            annotations: None,
            annotation: None,
            attributes: None,
            bytes: None,
        };
        let Ok(head) = &answers.head else {
            return answers;
        };
        let tags = async {
            let get = || client.get_object_tagging(bucket, key, version, headers);
            match copy.object.tags {
                Some(_) => None,
                None => Some(ask.ask(Operation::GetObjectTagging, get).await),
            }
        };
        let annotations = async {
            if !copy.object.lists_annotations() {
                return None;
            }
            let list = || client.list_object_annotations(bucket, key, version, None, headers);
            Some(ask.ask(Operation::ListObjectAnnotations, list).await)
        };
        let attributes = async {
            // Asked behind a copy, which has told the version.
            let version = version.or(head.version_id.as_deref());
            let get = || client.get_object_attributes(bucket, key, version, None, &seen);
            match copy.verify {
                Verify::Checksum => Some(ask.ask(Operation::GetObjectAttributes, get).await),
                _ => None,
            }
        };
        let (tags, annotations, attributes) = tokio::join!(tags, annotations, attributes);
        answers.tags = tags;
        answers.annotations = annotations;
        answers.attributes = attributes.map(|read| read.map(|_| ()));
        answers
    }

    /// What one row shows for all: an annotation, and the bytes under each key.
    async fn read_more(&self, answers: &mut [Answers<'_>]) {
        let annotated = |a: &&mut Answers<'_>| matches!(&a.annotations, Some(Ok(page)) if !page.names.is_empty());
        if let Some(answers) = answers.iter_mut().find(annotated) {
            answers.annotation = self.annotation(answers).await;
        }
        let mut keys = BTreeSet::new();
        for answers in answers {
            let Ok(head) = &answers.head else { continue };
            let Some(key) = encryption::kms_key(head) else {
                continue;
            };
            if head.bytes == 0 || is_archived(head) || !keys.insert(key.to_owned()) {
                continue;
            }
            let version = answers.version_id.as_deref();
            let headers = self.known.headers.source_object();
            answers.bytes = Some(self.first_byte(answers.row, version, &headers).await);
        }
    }

    async fn annotation(&self, answers: &Answers<'_>) -> Option<Result<(), S3Error>> {
        let page = answers.annotations.as_ref()?.as_ref().ok()?;
        let (key, name) = (&answers.row.key, page.names.first()?);
        let version = answers.version_id.as_deref();
        let headers = self.known.headers.source();
        let get = || {
            self.client
                .get_object_annotation(self.bucket, key, version, name, headers)
        };
        let read = self
            .known
            .ask
            .ask(Operation::GetObjectAnnotation, get)
            .await;
        Some(read.map(|_| ()))
    }

    async fn head(
        &self,
        row: &Row,
        version_id: Option<&str>,
        headers: &[HeaderPair],
    ) -> Result<Head, S3Error> {
        let request = HeadObject {
            bucket: self.bucket,
            key: &row.key,
            version_id,
            part_number: None,
            headers,
        };
        let head = || self.client.head_object(request);
        self.known.ask.ask(Operation::HeadObject, head).await
    }

    /// A GET has what a HEAD lacks: a body that says why not, and a look at the key.
    async fn first_byte(
        &self,
        row: &Row,
        version_id: Option<&str>,
        headers: &[HeaderPair],
    ) -> Result<(), S3Error> {
        let request = GetObject {
            bucket: self.bucket,
            key: &row.key,
            version_id,
            range: (0, 0),
            if_match: None,
            headers,
        };
        let get = || self.client.get_object(request);
        let read = self.known.ask.ask(Operation::GetObject, get).await;
        read.map(|_| ())
    }

    async fn payer(&self) -> Finding {
        let flag = self.known.job.copy.requester_pays;
        let headers = self.known.headers.source();
        let get = || self.client.get_bucket_request_payment(self.bucket, headers);
        let asked = self
            .known
            .ask
            .ask(Operation::GetBucketRequestPayment, get)
            .await;
        let own = self.account.is_some() && self.account == self.known.who.account.as_deref();
        match asked {
            Ok(true) if flag || own => {
                let what = "who asks pays for reading the source, and the job says so";
                let alike = "the bucket's own account pays for reading the source either way";
                let what = if flag { what } else { alike };
                Finding::new(&SOURCE_PAYER, Outcome::Pass, what)
            }
            Ok(true) => {
                let what =
                    "who asks pays for reading the source, and the job does not say that it will";
                // It may be our own bucket, of which nothing is refused: the rows tell.
                let outcome = match self.account {
                    Some(_) => Outcome::Fail,
                    None => Outcome::Warning,
                };
                Finding::new(&SOURCE_PAYER, outcome, what)
                    .evidence("GetBucketRequestPayment: Requester")
                    .remedy("give --requester-pays")
            }
            Ok(false) => {
                let what = "the source bucket's owner pays for reading it";
                Finding::new(&SOURCE_PAYER, Outcome::Pass, what)
            }
            Err(error) => {
                let what = "it cannot be told who pays for reading the source";
                let finding = Finding::new(&SOURCE_PAYER, Outcome::Unknown, what);
                self.unread(finding, &error, "s3:GetBucketRequestPayment")
            }
        }
    }

    /// Whether the source keeps versions.
    async fn versions(&self, survey: &Survey) -> Finding {
        let headers = self.known.headers.source();
        let get = || self.client.get_bucket_versioning(self.bucket, headers);
        let asked = self
            .known
            .ask
            .ask(Operation::GetBucketVersioning, get)
            .await;
        let finding = |outcome, what: String| Finding::new(&SOURCE_VERSIONS, outcome, what);
        match asked {
            Ok(Some(status)) => {
                let what = format!("the source's versioning is {}", status.to_lowercase());
                finding(Outcome::Pass, what)
            }
            Ok(None) if survey.version_ids => {
                let what = "rows name versions, and the source never kept any but null".to_owned();
                finding(Outcome::Likely, what)
                    .evidence("GetBucketVersioning: none")
                    .remedy("check that the manifest is of this bucket")
            }
            Ok(None) => finding(Outcome::Pass, "the source keeps no versions".to_owned()),
            Err(error) => {
                let what = "it cannot be told whether the source keeps versions".to_owned();
                let finding = finding(Outcome::Unknown, what);
                self.unread(finding, &error, "s3:GetBucketVersioning")
            }
        }
    }

    fn unread(&self, finding: Finding, error: &S3Error, action: &str) -> Finding {
        let bucket = (self.bucket, self.account);
        self.known.unread_of(finding, error, action, bucket)
    }

    fn needed<'n>(&'n self, actions: &'n [&'n str], resource: &'n str) -> Needed<'n> {
        Needed {
            actions,
            resource,
            bucket: self.bucket,
            account: self.account,
            kms_key: None,
        }
    }

    fn resource(&self) -> String {
        self.known.who.objects_arn(self.bucket, "")
    }
}

/// Whether an object cannot be read before it is restored.
fn is_archived(head: &Head) -> bool {
    let class = head.header("x-amz-storage-class");
    let tiered = head.header("x-amz-archive-status").is_some();
    let restored = head
        .header("x-amz-restore")
        .is_some_and(|state| state.contains("ongoing-request=\"false\""));
    (tiered || matches!(class, Some("GLACIER" | "DEEP_ARCHIVE"))) && !restored
}
