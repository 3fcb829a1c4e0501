//! What `policy` prints.

use std::fmt;

use serde::Serialize;

use crate::policy::documents::{Document, Parties, resources};
use crate::policy::needs::Need;

/// JSON as people read it.
pub(super) fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// All there is to print.
#[derive(Serialize)]
pub(super) struct Printed<'d> {
    pub(super) documents: &'d [Document],
    #[serde(rename = "needs")]
    pub(super) lines: Vec<Line>,
}

/// An action with what it is on and why.
#[derive(Serialize)]
pub(super) struct Line {
    action: &'static str,
    side: &'static str,
    resource: Vec<String>,
    reason: Vec<String>,
    essential: bool,
}

impl Line {
    pub(super) fn of(need: &Need, parties: &Parties) -> Self {
        Self {
            action: need.action,
            side: need.place.as_str(),
            resource: resources(parties, need.place, need.on),
            reason: need.reasons.iter().cloned().collect(),
            essential: need.essential,
        }
    }
}

/// `--output table`.
#[derive(Serialize)]
pub(super) struct Table(pub(super) Vec<Line>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Line) -> &str| self.0.iter().map(|l| of(l).len()).max().unwrap_or(0);
        let (actions, sides) = (width(|l| l.action), width(|l| l.side));
        let resources = width(|line| line.resource.first().map_or("", String::as_str));
        for (at, line) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            let Line {
                action,
                side,
                resource,
                ..
            } = line;
            let first = resource.first().map_or("", String::as_str);
            let reason = line.reason.join("; ");
            write!(
                f,
                "{action:actions$}  {side:sides$}  {first:resources$}  {reason}"
            )?;
            for more in resource.iter().skip(1) {
                write!(f, "\n{:actions$}  {:sides$}  {more}", "", "")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, document) in self.documents.iter().enumerate() {
            if at > 0 {
                writeln!(f, "\n")?;
            }
            let Document {
                id,
                kind,
                account,
                on,
                why,
                ..
            } = document;
            writeln!(f, "# {id}: {} of {on}, in account {account}", kind.as_str())?;
            writeln!(f, "# {why}")?;
            write!(f, "{}", pretty(&document.document))?;
        }
        Ok(())
    }
}
