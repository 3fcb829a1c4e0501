//! A multipart copy: HEAD, tags, Create, UploadPartCopy for each part, Complete.
//!
//! Every part is pinned to the version and ETag of one HEAD: nothing lands mixed. When the row fails
//! or the job stops, no more parts are sent and those in flight are waited for; only then is the
//! upload aborted, or kept for the next attempt.

mod upload;

use std::collections::BTreeMap;

use s3haul_s3::{CopiedPart, Head, Lane, OnDoubt, Operation, S3Error, Tag, Tally};

use self::upload::Copying;
use super::headers::tagging_header;
use super::settle::{Expected, Settled};
use super::whole::source_changed;
use super::{Copier, Overwrite, SourceChanged, Stop, Turn};
use crate::job::outcome::{Ended, Failure};
use crate::job::plan::{PartPlan, Task};
use crate::job::report::Event;
use crate::job::report::journal::OpenUpload;

/// How often a copy is begun again because its source or its upload changed under it.
const MAX_STARTS: u32 = 3;

/// Why an upload came to nothing, and whether to begin again.
enum Lost {
    /// The source is another object than the one that was pinned.
    SourceChanged(S3Error),
    /// The upload is gone or must be made again (409 on Complete).
    Upload(S3Error),
    /// The row ends.
    Stop(Stop),
}

impl From<Stop> for Lost {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl Copier {
    pub(super) async fn multipart(&self, task: &Task, tally: &mut Tally) -> Result<Ended, Stop> {
        // The row's upload, as long as there is one.
        let mut open = task.upload.clone();
        let ended = self.starts(task, &mut open, tally).await;
        let ended = match (ended, open) {
            // Kept for the next attempt.
            (Err(Stop::Stopped), _) => return Err(Stop::Stopped),
            _ if self.lost.get().is_some() => return Err(Stop::Stopped),
            (ended, None) => ended,
            (Ok(ended) | Err(Stop::Ended(ended)), Some(upload)) => {
                Ok(self.clean_up(ended, &upload, tally).await)
            }
        };
        self.uploads.remove(task.row.ordinal);
        ended
    }

    /// Copies until the row ends, and begins again where the source or the upload changed under it.
    async fn starts(
        &self,
        task: &Task,
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let mut notes = Vec::new();
        if open.is_none() && !self.first_attempt {
            // An attempt that died may have created one and not lived to record it.
            self.abort_unrecorded(task, tally).await?;
        }
        if open.is_none() {
            notes = match self.look_first(task, tally).await {
                Err(Stop::Ended(ended)) => return self.found_first(task, ended, tally).await,
                looked => looked?,
            };
        }
        for start in 1.. {
            if self.drain.is_cancelled() {
                return Err(Stop::Stopped);
            }
            let source = self.head_source(task, Lane::Large, None, tally).await?;
            self.check_source(task, &source)?;
            if source.bytes == 0 {
                // No part copy of nothing: the object shrank since it was listed.
                return self.instead_whole(task, tally).await;
            }
            let (error, failure) = match self.attempt(task, &source, open, tally).await {
                Ok(Ended::Succeeded(mut success)) => {
                    success.notes.append(&mut notes);
                    return Ok(Ended::Succeeded(success));
                }
                Ok(ended) => return Ok(ended),
                Err(Lost::Stop(stop)) => return Err(stop),
                Err(Lost::SourceChanged(error)) => {
                    let failure = source_changed(&error);
                    if self.options.source_changed == SourceChanged::Fail {
                        return Err(failure.into());
                    }
                    (error, failure)
                }
                Err(Lost::Upload(error)) => {
                    let failure = Failure::from(&error);
                    (error, failure)
                }
            };
            if start >= MAX_STARTS {
                return Err(failure.into());
            }
            tracing::debug!(key = %task.row.spelling(), %error, "begins a multipart copy again");
            self.abort_open(task, open, tally).await?;
        }
        Err(Stop::Stopped)
    }

    /// Terabytes should not be copied to learn at the end that they were not wanted.
    async fn look_first(&self, task: &Task, tally: &mut Tally) -> Result<Vec<String>, Stop> {
        match self.options.overwrite {
            Overwrite::Always => Ok(Vec::new()),
            Overwrite::IfDifferent => self.skip_if_equal(task, Lane::Large, tally).await,
            Overwrite::Never => {
                if let Ok(there) = self.look(task, Lane::Large, tally).await {
                    let ended = self
                        .settle_existing(task, Lane::Large, &there, false, tally)
                        .await?;
                    return Err(Stop::Ended(ended));
                }
                Ok(Vec::new())
            }
        }
    }

    /// A copy of an earlier attempt, which may have failed or died before it had tagged it.
    async fn found_first(
        &self,
        task: &Task,
        ended: Ended,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let Ended::Succeeded(success) = &ended else {
            return Ok(ended);
        };
        let version_id = success.source_version_id.as_deref();
        let tags = self.source_tags(task, version_id, tally).await?;
        self.tagged(task, ended, &tags, tally).await
    }

    /// What the manifest lists, where that is a condition; what cannot be carried.
    fn check_source(&self, task: &Task, source: &Head) -> Result<(), Stop> {
        if let Some(listed) = self.headers.listed_e_tag(&task.row)
            && listed != source.e_tag
        {
            let message = format!(
                "the manifest lists ETag {listed}, the source has {}",
                source.e_tag
            );
            return Err(Failure::of("SourceChanged", message).into());
        }
        if source.missing_meta() > 0 {
            return Err(Failure::of(
                "MetadataNotReadable",
                format!(
                    "{} metadata entries of the source cannot be read over REST, and a multipart \
                     copy would lose them",
                    source.missing_meta()
                ),
            )
            .into());
        }
        Ok(())
    }

    async fn instead_whole(&self, task: &Task, tally: &mut Tally) -> Result<Ended, Stop> {
        match self.whole(task, Lane::Large, tally).await? {
            Turn::Ended(ended) => Ok(ended),
            Turn::Large | Turn::Stopped => Err(Stop::Stopped),
        }
    }

    /// One upload, from its creation or from where an earlier attempt left it, to its end.
    async fn attempt(
        &self,
        task: &Task,
        source: &Head,
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<Ended, Lost> {
        let tags = self
            .source_tags(task, pinned_version(task, source), tally)
            .await?;
        check_tags(source, &tags)?;
        let (upload, mut parts) = match self.take_up(task, source, open, tally).await? {
            Taken::Upload(upload, parts) => (upload, parts),
            Taken::Ended(ended) => return Ok(self.tagged(task, ended, &tags, tally).await?),
            Taken::Nothing => {
                let upload = self.create(task, source, &tags, tally).await?;
                *open = Some(upload.clone());
                self.opened(&upload).await?;
                (upload, BTreeMap::new())
            }
        };
        let copying = Copying {
            task,
            source,
            copy_source: self.copy_source(task, pinned_version(task, source)),
            plan: PartPlan {
                object_bytes: upload.object_bytes,
                part_bytes: upload.part_bytes,
            },
            upload,
        };
        if let Err(error) = self.copy_parts(&copying, &mut parts, tally).await? {
            return Err(lost(error));
        }
        let parts: Vec<CopiedPart> = parts.into_values().collect();
        let ended = self.complete(&copying, &parts, open, tally).await?;
        Ok(self.tagged(task, ended, &tags, tally).await?)
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
        Ok(self
            .send(tally, Lane::Large, operation, None, OnDoubt::Resend, get)
            .await?)
    }

    /// Takes up what an earlier attempt left, if it is still there and the source is still the same.
    async fn take_up(
        &self,
        task: &Task,
        source: &Head,
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<Taken, Stop> {
        let Some(upload) = open.clone() else {
            return Ok(Taken::Nothing);
        };
        let same = upload.source_e_tag == source.e_tag
            && upload.object_bytes == source.bytes
            && upload.source_version_id == source.version_id;
        if !same {
            self.abort_open(task, open, tally).await?;
            return Ok(Taken::Nothing);
        }
        let list = || {
            let (bucket, headers) = (&self.destination_bucket, self.headers.destination());
            self.destination
                .list_parts(bucket, &upload.key, &upload.upload_id, headers)
        };
        let operation = Operation::ListParts;
        let listed = self
            .send(tally, Lane::Large, operation, None, OnDoubt::Resend, list)
            .await;
        let plan = PartPlan {
            object_bytes: upload.object_bytes,
            part_bytes: upload.part_bytes,
        };
        match listed {
            Ok(listed) => {
                let parts = listed
                    .into_iter()
                    .filter(|part| (1..=plan.parts()).contains(&part.part_number))
                    .filter(|part| part.bytes == plan.bytes(part.part_number))
                    .map(|part| {
                        let part_number = part.part_number;
                        let (e_tag, checksum) = (part.e_tag, part.checksum);
                        (
                            part_number,
                            CopiedPart {
                                part_number,
                                e_tag,
                                checksum,
                            },
                        )
                    })
                    .collect();
                Ok(Taken::Upload(upload, parts))
            }
            Err(error) if error.report_code() == "NoSuchUpload" => {
                // Completed by an attempt that died before it could say so, or aborted by others.
                *open = None;
                let expected = Expected {
                    source,
                    e_tag: None,
                    parts: plan.parts(),
                };
                let settled = self
                    .settle_write(task, Lane::Large, Some(expected), tally)
                    .await?;
                if let Settled::Landed(ended) = settled {
                    return Ok(Taken::Ended(*ended));
                }
                self.closed(task).await?;
                Ok(Taken::Nothing)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Aborts the row's upload before the row goes on without it.
    async fn abort_open(
        &self,
        task: &Task,
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<(), Stop> {
        if let Some(upload) = open {
            self.abort(&upload.key, &upload.upload_id, Lane::Large, tally)
                .await?;
            *open = None;
        }
        self.closed(task).await
    }

    /// Aborts the upload of a row that has ended, no part of which is in flight any more. An upload
    /// that stays is never silent: the row then fails, and names it.
    async fn clean_up(&self, ended: Ended, upload: &OpenUpload, tally: &mut Tally) -> Ended {
        let (key, upload_id) = (&upload.key, &upload.upload_id);
        let Err(Stop::Ended(not_aborted)) = self.abort(key, upload_id, Lane::Large, tally).await
        else {
            return ended;
        };
        let failure = match (ended, not_aborted) {
            (Ended::Failed(failure), _) | (_, Ended::Failed(failure)) => failure,
            (ended, _) => return ended,
        };
        Ended::Failed(failure.hinted(format!(
            "its upload {upload_id} could not be aborted and keeps its parts: abort it, or have \
             the bucket's lifecycle do so (AbortIncompleteMultipartUpload)"
        )))
    }

    /// Tags over 2 KB do not fit the header of Create; the object is tagged once it is there.
    async fn tagged(
        &self,
        task: &Task,
        ended: Ended,
        tags: &[Tag],
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let Ended::Succeeded(success) = &ended else {
            return Ok(ended);
        };
        if tags.is_empty() || tagging_header(tags).is_some() {
            return Ok(ended);
        }
        let (key, version_id) = (&task.destination_key, success.version_id.as_deref());
        let put = || {
            let (bucket, headers) = (&self.destination_bucket, self.headers.destination());
            self.destination
                .put_object_tagging(bucket, key, version_id, tags, headers)
        };
        let operation = Operation::PutObjectTagging;
        let put = self
            .send(tally, Lane::Large, operation, None, OnDoubt::Resend, put)
            .await;
        match put {
            Ok(()) => Ok(ended),
            Err(error) => Err(Failure::from(&error)
                .hinted("the object was copied, and stands at the destination without its tags")
                .into()),
        }
    }

    /// Reports that the row's upload is gone.
    async fn closed(&self, task: &Task) -> Result<(), Stop> {
        let event = Event::UploadClosed {
            ordinal: task.row.ordinal,
        };
        self.events.send(event).await.map_err(|_| Stop::Stopped)
    }
}

/// HEAD tells how many tags there are to those who may read them.
fn check_tags(source: &Head, tags: &[Tag]) -> Result<(), Stop> {
    let count = source.header("x-amz-tagging-count");
    match count.and_then(|count| count.parse().ok()) {
        Some(count) if tags.len() < count => {
            let message = format!(
                "the source has {count} tags by its HEAD and {} by GetObjectTagging: its tags would \
                 be lost",
                tags.len()
            );
            Err(Failure::of("TagsNotCopied", message).into())
        }
        _ => Ok(()),
    }
}

/// Whether a copy that came to nothing is worth another start.
fn lost(error: S3Error) -> Lost {
    match (error.report_code(), error.operation) {
        ("PreconditionFailed", "UploadPartCopy") => Lost::SourceChanged(error),
        ("NoSuchUpload" | "ConditionalRequestConflict" | "InvalidPart", _) => Lost::Upload(error),
        _ => Lost::Stop(error.into()),
    }
}

/// What an earlier attempt left of a row's upload.
enum Taken {
    /// The upload and its parts.
    Upload(OpenUpload, BTreeMap<u32, CopiedPart>),
    /// It was completed: the row has ended.
    Ended(Ended),
    /// Nothing that can be used.
    Nothing,
}

/// The version that every request of a copy names.
fn pinned_version<'a>(task: &'a Task, source: &'a Head) -> Option<&'a str> {
    task.row
        .version_id
        .as_deref()
        .or(source.version_id.as_deref())
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
            assert_eq!(check_tags(&source(count), &tags).is_ok(), fits, "{count:?}");
        }
    }
}
