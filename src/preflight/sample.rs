//! Rows that stand for all: the first, the last, one at random, the largest, one with a version.

use crate::job::manifest::Row;

/// Picks rows as they go by; memory does not grow with them.
#[derive(Debug)]
pub struct Sampler {
    rows: u64,
    first: Option<Row>,
    last: Option<Row>,
    random: Option<Row>,
    largest: Option<Row>,
    versioned: Option<Row>,
    unknown_sizes: bool,
    random_numbers: fastrand::Rng,
}

/// What was picked.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Rows, no two of the same object, each with why it was picked.
    pub rows: Vec<(&'static str, Row)>,
    /// The largest size that is listed.
    pub largest_bytes: Option<u64>,
    /// Some size is not listed.
    pub unknown_sizes: bool,
}

impl Sampler {
    /// Has seen none yet.
    pub fn new(random_numbers: fastrand::Rng) -> Self {
        Self {
            rows: 0,
            first: None,
            last: None,
            random: None,
            largest: None,
            versioned: None,
            unknown_sizes: false,
            random_numbers,
        }
    }

    /// Sees a row. What has no object behind it is none to pick.
    pub fn see(&mut self, row: Row) {
        if row.problem.is_some() || row.facts.delete_marker {
            return;
        }
        self.rows += 1;
        if self.first.is_none() {
            self.first = Some(row.clone());
        }
        // Each of n rows is it with a chance of 1 in n.
        if self.random_numbers.u64(..self.rows) == 0 {
            self.random = Some(row.clone());
        }
        let size = |row: &Row| row.facts.size;
        self.unknown_sizes |= size(&row).is_none();
        if size(&row) > self.largest.as_ref().and_then(size) {
            self.largest = Some(row.clone());
        }
        if self.versioned.is_none() && row.version_id.is_some() {
            self.versioned = Some(row.clone());
        }
        self.last = Some(row);
    }

    /// Those that it has picked.
    pub fn samples(self) -> Samples {
        let largest_bytes = self.largest.as_ref().and_then(|row| row.facts.size);
        let mut rows: Vec<(&'static str, Row)> = Vec::new();
        for (why, row) in [
            ("first", self.first),
            ("last", self.last),
            ("random", self.random),
            ("largest", self.largest),
            ("versioned", self.versioned),
        ] {
            let known = |row: &Row| {
                let same = |(_, other): &(_, Row)| {
                    (&other.key, &other.version_id) == (&row.key, &row.version_id)
                };
                rows.iter().any(same)
            };
            if let Some(row) = row.filter(|row| !known(row)) {
                rows.push((why, row));
            }
        }
        Samples {
            rows,
            largest_bytes,
            unknown_sizes: self.unknown_sizes,
        }
    }
}

impl Samples {
    /// Whether objects are copied in parts, where that can be told from the manifest.
    pub fn in_parts(&self, multipart_threshold: u64) -> Option<bool> {
        match self.largest_bytes {
            Some(bytes) if bytes > multipart_threshold => Some(true),
            _ if self.unknown_sizes => None,
            _ => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::manifest::Facts;

    fn row(key: &str, size: Option<u64>, version_id: Option<&str>) -> Row {
        Row {
            key: key.to_owned(),
            version_id: version_id.map(str::to_owned),
            facts: Facts {
                size,
                ..Facts::default()
            },
            ..Row::default()
        }
    }

    fn samples(rows: impl IntoIterator<Item = Row>, seed: u64) -> Samples {
        let mut sampler = Sampler::new(fastrand::Rng::with_seed(seed));
        rows.into_iter().for_each(|row| sampler.see(row));
        sampler.samples()
    }

    #[test]
    fn each_kind_is_picked_and_no_object_twice() {
        let rows = || {
            (0..100).map(|n| {
                let version = (n == 70).then_some("v");
                let size = if n == 50 { 999 } else { n };
                row(&format!("k{n}"), Some(size), version)
            })
        };
        let mut picked = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let samples = samples(rows(), seed);
            let key = |kind: &str| {
                let of = samples.rows.iter().find(|(why, _)| *why == kind);
                of.map(|(_, row)| row.key.clone())
            };
            assert_eq!(key("first").unwrap(), "k0");
            assert_eq!(key("last").unwrap(), "k99");
            for (kind, expected) in [("largest", "k50"), ("versioned", "k70")] {
                // Unless that of chance is it.
                let key = key(kind).or_else(|| key("random")).unwrap();
                assert_eq!(key, expected);
            }
            picked.extend(key("random"));
            let mut keys: Vec<_> = samples.rows.iter().map(|(_, row)| &row.key).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), samples.rows.len());
        }
        assert!(picked.len() > 20, "{picked:?}");
        assert_eq!(samples([row("k", None, None)], 0).rows.len(), 1);
        assert!(samples([], 0).rows.is_empty());
    }

    #[test]
    fn whether_objects_are_copied_in_parts() {
        let known = |sizes: &[Option<u64>]| {
            let rows = sizes.iter().map(|size| row("k", *size, None));
            samples(rows, 0).in_parts(10)
        };
        assert_eq!(known(&[Some(1), Some(10)]), Some(false));
        assert_eq!(known(&[Some(1), Some(11)]), Some(true));
        assert_eq!(known(&[Some(1), None]), None);
        assert_eq!(known(&[Some(11), None]), Some(true));
    }
}
