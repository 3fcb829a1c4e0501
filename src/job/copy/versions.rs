//! One version of a chain: a copy, or a delete marker, which stands when it has ended.

use s3haul_s3::{Lane, OnDoubt, Operation, Tally};

use super::settle::cannot_look;
use super::{Copier, Turn};
use crate::job::code::Code;
use crate::job::outcome::{By, Ended, Evidence, Failure, Success};
use crate::job::plan::{Planned, Task};
use crate::job::report::time_text;

/// How the versions of a key stand that have ended.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// One has failed: nothing newer may land in this pass.
    pub failed: bool,
    /// A write of one was in doubt, and may land late.
    pub in_doubt: bool,
    /// The destination's version that the last one made, where one was made in this attempt.
    pub version_id: Option<String>,
}

impl Copier {
    /// Copies a version, or adds a delete marker in its place. `standing` is of the older ones, and
    /// takes note of this one; `last`: it is the last one written that is known of.
    ///
    /// A large version is copied here too, not in the other lane: those behind it wait for it, and
    /// what they would wait for could wait behind them.
    pub async fn copy_version(
        &self,
        planned: &Planned,
        standing: &mut Standing,
        last: bool,
        tally: &mut Tally,
    ) -> Turn {
        let (task, turn) = match planned {
            Planned::Small(task) => match self.copy_small(task, tally).await {
                Turn::Large => (task, self.copy_large_version(task, tally).await),
                turn => (task, turn),
            },
            Planned::Large(task) => (task, self.copy_large_version(task, tally).await),
            Planned::Marker(task) => (task, self.add_delete_marker(task, tally).await),
            Planned::Ended(_, ended) => return Turn::Ended(ended.clone()),
        };
        let Turn::Ended(Ended::Succeeded(success)) = turn else {
            return turn;
        };
        match self.stand(task, &success, standing, last, tally).await {
            Ok(()) => Turn::Ended(Ended::Succeeded(success)),
            Err(_) if self.lost.get().is_some() => Turn::Stopped,
            Err(failure) => Turn::Ended(Ended::Failed(*failure)),
        }
    }

    /// As many at a time as in the lane of large rows.
    async fn copy_large_version(&self, task: &Task, tally: &mut Tally) -> Turn {
        let permit = self.large_versions.acquire();
        match self.drain.run_until_cancelled(permit).await {
            Some(Ok(_permit)) => Box::pin(self.copy_large(task, tally)).await,
            Some(Err(_)) | None => Turn::Stopped,
        }
    }

    /// Adds a delete marker. The job has seen that the bucket keeps versions; in one that does not,
    /// this would delete.
    async fn add_delete_marker(&self, task: &Task, tally: &mut Tally) -> Turn {
        let (bucket, key) = (&self.destination_bucket, &task.destination_key);
        let send = || {
            let headers = self.headers.destination();
            self.destination.delete_object(bucket, key, None, headers)
        };
        let operation = Operation::DeleteObject;
        // Sent again it adds another marker, under which the key stands as under one.
        let sent = self
            .send(tally, Lane::Small, operation, None, OnDoubt::Resend, send)
            .await;
        let deleted = match sent {
            Ok(deleted) => deleted,
            Err(_) if self.lost.get().is_some() => return Turn::Stopped,
            Err(error) => return Turn::Ended(Ended::Failed(Failure::from(&error))),
        };
        self.wrote.cancel();
        if !deleted.delete_marker {
            return Turn::Ended(Ended::Failed(not_versioned()));
        }
        Turn::Ended(Ended::Succeeded(Box::new(Success {
            e_tag: String::new(),
            version_id: deleted.version_id,
            bytes: None,
            parts: None,
            by: By::Marker,
            evidence: Evidence::Response,
            source_e_tag: None,
            source_version_id: task.row.version_id.clone(),
            source_size: None,
            source_last_modified: task.row.facts.last_modified.map(time_text),
            source_changed: false,
            in_doubt: tally.in_doubt,
            notes: Vec::new(),
        })))
    }

    /// Whether a version that was written is one of its own, and stands.
    async fn stand(
        &self,
        task: &Task,
        success: &Success,
        standing: &mut Standing,
        last: bool,
        tally: &mut Tally,
    ) -> Result<(), Box<Failure>> {
        let written = success.version_id.as_deref().filter(|id| *id != "null");
        let written = written.ok_or_else(|| Box::new(not_versioned()))?;
        if success.in_doubt && success.by != By::Marker {
            let older = standing.version_id.as_deref();
            if older == Some(written) {
                let message = "the answer to its copy was lost, and the version before it, which \
                    is equal, is still the current one: it was not written";
                return Err(Box::new(Failure::of(Code::DestinationConflict, message)));
            }
            if older.is_none() && task.row.behind_older {
                let message = "the answer to its copy was lost, and the current version, which is \
                    equal, may be an older one that was there before: whether it was written \
                    cannot be told";
                return Err(Box::new(
                    Failure::of(Code::DestinationConflict, message)
                        .hinted("run resume: it writes this version again"),
                ));
            }
        }
        standing.version_id = Some(written.to_owned());
        // What an earlier attempt or pass had in flight is not known any more.
        standing.in_doubt |= tally.in_doubt || success.in_doubt || !self.first_attempt;
        if last && standing.in_doubt {
            self.check_current(task, written, tally).await?;
        }
        Ok(())
    }

    /// Whether what was written last is the current version: a write of an older one that was in doubt
    /// may have landed behind it.
    async fn check_current(
        &self,
        task: &Task,
        written: &str,
        tally: &mut Tally,
    ) -> Result<(), Box<Failure>> {
        let looked = self
            .head_destination(task, Lane::Small, None, false, tally)
            .await;
        let stands = match &looked {
            Ok(head) => head.version_id.as_deref() == Some(written),
            // Under a delete marker, whichever.
            Err(error) if error.status == Some(404) => task.row.facts.delete_marker,
            Err(error) => return Err(Box::new(cannot_look(error))),
        };
        if stands {
            return Ok(());
        }
        let message = "it was written, and is not the current version: a write of an older \
            version, whose answer was lost, may have landed behind it";
        Err(Box::new(
            Failure::of(Code::DestinationConflict, message)
                .hinted("run resume: it writes this version again, behind what stands there now"),
        ))
    }
}

fn not_versioned() -> Failure {
    Failure::of(
        Code::DestinationNotVersioned,
        "the answer names no version: the destination does not keep versions, and the next one \
         would replace this one",
    )
}
