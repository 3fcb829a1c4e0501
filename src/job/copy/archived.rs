//! Sources that are archived. S3's answer alone says so: a manifest's class is old, and a restored
//! object still says GLACIER.

use s3haul_s3::{Lane, OnDoubt, Operation, Tally};

use super::Copier;
use super::settings::{Archived, RestoreTier};
use crate::job::code::Code;
use crate::job::outcome::{Ended, Failure};
use crate::job::plan::Task;

impl Copier {
    /// What becomes of a row whose copy was refused because its source is archived.
    pub(super) async fn archived(
        &self,
        task: &Task,
        refused: Failure,
        lane: Lane,
        tally: &mut Tally,
    ) -> Ended {
        match self.options.object.archived {
            Archived::Fail => Ended::Failed(refused),
            Archived::Skip => Ended::Skipped {
                code: Code::Archived,
                message: "S3 answers that the object is archived: it was left alone".to_owned(),
            },
            Archived::Restore { tier, days } => {
                Ended::Failed(self.restore(task, tier, days, lane, tally).await)
            }
        }
    }

    /// Asks for an archived object, and waits for nothing.
    async fn restore(
        &self,
        task: &Task,
        tier: RestoreTier,
        days: u32,
        lane: Lane,
        tally: &mut Tally,
    ) -> Failure {
        let source = match self.head_source(task, lane, tally).await {
            Ok(head) => head,
            Err(error) => return Failure::from(&error),
        };
        if source
            .header("x-amz-restore")
            .is_some_and(|restore| restore.contains("ongoing-request=\"true\""))
        {
            return in_progress("its restore is under way");
        }
        // What comes back from Intelligent-Tiering's archives stays.
        let tiering = source.header("x-amz-storage-class") == Some("INTELLIGENT_TIERING");
        let days = (!tiering).then_some(days);
        let version_id = task.row.version_id.as_deref();
        let send = || {
            let (key, headers) = (&task.row.key, self.headers.source());
            self.source.restore_object(
                &self.source_bucket,
                key,
                version_id,
                days,
                Some(tier.as_str()),
                headers,
            )
        };
        let operation = Operation::RestoreObject;
        // Asked for twice it is restored once.
        let sent = self
            .send(tally, lane, operation, None, OnDoubt::Resend, send)
            .await;
        match sent {
            Ok(()) => in_progress("its restore was asked for"),
            Err(error) if error.report_code() == "RestoreAlreadyInProgress" => {
                in_progress("its restore is under way")
            }
            Err(error) => Failure::from(&error),
        }
    }
}

fn in_progress(what: &str) -> Failure {
    let message = format!("the object is archived, and {what}");
    Failure::of(Code::RestoreInProgress, message).hinted(
        "run resume when it is there: within minutes by the tier expedited, within 5 hours by \
         standard (Deep Archive: 12), within 12 by bulk (Deep Archive: 48)",
    )
}
