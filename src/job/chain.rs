//! Chains: the versions of a key, which must land one after another, the oldest first.
//!
//! The planner gathers rows of one key, which `--versions all` has sorted to stand together, and one
//! worker takes them all. The chain stops at its first row that fails; those behind it end failed
//! too, unsent, and the next pass goes on there.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use s3haul_s3::Tally;
use tokio::sync::oneshot;

use super::copy::versions::Standing;
use super::copy::{Copier, Turn};
use super::manifest::Row;
use super::outcome::{Cost, Ended, Failure};
use super::plan::{Planned, Task};
use super::report::previous::CopiedBefore;
use super::{Worker, outcome_event};
use crate::job::code::Code;

/// Rows that a worker takes together. Workers and lane hold as many as there are small workers: memory
/// must grow neither with the versions of a key nor much with their number.
const CHAIN_ROWS: usize = 64;

/// What a worker takes.
#[derive(Debug)]
pub(super) enum Work {
    /// A row by itself.
    Row(Box<Task>),
    /// The versions of a key, or the next of them.
    Chain(Box<Chain>),
}

/// Rows that must end one after another.
///
/// A key of many versions makes several. Each waits for the one before it, which is before it in the
/// lane too: some worker has that in hand, and the first of them waits for nobody.
#[derive(Debug)]
pub(super) struct Chain {
    rows: Vec<Planned>,
    before: Before,
    /// Told how they stand, where more rows of the key follow. Dropped, those are not run.
    after: Option<oneshot::Sender<Standing>>,
}

/// How the older versions of a chain's key stand.
#[derive(Debug)]
enum Before {
    Known(Standing),
    /// They are in another chain.
    Told(oneshot::Receiver<Standing>),
}

impl Chain {
    /// Whether older versions of its key are in another chain.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.before, Before::Told(_))
    }

    /// Whether its first row with anything to send is sent for certain, so that it can prove access.
    pub(super) fn proves(&self) -> bool {
        let skipped = |row: &&Planned| matches!(row, Planned::Ended(_, Ended::Skipped { .. }));
        let first = self.rows.iter().find(|row| !skipped(row));
        let known = matches!(&self.before, Before::Known(standing) if !standing.failed);
        known && first.is_some_and(|row| !matches!(row, Planned::Ended(..)))
    }
}

/// Gathers the rows of a key, which come one behind the other.
#[derive(Debug)]
pub(super) struct Gathering {
    key: String,
    rows: Vec<Planned>,
    before: Before,
}

impl Default for Gathering {
    fn default() -> Self {
        Self {
            key: String::new(),
            rows: Vec::new(),
            before: Before::Known(Standing::default()),
        }
    }
}

impl Gathering {
    /// Takes a row, and gives back the rows before it once no more belong to them. `broken`: an older
    /// version of its key has failed in an earlier attempt of this pass.
    pub(super) fn take(&mut self, key: &str, planned: Planned, broken: bool) -> Option<Chain> {
        let chain = if self.rows.is_empty() || self.key != key {
            let chain = self.end();
            key.clone_into(&mut self.key);
            self.before = Before::Known(Standing {
                failed: broken,
                ..Standing::default()
            });
            chain
        } else if self.rows.len() == CHAIN_ROWS {
            let (tell, told) = oneshot::channel();
            Some(Chain {
                rows: std::mem::take(&mut self.rows),
                before: std::mem::replace(&mut self.before, Before::Told(told)),
                after: Some(tell),
            })
        } else {
            None
        };
        self.rows.push(planned);
        chain
    }

    /// The rows gathered last: no more follow.
    pub(super) fn end(&mut self) -> Option<Chain> {
        let Self { rows, before, .. } = std::mem::take(self);
        (!rows.is_empty()).then_some(Chain {
            rows,
            before,
            after: None,
        })
    }
}

/// Marks the rows that an earlier job has copied, which are skipped then. Of a chain that goes for its oldest
/// rows alone: behind a version that is written each newer one is written too, or the older would be the
/// current one.
#[derive(Debug)]
pub(super) struct Marks {
    pub(super) before: Arc<CopiedBefore>,
    /// Rows of a key are a chain.
    pub(super) chains: bool,
    /// Delete markers are written like versions.
    pub(super) markers: bool,
    /// The key of the last row, and whether all of its rows so far were copied before.
    pub(super) last: Option<(String, bool)>,
}

impl Marks {
    /// Marks a row. Of chains it must see every row: also those that are done.
    pub(super) fn mark(&mut self, row: &mut Row) -> io::Result<()> {
        if row.facts.delete_marker && !self.markers {
            return Ok(());
        }
        row.copied_before = self.before.look(row)?;
        if !self.chains {
            return Ok(());
        }
        let older = match &self.last {
            Some((key, older)) if *key == row.key => *older,
            Some(_) => true,
            // Where reading goes on in the middle, older versions may have been written.
            None => row.ordinal == 0,
        };
        row.copied_before = row.copied_before.filter(|_| older);
        self.last = Some((row.key.clone(), row.copied_before.is_some()));
        Ok(())
    }
}

/// Marks the rows of chains behind which older ones were written before this attempt: what is found
/// at the destination may be theirs.
#[derive(Debug)]
pub(super) struct Older {
    /// Rows of an earlier pass: what had succeeded there is not among them.
    pub(super) later_pass: bool,
    /// The key of the last row.
    pub(super) key: Option<String>,
    /// Whether one of its rows is at the destination.
    pub(super) written: bool,
}

impl Older {
    /// Marks a row. It must see every row, also those that are `done`.
    pub(super) fn mark(&mut self, row: &mut Row, done: bool) {
        if self.key.as_ref() != Some(&row.key) {
            // Where reading begins in the middle, older ones may have been done.
            self.written = self.later_pass || self.key.is_none() && row.ordinal > 0;
            self.key.get_or_insert_default().clone_from(&row.key);
        }
        row.behind_older = self.written;
        self.written |= done || row.copied_before.is_some();
    }
}

impl Worker {
    /// Ends the rows of a chain one after another; `true` if nobody records them any more.
    pub(super) async fn chain(&self, chain: Chain) -> bool {
        let Chain {
            rows,
            before,
            after,
        } = chain;
        let mut standing = match before {
            Before::Known(standing) => standing,
            Before::Told(told) => match told.await {
                Ok(standing) => standing,
                // The older ones were not run to their end.
                Err(_) => return false,
            },
        };
        let last = rows.len().saturating_sub(1);
        // What stands at the destination then is looked at, if it is in doubt.
        let last_write = rows
            .iter()
            .rposition(|row| !matches!(row, Planned::Ended(..)));
        for (at, planned) in rows.into_iter().enumerate() {
            if !self.may_begin().await {
                return false;
            }
            let (started, mut tally) = (Instant::now(), Tally::default());
            let (row, ended) = if let Planned::Ended(row, ended) = planned {
                (row, ended)
            } else if standing.failed {
                (planned.into_row(), earlier_version_failed())
            } else {
                let last_write = last_write == Some(at);
                let copier: &Copier = &self.copier;
                let copied = copier.copy_version(&planned, &mut standing, last_write, &mut tally);
                match Box::pin(copied).await {
                    Turn::Ended(ended) => (planned.into_row(), ended),
                    Turn::Large | Turn::Stopped => return false,
                }
            };
            standing.failed |= matches!(ended, Ended::Failed(_));
            let elapsed = started.elapsed();
            let chained = at < last || after.is_some();
            let event = outcome_event(&self.bucket, row, &ended, &Cost { tally, elapsed }, chained);
            if self.copier.events.send(event).await.is_err() {
                return true;
            }
        }
        if let Some(after) = after {
            // Whoever was to go on has been stopped.
            let _ = after.send(standing);
        }
        false
    }
}

fn earlier_version_failed() -> Ended {
    let message = "an older version of this key has failed, and nothing newer lands before it";
    Ended::Failed(Failure::of(Code::EarlierVersionFailed, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::manifest::{Facts, Place, Rename};
    use crate::job::plan::{PlanOptions, plan};

    fn planned(ordinal: u64, key: &str, delete_marker: bool) -> Planned {
        let row = Row {
            ordinal,
            after: Place::default(),
            key: key.into(),
            spelt: None,
            version_id: Some(format!("v{ordinal}")),
            facts: Facts {
                delete_marker,
                ..Facts::default()
            },
            problem: None,
            is_latest: false,
            copied_before: None,
            behind_older: false,
            doubted: false,
        };
        plan(row, None, &Rename::default(), &PlanOptions::default())
    }

    fn ordinals(chain: Chain) -> Vec<u64> {
        let rows = chain.rows.into_iter();
        rows.map(|row| row.into_row().ordinal).collect()
    }

    #[test]
    fn rows_of_a_key_are_one_chain() {
        let mut gathering = Gathering::default();
        let keys = ["a", "a", "b", "c", "c"];
        let mut chains = Vec::new();
        for (ordinal, key) in (0..).zip(keys) {
            chains.extend(gathering.take(key, planned(ordinal, key, false), false));
        }
        chains.extend(gathering.end());
        assert!(gathering.end().is_none());
        assert!(chains.iter().all(|chain| chain.after.is_none()));
        let found: Vec<_> = chains.into_iter().map(ordinals).collect();
        assert_eq!(found, [vec![0, 1], vec![2], vec![3, 4]]);
    }

    #[test]
    fn a_long_chain_is_cut_and_its_pieces_are_linked() {
        let mut gathering = Gathering::default();
        let rows = 2 * CHAIN_ROWS as u64 + 1;
        let mut chains = Vec::new();
        for ordinal in 0..rows {
            chains.extend(gathering.take("k", planned(ordinal, "k", false), ordinal == 0));
        }
        chains.extend(gathering.end());
        let linked: Vec<_> = chains.iter().map(|chain| chain.after.is_some()).collect();
        assert_eq!(linked, [true, true, false]);
        let goes_on: Vec<_> = chains.iter().map(Chain::goes_on).collect();
        assert_eq!(goes_on, [false, true, true]);
        // It was broken before it began.
        assert!(matches!(&chains[0].before, Before::Known(standing) if standing.failed));
        let mut chains = chains.into_iter();
        let (first, second) = (chains.next().unwrap(), chains.next().unwrap());
        let (Some(tell), Before::Told(mut told)) = (first.after, second.before) else {
            panic!("not linked");
        };
        let version_id = Some("v".to_owned());
        let standing = Standing {
            version_id,
            ..Standing::default()
        };
        tell.send(standing).unwrap();
        assert_eq!(told.try_recv().unwrap().version_id.as_deref(), Some("v"));
        assert_eq!(ordinals(chains.next().unwrap()), [rows - 1]);
    }

    #[test]
    fn rows_know_whether_an_older_one_was_written_before() {
        // Key, done, and whether an older one was written, from the start and from the middle.
        let rows = [
            ("a", true, false, true),
            ("a", false, true, true),
            ("a", false, true, true),
            ("b", false, false, false),
            ("b", false, false, false),
        ];
        for (start, later_pass) in [(0, false), (7, false), (0, true)] {
            let mut older = Older {
                later_pass,
                key: None,
                written: false,
            };
            for (ordinal, (key, done, from_start, from_middle)) in (start..).zip(rows) {
                let mut row = planned(ordinal, key, false).into_row();
                older.mark(&mut row, done);
                let expected = later_pass || if start > 0 { from_middle } else { from_start };
                assert_eq!(row.behind_older, expected, "{ordinal} {key} {later_pass}");
            }
        }
    }

    #[test]
    fn what_sends_nothing_proves_nothing() {
        for (markers, broken, proves) in [
            (&[false, false][..], false, true),
            (&[true, false], false, true),
            (&[true, true], false, false),
            (&[false], true, false),
        ] {
            let mut gathering = Gathering::default();
            for (ordinal, marker) in (0..).zip(markers) {
                assert!(
                    gathering
                        .take("k", planned(ordinal, "k", *marker), broken)
                        .is_none()
                );
            }
            assert_eq!(
                gathering.end().unwrap().proves(),
                proves,
                "{markers:?} {broken}"
            );
        }
    }
}
