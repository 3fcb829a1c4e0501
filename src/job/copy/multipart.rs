//! A multipart copy: HEAD, tags, annotations, Create, UploadPartCopy for each part, Complete.
//!
//! Every part is pinned to the version and ETag of one HEAD: nothing lands mixed. When the row fails
//! or the job stops, no more parts are sent and those in flight are waited for; only then is the
//! upload aborted, or kept for the next attempt.

mod upload;

pub(super) use self::upload::add;

use std::collections::BTreeMap;

use s3haul_s3::{CopiedPart, Head, HeaderPair, Lane, Operation, S3Error, Tally};

use self::upload::Copying;
use super::headers::fingerprint;
use super::prove::Origin;
use super::settle::{DATE_CONDITION, Expected, Settled};
use super::whole::{in_parts, source_changed};
use super::{Copier, Overwrite, SourceChanged, Stop, Turn};
use crate::job::code::Code;
use crate::job::outcome::{Ended, Failure};
use crate::job::plan::{PartPlan, PartSize, Task, fits_one_copy};
use crate::job::report::journal::OpenUpload;
use crate::job::report::{Event, time_text};

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
            let (source, layout) = self.head_layout(task, tally).await?;
            // No part copy of nothing, if the object shrank since it was listed; and what was uploaded
            // whole keeps its ETag only if it is copied whole.
            let keeps_e_tag = layout == Layout::Whole && fits_one_copy(source.bytes);
            if source.bytes == 0 || (keeps_e_tag && open.is_none()) {
                return self.instead_whole(task, &source, tally).await;
            }
            let lost_metadata = self.check_source(task, &source)?;
            let (error, failure) = match self.attempt(task, &source, &layout, open, tally).await {
                Ok(Ended::Succeeded(mut success)) => {
                    success.notes.append(&mut notes);
                    success.notes.extend(lost_metadata);
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
                if let Ok(there) = self.look(task, Lane::Large, None, tally).await {
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
    pub(super) async fn found_first(
        &self,
        task: &Task,
        ended: Ended,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        let Ended::Succeeded(success) = &ended else {
            return Ok(ended);
        };
        let version_id = success.source_version_id.as_deref();
        let carried = self.carried(task, None, version_id, tally).await?;
        self.carry_behind(task, ended, &carried, Lane::Large, tally)
            .await
    }

    /// A HEAD of the source. Where the copy is to have its layout, another one of its first part, which
    /// tells the layout and the checksum of that part alone.
    async fn head_layout(&self, task: &Task, tally: &mut Tally) -> Result<(Head, Layout), Stop> {
        let source = self.head_source(task, Lane::Large, tally).await?;
        if self.options.plan.part_size != PartSize::MatchSource {
            return Ok((source, Layout::Any));
        }
        if !in_parts(&source) {
            return Ok((source, Layout::Whole));
        }
        let version_id = pinned_version(task, &source);
        let first = self
            .head_source_version(task, version_id, Lane::Large, Some(1), tally)
            .await?;
        let (part_bytes, count) = (first.bytes, first.parts_count().map(u64::from));
        // Of an object that was written between the two no part is copied: each is pinned to the first.
        let alike = first.e_tag == source.e_tag
            && part_bytes > 0
            && count == Some(source.bytes.div_ceil(part_bytes));
        let layout = if alike {
            Layout::Parts(part_bytes)
        } else {
            Layout::Any
        };
        Ok((source, layout))
    }

    /// What is asked of the source: the ETag that the manifest lists, dates; and whether all that it has
    /// can be carried. Gives a note of what may be lost.
    fn check_source(&self, task: &Task, source: &Head) -> Result<Option<String>, Stop> {
        if let Some(listed) = self.headers.listed_e_tag(&task.row)
            && listed != source.e_tag
        {
            let message = format!(
                "the manifest lists ETag {listed}, the source has {}",
                source.e_tag
            );
            return Err(Failure::of(Code::SourceChanged, message).into());
        }
        let settings = &self.options.object;
        if let Some(modified) = source.last_modified {
            let too_old = settings
                .if_modified_since
                .is_some_and(|date| modified <= date);
            let too_new = settings
                .if_unmodified_since
                .is_some_and(|date| modified > date);
            if too_old || too_new {
                let message = format!("the source was last modified at {}", time_text(modified));
                let failure = Failure::of(Code::PreconditionFailed, message);
                return Err(failure.hinted(DATE_CONDITION).into());
            }
        }
        let missing = source.missing_meta();
        if missing == 0 || settings.metadata.is_some() {
            return Ok(None);
        }
        let message = format!("{missing} metadata entries of the source cannot be read over REST");
        if settings.allow_metadata_loss {
            return Ok(Some(format!(
                "{message}, and were lost, as --allow-metadata-loss allows"
            )));
        }
        let message = format!("{message}, and a multipart copy would lose them");
        let hint = "an object of up to 5 GiB keeps them by CopyObject, under a higher \
            --multipart-threshold; --allow-metadata-loss copies it without them";
        Err(Failure::of(Code::MetadataNotReadable, message)
            .hinted(hint)
            .into())
    }

    async fn instead_whole(
        &self,
        task: &Task,
        source: &Head,
        tally: &mut Tally,
    ) -> Result<Ended, Stop> {
        match self.whole(task, Lane::Large, Some(source), tally).await? {
            Turn::Ended(ended) => Ok(ended),
            Turn::Large | Turn::Stopped => Err(Stop::Stopped),
        }
    }

    /// One upload, from its creation or from where an earlier attempt left it, to its end.
    async fn attempt(
        &self,
        task: &Task,
        source: &Head,
        layout: &Layout,
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<Ended, Lost> {
        let version_id = pinned_version(task, source);
        let carried = self.carried(task, Some(source), version_id, tally).await?;
        let class = self.preserved_class(task, Some(source));
        let headers = self.headers.create(source, &carried.tags, class);
        let taken = self.take_up(task, source, &headers, open, tally);
        let (upload, mut parts) = match taken.await? {
            Taken::Upload(upload, parts) => (upload, parts),
            Taken::Ended(ended) => {
                let lane = Lane::Large;
                return Ok(self
                    .carry_behind(task, ended, &carried, lane, tally)
                    .await?);
            }
            Taken::Nothing => {
                if task.upload.is_some() {
                    // An attempt that died may have lost it too, and created another one.
                    self.abort_unrecorded(task, tally).await?;
                }
                let upload = self.create(task, source, layout, &headers, tally).await?;
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
        let (ended, answer) = self.complete(&copying, &parts, open, tally).await?;
        let carried = self.carry_behind(task, ended, &carried, Lane::Large, tally);
        match (carried.await?, answer) {
            (Ended::Succeeded(mut success), Some(answer)) => {
                let matches = self.options.plan.part_size == PartSize::MatchSource;
                if matches && success.e_tag != source.e_tag {
                    success.notes.push(OTHER_LAYOUT.to_owned());
                }
                let origin = Origin {
                    head: Some(source),
                    pinned: true,
                };
                let lane = Lane::Large;
                Ok(self
                    .prove(task, lane, success, &answer, origin, tally)
                    .await?)
            }
            (ended, _) => Ok(ended),
        }
    }

    /// Takes up what an earlier attempt left, if it is still there and the source is still the same.
    async fn take_up(
        &self,
        task: &Task,
        source: &Head,
        headers: &[HeaderPair],
        open: &mut Option<OpenUpload>,
        tally: &mut Tally,
    ) -> Result<Taken, Stop> {
        let Some(upload) = open.clone() else {
            return Ok(Taken::Nothing);
        };
        // Metadata and tags are what Create was told, and may have been changed under an equal ETag.
        let looks = fingerprint(headers);
        let same = upload.source_e_tag == source.e_tag
            && upload.object_bytes == source.bytes
            && upload.source_version_id == source.version_id
            && upload.looks.as_ref().is_none_or(|then| *then == looks);
        if !same {
            self.abort_open(task, open, tally).await?;
            return Ok(Taken::Nothing);
        }
        let headers = self.headers.destination_object();
        let list = || {
            let bucket = &self.destination_bucket;
            self.destination
                .list_parts(bucket, &upload.key, &upload.upload_id, &headers)
        };
        let listed = self
            .read(tally, Lane::Large, Operation::ListParts, list)
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
            // What becomes of an archived source would hide that the upload stays.
            (Ended::Failed(failure), _) if !failure.is_archived_source() => failure,
            (_, Ended::Failed(failure)) => failure,
            (ended, _) => return ended,
        };
        Ended::Failed(failure.hinted(format!(
            "its upload {upload_id} could not be aborted and keeps its parts: abort it, or have \
             the bucket's lifecycle do so (AbortIncompleteMultipartUpload)"
        )))
    }

    /// Reports that the row's upload is gone.
    async fn closed(&self, task: &Task) -> Result<(), Stop> {
        let event = Event::UploadClosed {
            ordinal: task.row.ordinal,
        };
        self.events.send(event).await.map_err(|_| Stop::Stopped)
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

/// What of the source's layout the copy is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// None of it, or it cannot be told.
    Any,
    /// It was uploaded whole.
    Whole,
    /// It was uploaded in parts of this size.
    Parts(u64),
}

const OTHER_LAYOUT: &str = "the ETag is not the source's: it was uploaded in parts of unequal sizes, \
    or is encrypted so that ETags say nothing";

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
