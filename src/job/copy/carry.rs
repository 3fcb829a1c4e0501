//! What a copy in parts has to carry by itself: tags, annotations.
//!
//! CopyObject takes them along. For a copy in parts they are asked for before its first request, so
//! that a refusal costs no terabytes. Tags go with CreateMultipartUpload where they fit; the rest goes
//! behind Complete, which is no one step: a row whose object stands without them fails, and the next
//! attempt carries them.

use s3haul_s3::{ErrorKind, Head, Lane, OnDoubt, Operation, S3Error, Tag, Tally};

use super::headers::tagging_header;
use super::{Copier, Stop};
use crate::job::code::Code;
use crate::job::outcome::{Ended, Failure, Success};
use crate::job::plan::Task;

/// What goes with or behind the object.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// Tags of the copy.
    pub(super) tags: Vec<Tag>,
    /// Names of the source's annotations.
    pub(super) annotations: Vec<String>,
    /// What could not be asked for.
    pub(super) note: Option<String>,
}

impl Copier {
    /// Asks the source for what a copy in parts carries. `source`: its HEAD, where there is one.
    pub(super) async fn carried(
        &self,
        task: &Task,
        source: Option<&Head>,
        version_id: Option<&str>,
        tally: &mut Tally,
    ) -> Result<Carried, Stop> {
        let tags = if let Some(tags) = self.headers.new_tags() {
            tags.to_vec()
        } else {
            let tags = self.source_tags(task, version_id, tally).await?;
            check_tags(source, &tags)?;
            tags
        };
        let (annotations, note) = self.source_annotations(task, version_id, tally).await?;
        if !annotations.is_empty() && self.options.object.customer_key.is_some() {
            let message = format!(
                "the source has {} annotations, and an object under a customer's key has none",
                annotations.len()
            );
            let hint = "--annotations exclude leaves them out on purpose";
            return Err(Failure::of(Code::AnnotationsNotCopied, message)
                .hinted(hint)
                .into());
        }
        if let Some(first) = annotations.first() {
            let lane = Lane::Large;
            let read = self.source_annotation(task, version_id, first, lane, tally);
            // May it not be read, none may.
            if let Err(error) = read.await
                && error.is_access_refusal()
            {
                return Err(error.into());
            }
        }
        Ok(Carried {
            tags,
            annotations,
            note,
        })
    }

    async fn source_tags(
        &self,
        task: &Task,
        version_id: Option<&str>,
        tally: &mut Tally,
    ) -> Result<Vec<Tag>, Stop> {
        let get = || {
            let (key, headers) = (&task.row.key, self.headers.source());
            self.source
                .get_object_tagging(&self.source_bucket, key, version_id, headers)
        };
        let operation = Operation::GetObjectTagging;
        Ok(self.read(tally, Lane::Large, operation, get).await?)
    }

    /// The names of the source's annotations, and what there is to say where they cannot be told.
    async fn source_annotations(
        &self,
        task: &Task,
        version_id: Option<&str>,
        tally: &mut Tally,
    ) -> Result<(Vec<String>, Option<String>), Stop> {
        if !self.options.object.lists_annotations() {
            return Ok((Vec::new(), None));
        }
        let mut names = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let list = || {
                let (key, headers) = (&task.row.key, self.headers.source());
                let bucket = &self.source_bucket;
                self.source.list_object_annotations(
                    bucket,
                    key,
                    version_id,
                    token.as_deref(),
                    headers,
                )
            };
            let operation = Operation::ListObjectAnnotations;
            let page = match self.read(tally, Lane::Large, operation, list).await {
                Ok(page) => page,
                // S3 itself knows them: whatever it answers is no such thing.
                Err(error)
                    if self.source.is_elsewhere() && token.is_none() && no_annotations(&error) =>
                {
                    let note = "the store does not tell annotations, and none were copied";
                    return Ok((Vec::new(), Some(note.to_owned())));
                }
                Err(error) => return Err(error.into()),
            };
            names.extend(page.names);
            token = page.next_token;
            if token.is_none() {
                return Ok((names, None));
            }
        }
    }

    async fn source_annotation(
        &self,
        task: &Task,
        version_id: Option<&str>,
        name: &str,
        lane: Lane,
        tally: &mut Tally,
    ) -> s3haul_s3::Result<Vec<u8>> {
        let get = || {
            let (key, headers) = (&task.row.key, self.headers.source());
            self.source
                .get_object_annotation(&self.source_bucket, key, version_id, name, headers)
        };
        let operation = Operation::GetObjectAnnotation;
        self.read(tally, lane, operation, get).await
    }

    /// Carries what goes behind the object, whose copy has succeeded.
    pub(super) async fn carry_behind(
        &self,
        task: &Task,
        ended: Ended,
        carried: &Carried,
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let Ended::Succeeded(mut success) = ended else {
            return Ok(ended);
        };
        if !carried.tags.is_empty() && tagging_header(&carried.tags).is_none() {
            self.put_tags(task, &success, &carried.tags, lane, tally)
                .await?;
        }
        for name in &carried.annotations {
            self.copy_annotation(task, &success, name, lane, tally)
                .await?;
        }
        if !carried.annotations.is_empty() {
            self.check_annotated(task, &success, lane, tally).await?;
        }
        success.notes.extend(carried.note.clone());
        Ok(Ended::Succeeded(success))
    }

    /// Tags over 2 KB fit no header; the object is tagged once it is there.
    async fn put_tags(
        &self,
        task: &Task,
        success: &Success,
        tags: &[Tag],
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<(), Stop> {
        let (key, version_id) = (&task.destination_key, success.version_id.as_deref());
        let put = || {
            let (bucket, headers) = (&self.destination_bucket, self.headers.destination());
            self.destination
                .put_object_tagging(bucket, key, version_id, tags, headers)
        };
        let operation = Operation::PutObjectTagging;
        let put = self
            .send(tally, lane, operation, None, OnDoubt::Resend, put)
            .await;
        put.map_err(|error| {
            Failure::from(&error)
                .standing("the object was copied, and stands at the destination without its tags")
                .into()
        })
    }

    async fn copy_annotation(
        &self,
        task: &Task,
        success: &Success,
        name: &str,
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<(), Stop> {
        let version_id = success.source_version_id.as_deref();
        let read = self.source_annotation(task, version_id, name, lane, tally);
        let payload = match read.await {
            // An object that was written over it may have none of this name.
            Err(error) if error.status == Some(404) => {
                self.check_annotated(task, success, lane, tally).await?;
                return Err(without_annotations(&error).into());
            }
            read => read.map_err(|error| without_annotations(&error))?,
        };
        let put = || {
            let (key, version_id) = (&task.destination_key, success.version_id.as_deref());
            let (bucket, headers) = (&self.destination_bucket, self.headers.destination());
            self.destination
                .put_object_annotation(bucket, key, version_id, name, &payload, headers)
        };
        let operation = Operation::PutObjectAnnotation;
        self.send(tally, lane, operation, None, OnDoubt::Resend, put)
            .await
            .map_err(|error| without_annotations(&error).into())
    }

    /// Looks whether the annotations that were read are those of the object that was copied. Their
    /// requests take no condition, and what has no version of its own may be written over behind its
    /// last part.
    async fn check_annotated(
        &self,
        task: &Task,
        success: &Success,
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<(), Stop> {
        let version_id = success.source_version_id.as_deref();
        if version_id.is_some_and(|version_id| version_id != "null") {
            return Ok(());
        }
        let now = self
            .head_source_version(task, version_id, lane, None, tally)
            .await?;
        if success.source_e_tag.as_deref() == Some(&*now.e_tag) {
            return Ok(());
        }
        let message = "the source was written again before its annotations were read: the object was \
            copied, and stands at the destination without its own";
        Err(Failure::of(Code::SourceChanged, message)
            .hinted("run resume, which copies the source as it stands now")
            .into())
    }
}

/// What a row ends with whose object stands without its annotations.
fn without_annotations(error: &S3Error) -> Failure {
    Failure::from(error)
        .standing("the object was copied, and stands at the destination without its annotations")
}

/// Whether a store answers that it knows no annotations.
fn no_annotations(error: &S3Error) -> bool {
    error.kind == ErrorKind::Unreadable || matches!(error.status, Some(501 | 405))
}

/// HEAD tells how many tags there are to those who may read them.
fn check_tags(source: Option<&Head>, tags: &[Tag]) -> Result<(), Stop> {
    let count = source.and_then(|source| source.header("x-amz-tagging-count"));
    match count.and_then(|count| count.parse().ok()) {
        Some(count) if tags.len() < count => {
            let message = format!(
                "the source has {count} tags by its HEAD and {} by GetObjectTagging: its tags would \
                 be lost",
                tags.len()
            );
            Err(Failure::of(Code::TagsNotCopied, message).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_are_counted_are_there() {
        let tag = Tag {
            key: "a".into(),
            value: String::new(),
        };
        let source = |count: Option<&str>| Head {
            bytes: 1,
            e_tag: "e".into(),
            version_id: None,
            last_modified: None,
            headers: count
                .map(|count| ("x-amz-tagging-count".into(), count.to_owned()))
                .into_iter()
                .collect(),
            date: None,
        };
        for (count, tags, fits) in [
            (None, 0, true),
            (None, 1, true),
            (Some("1"), 1, true),
            (Some("1"), 2, true),
            (Some("2"), 1, false),
            (Some("1"), 0, false),
        ] {
            let tags = vec![tag.clone(); tags];
            assert_eq!(
                check_tags(Some(&source(count)), &tags).is_ok(),
                fits,
                "{count:?}"
            );
        }
    }
}
