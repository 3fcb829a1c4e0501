//! What must hold of a job that has ended.
//!
//! - Each selected row is in the report once, and the summary counts these rows.
//! - Each key of the destination has what a row of it was to write, with its metadata, tags, owner and ACL; there is
//!   nothing else, and no upload is left.
//! - Of `--versions all` nothing older ever came behind something newer.
//! - Each version that was written is named by a row, with these exceptions alone: an attempt wrote it that died before
//!   its row was durable; or its answer was lost, or its row failed behind it, and is counted `in_doubt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::iam::DESTINATION_ACCOUNT;
use s3haul_sandbox::{ObjectProperties, ObjectView, Operation, VersionView};
use serde_json::{Value, json};

use super::Course;
use super::plan::{Listed, Overwrite, Plan, REPORTS};
use super::record::{decoded, names};
use crate::objects::{Seen, seen_of};
use crate::resume::assert_only_named_results;
use crate::support::{DESTINATION, JOB, Run, count, message, read_report_by};

/// Whether a request changes a bucket.
pub(super) fn is_write(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::PutObject
            | Operation::CopyObject
            | Operation::DeleteObject
            | Operation::PutObjectTagging
            | Operation::PutObjectAnnotation
            | Operation::CreateMultipartUpload
            | Operation::UploadPart
            | Operation::UploadPartCopy
            | Operation::CompleteMultipartUpload
            | Operation::AbortMultipartUpload
            | Operation::RestoreObject
    )
}

/// A row of the manifest with how it ended; none if the report leaves out what has not failed.
type Ended<'a> = (&'a Listed, Option<ReportRow>);

pub(super) fn check(course: &mut Course, run: &Run) {
    let (world, plan) = (&course.world, &course.plan);
    let bucket = if plan.in_bucket { REPORTS } else { "" };
    let rows = read_report_by(bucket, &format!("job-{JOB}/"), |name| {
        std::fs::read(world.job().join(name)).unwrap()
    });
    assert_only_named_results(world);
    if let Some(upload) = world.store().uploads(DESTINATION).first() {
        panic!("{upload:?} is left: {}", course.told(&upload.key));
    }
    check_summary(plan, &rows, run);
    let ended = pair(plan, &rows);
    let mut by_key = BTreeMap::<String, Vec<Ended<'_>>>::new();
    for (listed, row) in ended {
        match plan.destination_key(listed) {
            Some(key) => by_key.entry(key).or_default().push((listed, row)),
            None if listed.marker && !plan.replays => {
                expect(row.as_ref(), TaskStatus::Skipped, &["DeleteMarker"]);
            }
            None => {
                let earlier = plan.chains.then_some("EarlierVersionFailed");
                let codes: Vec<_> = earlier.into_iter().chain(["PrefixNotFound"]).collect();
                expect(row.as_ref(), TaskStatus::Failed, &codes);
            }
        }
    }
    let mut there = BTreeMap::<String, Vec<VersionView>>::new();
    // Newest first.
    for version in world.store().versions(DESTINATION).into_iter().rev() {
        there.entry(version.key.clone()).or_default().push(version);
    }
    for (key, versions) in &there {
        let asked_for = by_key.contains_key(key) || plan.before.contains_key(key);
        assert!(asked_for, "nobody asked for {key:?}: {versions:?}");
    }
    for (key, ended) in &by_key {
        let versions = there.get(key).map(Vec::as_slice).unwrap_or_default();
        if plan.chains {
            check_chain(course, key, ended, versions);
        } else {
            check_key(plan, plan.before.get(key), ended, versions);
        }
    }
    let in_doubt = rows.iter().filter(|row| is_counted(row)).count();
    let (mut by_kills, mut doubted) = (0, 0);
    if plan.versioned && plan.lists_all {
        for (key, ended) in &by_key {
            let versions = there.get(key).map(Vec::as_slice).unwrap_or_default();
            let (killed, lost) = check_versions(course, key, ended, versions);
            by_kills += killed;
            doubted += lost;
        }
    }
    let total = plan.rows.len();
    let figures = &mut course.figures;
    figures.rows = total;
    figures.in_doubt = in_doubt;
    figures.doubled_by_kills = by_kills;
    figures.doubled_in_doubt = doubted;
}

/// The summary is that of the rows.
fn check_summary(plan: &Plan, rows: &[ReportRow], run: &Run) {
    let failed = count(rows, TaskStatus::Failed);
    run.expect(i32::from(failed > 0));
    assert_eq!(run.summary("state"), "complete");
    assert_eq!(run.summary("rows"), plan.rows.len());
    assert_eq!(run.summary("filtered"), plan.filtered);
    assert_eq!(run.summary("failed"), failed);
    let number = |member| run.summary(member).as_u64().unwrap();
    let all = number("succeeded") + number("skipped") + number("failed");
    assert_eq!(all, plan.rows.len() as u64);
    let mut errors = BTreeMap::<&str, u64>::new();
    for row in rows.iter().filter(|row| row.status == TaskStatus::Failed) {
        *errors.entry(&row.error_code).or_default() += 1;
    }
    assert_eq!(run.summary("errors"), json!(errors));
    if plan.lists_all {
        assert_eq!(run.summary("succeeded"), count(rows, TaskStatus::Succeeded));
        assert_eq!(run.summary("skipped"), count(rows, TaskStatus::Skipped));
        let in_doubt = rows.iter().filter(|row| is_counted(row));
        assert_eq!(run.summary("in_doubt"), in_doubt.count());
        let mut evidence = BTreeMap::<String, u64>::new();
        for row in rows
            .iter()
            .filter(|row| row.status == TaskStatus::Succeeded)
        {
            let kind = message(row, "evidence");
            *evidence
                .entry(kind.as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        assert_eq!(run.summary("evidence"), json!(evidence));
    }
}

/// Each row of the manifest with its row of the report.
fn pair<'a>(plan: &'a Plan, rows: &[ReportRow]) -> Vec<Ended<'a>> {
    let mut left = BTreeMap::<_, Vec<_>>::new();
    for row in rows {
        let of = (decoded(&row.key), row.version_id.clone());
        left.entry(of).or_default().push(row.clone());
    }
    let mut ended = Vec::new();
    for listed in &plan.rows {
        let of = (
            listed.key.clone(),
            listed.version_id.clone().unwrap_or_default(),
        );
        let row = left.get_mut(&of).and_then(Vec::pop);
        assert!(row.is_some() || !plan.lists_all, "no row of {listed:?}");
        ended.push((listed, row));
    }
    left.retain(|_, rows| !rows.is_empty());
    assert!(
        left.is_empty(),
        "more than once, or not in the manifest: {left:?}"
    );
    if !plan.lists_all {
        assert_eq!(count(rows, TaskStatus::Failed), rows.len());
    }
    ended
}

/// A row ended so; of one that is not listed it is known that it has not failed.
#[track_caller]
fn expect(row: Option<&ReportRow>, status: TaskStatus, codes: &[&str]) {
    match row {
        None => assert_ne!(status, TaskStatus::Failed),
        Some(row) => {
            let is = (row.status, codes.contains(&row.error_code.as_str()));
            assert_eq!(is, (status, true), "{codes:?}: {row:?}");
        }
    }
}

fn has(row: Option<&ReportRow>, status: TaskStatus) -> bool {
    row.is_none_or(|row| row.status == status)
}

/// What becomes of an object.
fn result(plan: &Plan, source: &ObjectView) -> Seen {
    let properties = source.properties();
    Seen::of(ObjectProperties {
        tags: plan.tags.clone().unwrap_or(properties.tags.clone()),
        acl: Some("bucket-owner-full-control".to_owned()),
        owner: Some(DESTINATION_ACCOUNT.to_owned()),
        ..properties
    })
}

fn is_copy(plan: &Plan, source: &ObjectView, there: &ObjectView) -> bool {
    there.same_content(source) && seen_of(there) == result(plan, source)
}

/// A key of which rows are copied in no order.
fn check_key(
    plan: &Plan,
    before: Option<&ObjectView>,
    ended: &[Ended<'_>],
    versions: &[VersionView],
) {
    let current = versions.last().and_then(|version| version.object.as_ref());
    let is_before = match (before, current) {
        (Some(before), Some(current)) => {
            current.version_id == before.version_id
                && current.same_content(before)
                && seen_of(current) == seen_of(before)
        }
        (before, current) => before.is_none() && current.is_none(),
    };
    let there = |object: &ObjectView| {
        before.is_some_and(|before| {
            before.size() == object.size() && before.e_tag() == object.e_tag()
        })
    };
    let mut sources = Vec::new();
    for (listed, row) in ended {
        let Some(object) = &listed.object else {
            let kept = plan.overwrite == Overwrite::Never && before.is_some();
            match row {
                Some(row) if kept && row.status == TaskStatus::Skipped => {}
                row => expect(
                    row.as_ref(),
                    TaskStatus::Failed,
                    &["NoSuchKey", "NoSuchVersion", "NotFound"],
                ),
            }
            continue;
        };
        sources.push((object, row));
    }
    let told = || tell(ended, versions, before);
    let distinct: BTreeSet<_> = sources
        .iter()
        .map(|(object, _)| object.version_id.clone())
        .collect();
    for (_, row) in &sources {
        let Some(row) = row else { continue };
        let codes: &[_] = match (row.status, plan.overwrite) {
            (TaskStatus::Succeeded, _) => &[""],
            (TaskStatus::Skipped, Overwrite::Never) => &["DestinationExists"],
            (TaskStatus::Skipped, Overwrite::IfDifferent) => &["DestinationEqual"],
            // Another row has written another version of the key since the job began.
            (TaskStatus::Failed, Overwrite::Never) if distinct.len() > 1 && before.is_none() => {
                &["DestinationConflict"]
            }
            _ => panic!("{row:?}\n{}", told()),
        };
        assert!(
            codes.contains(&row.error_code.as_str()),
            "{row:?}\n{}",
            told()
        );
    }
    let all_before = !sources.is_empty() && sources.iter().all(|(object, _)| there(object));
    let stays = sources.is_empty()
        || match plan.overwrite {
            Overwrite::Always => false,
            Overwrite::Never => before.is_some(),
            Overwrite::IfDifferent => all_before,
        };
    if stays {
        assert!(is_before, "{}", told());
        for (_, row) in &sources {
            assert!(has(row.as_ref(), TaskStatus::Skipped), "{}", told());
        }
        return;
    }
    let skips =
        plan.overwrite == Overwrite::IfDifferent && sources.iter().any(|(object, _)| there(object));
    if skips && is_before {
        return;
    }
    let written = sources.iter().any(|(object, row)| {
        let wrote = has(row.as_ref(), TaskStatus::Succeeded)
            || (plan.overwrite == Overwrite::IfDifferent && has(row.as_ref(), TaskStatus::Skipped));
        wrote && current.is_some_and(|current| is_copy(plan, object, current))
    });
    let succeeded = sources
        .iter()
        .any(|(_, row)| has(row.as_ref(), TaskStatus::Succeeded));
    let seen = current.map(seen_of);
    let should: Vec<_> = sources
        .iter()
        .map(|(object, _)| result(plan, object))
        .collect();
    assert!(
        written && succeeded,
        "{seen:#?}\nshould be of {should:#?}\n{}",
        told()
    );
}

/// A key whose versions are copied in their order.
///
/// A chain that was killed is begun again at its first version whose outcome was not durable: what the dead attempt
/// wrote of it lies before.
fn check_chain(course: &Course, key: &str, ended: &[Ended<'_>], versions: &[VersionView]) {
    let plan = &course.plan;
    let told = || tell(ended, versions, None) + &course.told(key);
    // Delete markers in a row are alike, and so are versions that were written more than once.
    let mut order = Vec::<(Option<&ObjectView>, usize)>::new();
    // Newest first.
    for (listed, row) in ended.iter().rev() {
        if listed.marker && !plan.replays {
            expect(row.as_ref(), TaskStatus::Skipped, &["DeleteMarker"]);
            continue;
        }
        expect(row.as_ref(), TaskStatus::Succeeded, &[""]);
        match (order.last_mut(), &listed.object) {
            (Some((None, times)), None) => *times += 1,
            (_, object) => order.push((object.as_ref(), 1)),
        }
    }
    let fits = |source: Option<&ObjectView>, version: &VersionView| match (source, &version.object)
    {
        (None, None) => true,
        (Some(source), Some(object)) => is_copy(plan, source, object),
        _ => false,
    };
    let named: BTreeSet<_> = ended
        .iter()
        .filter_map(|(_, row)| names(row.as_ref()?))
        .collect();
    // What was refused its tags: its row has failed and written it again.
    let is_bare = |object: &ObjectView| {
        let of = |(listed, row): &Ended<'_>| {
            let source = listed.object.as_ref();
            let doubted = row
                .as_ref()
                .is_none_or(|row| message(row, "in_doubt") == true);
            doubted && source.is_some_and(|source| source.same_content(object))
        };
        object.properties().tags.is_empty() && ended.iter().any(of)
    };
    let is_orphan = |version: &VersionView| {
        let of = (key.to_owned(), version.version_id.clone());
        let bare = version.object.as_ref().is_some_and(is_bare);
        (course.orphans.contains(&of) || bare) && !named.contains(&of.1)
    };
    let mut left = versions
        .iter()
        .filter(|version| !is_orphan(version))
        .peekable();
    for (source, times) in &order {
        let mut found = 0;
        while left.next_if(|version| fits(*source, version)).is_some() {
            found += 1;
        }
        assert!(
            found >= *times,
            "versions are missing, or out of order: {}",
            told()
        );
    }
    assert!(left.next().is_none(), "out of order: {}", told());
    let last = versions.last().zip(order.last());
    let stands = last.is_none_or(|(version, (source, _))| fits(*source, version));
    assert!(stands, "the current version is another: {}", told());
}

/// Whether a row counts as in doubt. A failed one says so for the pass that tries it again.
fn is_counted(row: &ReportRow) -> bool {
    row.status == TaskStatus::Succeeded && message(row, "in_doubt") == true
}

/// Each version is named by a row, or known to be in doubt. Gives how many are of kills, how many of lost answers.
fn check_versions(
    course: &Course,
    key: &str,
    ended: &[Ended<'_>],
    versions: &[VersionView],
) -> (usize, usize) {
    let rows = || ended.iter().filter_map(|(_, row)| row.as_ref());
    let before = course
        .plan
        .before
        .get(key)
        .map(|object| object.version_id.clone());
    let mut named = BTreeMap::<String, Vec<&ReportRow>>::new();
    for row in rows().filter(|row| row.status == TaskStatus::Succeeded) {
        let name = names(row).unwrap_or_else(|| panic!("names no version: {row:?}"));
        named.entry(name).or_default().push(row);
    }
    for (name, by) in &named {
        let is_there = versions.iter().any(|version| version.version_id == *name);
        assert!(is_there, "{name} is not at the destination: {by:?}");
        // What was found may be another row's of the same object.
        let wrote = by
            .iter()
            .filter(|row| message(row, "in_doubt") != true)
            .count();
        assert!(wrote <= 1, "{name} is of more rows than one: {by:?}");
    }
    let nameless = versions
        .iter()
        .map(|version| version.version_id.clone())
        .filter(|id| !named.contains_key(id) && before.as_ref() != Some(id));
    let (killed, lost): (Vec<_>, Vec<_>) =
        nameless.partition(|id| course.orphans.contains(&(key.to_owned(), id.clone())));
    let hidden = course.hidden.get(key).copied().unwrap_or_default();
    let counted = rows().any(|row| message(row, "in_doubt") == Value::Bool(true));
    assert!(
        lost.is_empty() || counted && lost.len() <= hidden,
        "{lost:?} of {key:?} are doubled and not counted in doubt ({hidden} answers hidden; {:?}): {}{}",
        course.plan.flags,
        tell(ended, versions, None),
        course.told(key)
    );
    (killed.len(), lost.len())
}

/// What is looked at when a key is wrong.
fn tell(ended: &[Ended<'_>], versions: &[VersionView], before: Option<&ObjectView>) -> String {
    let object = |object: &ObjectView| {
        let bytes = object.bytes();
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
        let (id, size) = (&object.version_id, object.size());
        format!("{id} {size} {start:?} {:?}", seen_of(object).properties)
    };
    let mut text = String::new();
    for (listed, row) in ended {
        let source = listed.object.as_ref().map(object);
        writeln!(text, "listed {:?} {source:?}\n  row {row:?}", listed.key).unwrap();
    }
    for version in versions {
        let there = version.object.as_ref().map(object);
        writeln!(text, "there {} {there:?}", version.version_id).unwrap();
    }
    writeln!(text, "before {:?}", before.map(object)).unwrap();
    text
}
