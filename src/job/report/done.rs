//! Which rows of a pass are done: intervals of ordinals, as few as there are rows in hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::job::manifest::{Place, Position};

/// The done rows of a pass.
///
/// A failed row is done for its pass like a succeeded one, so the list stays as short as what the
/// workers hold, whatever the job's length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Interval>", into = "Vec<Interval>")]
pub struct Done {
    /// First ordinal → the end and the place behind the last row.
    intervals: BTreeMap<u64, (u64, Place)>,
}

/// Rows `from..to`; the row `to` begins at `after` in the pass's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// First ordinal.
    pub from: u64,
    /// First ordinal that is not in it.
    pub to: u64,
    /// Where the row behind it begins.
    pub after: Place,
}

impl Done {
    /// Adds a row; `false` if it is in already, which only a bug can cause.
    #[must_use]
    pub fn insert(&mut self, ordinal: u64, after: Place) -> bool {
        if self.contains(ordinal) {
            return false;
        }
        let mut from = ordinal;
        let mut to = ordinal + 1;
        let mut place = after;
        if let Some((end, after)) = self.intervals.remove(&to) {
            (to, place) = (end, after);
        }
        if let Some((&start, &(end, _))) = self.intervals.range(..ordinal).next_back()
            && end == ordinal
        {
            from = start;
        }
        self.intervals.insert(from, (to, place));
        true
    }

    /// Whether a row is done.
    pub fn contains(&self, ordinal: u64) -> bool {
        self.intervals
            .range(..=ordinal)
            .next_back()
            .is_some_and(|(_, (end, _))| ordinal < *end)
    }

    /// Number of done rows.
    pub fn rows(&self) -> u64 {
        self.intervals.iter().map(|(from, (to, _))| to - from).sum()
    }

    /// Whether exactly the rows `0..rows` are done.
    pub fn is_all_of(&self, rows: u64) -> bool {
        match self.intervals.iter().next() {
            None => rows == 0,
            Some((from, (to, _))) => *from == 0 && *to == rows && self.intervals.len() == 1,
        }
    }

    /// Where reading goes on: the lowest row that is not done.
    pub fn position(&self) -> Position {
        match self.intervals.get(&0) {
            Some((to, after)) => Position {
                place: *after,
                ordinal: *to,
            },
            None => Position::default(),
        }
    }
}

impl From<Vec<Interval>> for Done {
    fn from(intervals: Vec<Interval>) -> Self {
        Self {
            intervals: intervals
                .into_iter()
                .map(|i| (i.from, (i.to, i.after)))
                .collect(),
        }
    }
}

impl From<Done> for Vec<Interval> {
    fn from(done: Done) -> Self {
        done.intervals
            .into_iter()
            .map(|(from, (to, after))| Interval { from, to, after })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn place(ordinal: u64) -> Place {
        Place {
            file: 0,
            byte: (ordinal + 1) * 7,
            row: 0,
        }
    }

    proptest! {
        #[test]
        fn intervals_are_the_set_of_ordinals(ordinals in proptest::collection::vec(0u64..60, 0..120)) {
            let (mut done, mut model) = (Done::default(), BTreeSet::new());
            for ordinal in ordinals {
                prop_assert_eq!(done.insert(ordinal, place(ordinal)), model.insert(ordinal));
            }
            for ordinal in 0..62 {
                prop_assert_eq!(done.contains(ordinal), model.contains(&ordinal));
            }
            prop_assert_eq!(done.rows(), model.len() as u64);
            let lowest = (0..=60).find(|n| !model.contains(n)).unwrap();
            let position = done.position();
            prop_assert_eq!(position.ordinal, lowest);
            if lowest > 0 {
                prop_assert_eq!(position.place, place(lowest - 1));
            }
            prop_assert_eq!(done.is_all_of(model.len() as u64), lowest == model.len() as u64);
            let gaps = model.iter().filter(|n| !model.contains(&(*n + 1))).count();
            prop_assert_eq!(Vec::from(done.clone()).len(), gaps);
            let json = serde_json::to_string(&done).unwrap();
            prop_assert_eq!(serde_json::from_str::<Done>(&json).unwrap(), done);
        }
    }
}
