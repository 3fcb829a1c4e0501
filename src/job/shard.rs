//! One shard of an array: the part of a manifest that one of several processes copies.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most shards of a job: the largest array of AWS Batch.
pub const MAX_SHARDS: u32 = 10_000;

/// Which part of the manifest is this process's. All shards of a job have its ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl Shard {
    /// A shard, if there is such a one.
    ///
    /// # Errors
    /// There is none.
    pub fn new(index: u32, of: u32) -> Result<Self, String> {
        if !(1..=MAX_SHARDS).contains(&of) {
            return Err(format!("a job has 1 to {MAX_SHARDS} shards, not {of}"));
        }
        if index >= of {
            return Err(format!(
                "the shards of {of} are 0 to {}: there is no {index}",
                of - 1
            ));
        }
        Ok(Self { index, of })
    }

    /// Whether it is the one that does what is done once for all of them.
    pub fn is_first(self) -> bool {
        self.index == 0
    }

    /// Whether it has the `number`-th of what is dealt one by one.
    pub fn has(self, number: u64) -> bool {
        number % u64::from(self.of) == u64::from(self.index)
    }

    /// Its part of what a job may do in a second, 1 at least: together the shards do no more than the job
    /// may, unless that is less than one each.
    pub fn share(self, total: u32) -> u32 {
        let more = u32::from(self.index < total % self.of);
        (total / self.of + more).max(1)
    }

    /// Name of the shard's folder in the job's.
    pub fn folder_name(self) -> String {
        format!("shard-{:05}-of-{:05}", self.index, self.of)
    }

    /// The shard whose folder has this name.
    pub fn of_folder(name: &str) -> Option<Self> {
        let (index, of) = name.strip_prefix("shard-")?.split_once("-of-")?;
        let shard = Self::new(index.parse().ok()?, of.parse().ok()?).ok()?;
        (shard.folder_name() == name).then_some(shard)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "a shard is I/N: from 0/N to N-1/N";
        let (index, of) = text.split_once('/').ok_or(form)?;
        let number = |text: &str| text.parse().map_err(|_| form.to_owned());
        Self::new(number(index)?, number(of)?)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// Name of the session of a role that a job, or a shard of one, has to itself: by it a process knows which
/// open uploads are its own. No job's ID has an `@`.
pub fn session_name(job_id: &str, shard: Option<Shard>) -> String {
    match shard {
        None => format!("s3haul-{job_id}"),
        Some(Shard { index, of }) => format!("s3haul-{job_id}@{index}-of-{of}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (total, of) in [(3000, 7), (10, 3), (8, 8), (9, 8), (1, 1)] {
            let shares = (0..of).map(|index| Shard { index, of }.share(total));
            assert_eq!(shares.sum::<u32>(), total);
        }
        assert_eq!(Shard { index: 7, of: 8 }.share(3), 1);
    }

    #[test]
    fn a_session_is_one_shards() {
        let last = Shard::new(MAX_SHARDS - 1, MAX_SHARDS).unwrap();
        let name = session_name(&"j".repeat(40), Some(last));
        assert!(name.len() <= 64, "{name}");
        assert_eq!(session_name("j", None), "s3haul-j");
        let first = Shard { index: 0, of: 8 };
        assert_eq!(session_name("j", Some(first)), "s3haul-j@0-of-8");
    }

    #[test]
    fn shards_are_numbered_from_zero() {
        let shard: Shard = "3/8".parse().unwrap();
        assert_eq!(shard, Shard { index: 3, of: 8 });
        assert_eq!(shard.to_string(), "3/8");
        for text in [
            "8/8", "-1/8", "3", "3/", "/8", "3/0", "0/10001", "a/b", "3/8/1",
        ] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_folder_tells_its_shard() {
        let shard = Shard { index: 3, of: 8 };
        assert_eq!(shard.folder_name(), "shard-00003-of-00008");
        assert_eq!(Shard::of_folder("shard-00003-of-00008"), Some(shard));
        for name in [
            "shard-3-of-8",
            "shard-00008-of-00008",
            "shard-00003-of-00008x",
            "job-1",
        ] {
            assert_eq!(Shard::of_folder(name), None, "{name}");
        }
    }
}
