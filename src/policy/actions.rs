//! Which IAM actions a request takes: `actions.csv`, whose first lines say what its fields mean.

use std::sync::LazyLock;

const TABLE: &str = include_str!("../../crates/sandbox/actions.csv");

/// One row: a request takes an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRow {
    /// S3's name of the request.
    pub operation: &'static str,
    /// What must hold of the request, or must not.
    pub when: Vec<(&'static str, bool)>,
    /// Whether it is asked of the bucket in `x-amz-copy-source`, not of that in the URL.
    pub of_source: bool,
    /// The IAM action.
    pub action: &'static str,
    /// What it is asked on.
    pub on: On,
}

/// What an action is asked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum On {
    /// The bucket itself.
    Bucket,
    /// Objects in it.
    Object,
    /// The KMS key that objects are encrypted under.
    Key,
}

/// Whether something holds of the requests of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Of none of them.
    No,
    /// Of some, or it cannot be told from the flags.
    Maybe,
    /// Of each.
    Yes,
}

impl From<bool> for Known {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl ActionRow {
    /// Whether requests take the action; `fact` says of a token whether it holds of them.
    pub fn holds(&self, fact: impl Fn(&str) -> Known) -> Known {
        let facts = self.when.iter().map(|(token, holds)| match fact(token) {
            Known::Maybe => Known::Maybe,
            known => Known::from((known == Known::Yes) == *holds),
        });
        facts.fold(Known::Yes, |all, one| match (all, one) {
            (Known::No, _) | (_, Known::No) => Known::No,
            (Known::Maybe, _) | (_, Known::Maybe) => Known::Maybe,
            _ => Known::Yes,
        })
    }
}

/// All rows, in the table's order. A line that cannot be read is left out; a test counts them.
pub fn table() -> &'static [ActionRow] {
    static ROWS: LazyLock<Vec<ActionRow>> = LazyLock::new(|| lines().filter_map(row).collect());
    &ROWS
}

fn lines() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#')).skip(1)
}

fn row(line: &'static str) -> Option<ActionRow> {
    let fields: Vec<_> = line.split(',').collect();
    let &[operation, when, side, action, on] = &fields[..] else {
        return None;
    };
    let facts = when.split('&').filter(|token| *token != "always");
    Some(ActionRow {
        operation,
        when: facts
            .map(|token| match token.strip_prefix('!') {
                Some(token) => (token, false),
                None => (token, true),
            })
            .collect(),
        of_source: side == "source",
        action,
        on: match on {
            "bucket" => On::Bucket,
            "object" => On::Object,
            "key" => On::Key,
            // Of requests that name neither: no job sends one.
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_read() {
        let unread: Vec<_> = lines().filter(|line| row(line).is_none()).collect();
        assert_eq!(
            unread,
            ["ListBuckets,always,bucket,s3:ListAllMyBuckets,*"],
            "lines of actions.csv"
        );
        assert!(table().len() > 90);
    }

    #[test]
    fn what_holds_of_some_requests_may_be_asked_for() {
        let row = row("CopyObject,a&!b,source,s3:GetObject,object").unwrap();
        let holds = |a, b| row.holds(|token| if token == "a" { a } else { b });
        assert_eq!(holds(Known::Yes, Known::No), Known::Yes);
        assert_eq!(holds(Known::Maybe, Known::No), Known::Maybe);
        assert_eq!(holds(Known::Yes, Known::Maybe), Known::Maybe);
        assert_eq!(holds(Known::Maybe, Known::Yes), Known::No);
        assert_eq!(holds(Known::No, Known::Maybe), Known::No);
    }
}
