//! Every fault on every request: the row ends as it must, and the server's log says how it came there.
//!
//! A case is a fault on the requests of one row. What a fault means follows from its kind, the operation and how
//! often it hits; [`expected`] says it once, and one program runs many cases.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::{Fault, FaultHandle, FaultKind, ObjectProperties, Operation, When};

use crate::objects::{IN_PARTS, LARGE, PARTS, lists, looks, sent, sized_manifest};
use crate::support::{DESTINATION, SOURCE, World, message};

/// What the sources' keys have before those of the copies, so that HEADs of the two sides are told apart.
const PREFIX: &str = "from/";
/// Attempts where faults end, and where they do not.
const ATTEMPTS: usize = 4;
const ATTEMPTS_FOR_GOOD: usize = 2;
/// Renewals that one request may ask for, as in `s3haul-s3`.
const MAX_RENEWALS: usize = 3;

/// The requests of a multipart copy that faults hit.
const OF_PARTS: [Operation; 4] = [
    Operation::CreateMultipartUpload,
    Operation::UploadPartCopy,
    Operation::CompleteMultipartUpload,
    Operation::HeadObject,
];

/// What a fault is to a client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    /// An answer all the same.
    None,
    /// No answer that says whether the work was done, and whether it was.
    Doubt { done: bool },
    /// "Not done, try again."
    Again,
    /// "Not done, slower."
    Throttled,
    /// "Not done, your token has expired."
    Expired,
    /// "No."
    Refused,
}

#[derive(Clone, Debug)]
struct Kind {
    name: &'static str,
    fault: FaultKind,
    effect: Effect,
    /// The code of a row that it fails.
    code: &'static str,
}

fn error(status: u16, code: &str, retry_after: Option<u32>) -> FaultKind {
    FaultKind::Error {
        status,
        code: code.to_owned(),
        message: "a fault".to_owned(),
        retry_after,
    }
}

fn kind(name: &'static str, fault: FaultKind, effect: Effect, code: &'static str) -> Kind {
    Kind {
        name,
        fault,
        effect,
        code,
    }
}

/// All kinds but Hang, which needs a short time-out.
fn kinds() -> Vec<Kind> {
    use Effect::{Again, Expired, Refused, Throttled};
    const DONE: Effect = Effect::Doubt { done: true };
    const UNDONE: Effect = Effect::Doubt { done: false };
    let internal = || "InternalError".to_owned();
    let in_ok = |code: &str| FaultKind::ErrorInOk(code.to_owned());
    let after_work = FaultKind::ErrorInOkAfterWork(internal());
    let slow_down = "SlowDown";
    let slow_down_after = error(503, slow_down, Some(1));
    let timeout = error(400, "RequestTimeout", None);
    let aborted = error(409, "OperationAborted", None);
    let denied = error(403, "AccessDenied", None);
    let trickle = FaultKind::Trickle {
        every_ms: 10,
        spaces: 5,
    };
    vec![
        kind("refuse", FaultKind::Refuse, UNDONE, "AnswerLost"),
        kind("reset", FaultKind::Reset, UNDONE, "AnswerLost"),
        kind("answer-lost", FaultKind::AnswerLost, DONE, "AnswerLost"),
        kind("cut-body", FaultKind::CutBody, DONE, "AnswerLost"),
        kind("ok-error", in_ok(&internal()), UNDONE, "InternalError"),
        kind("ok-slow", in_ok(slow_down), Throttled, slow_down),
        kind("ok-denied", in_ok("AccessDenied"), Refused, "AccessDenied"),
        kind("ok-done", after_work, DONE, "InternalError"),
        kind("no-etag", FaultKind::EmptyETag, DONE, "EmptyAnswer"),
        kind("500", FaultKind::internal_error(), UNDONE, "InternalError"),
        kind("503", FaultKind::slow_down(), Throttled, slow_down),
        kind("503-after", slow_down_after, Throttled, slow_down),
        kind("400-timeout", timeout, Again, "RequestTimeout"),
        kind("409-aborted", aborted, Again, "OperationAborted"),
        kind("403", denied, Refused, "AccessDenied"),
        kind("expired", FaultKind::ExpireToken, Expired, "ExpiredToken"),
        kind("trickle", trickle, Effect::None, ""),
        kind("latency", FaultKind::Latency(50), Effect::None, ""),
    ]
}

fn hang() -> Kind {
    let undone = Effect::Doubt { done: false };
    kind("hang", FaultKind::Hang, undone, "RequestTimedOut")
}

/// The kind as it is on one operation.
fn on(operation: Operation, kind: &Kind) -> Kind {
    let mut kind = kind.clone();
    match (operation, kind.name) {
        // One answer has no ETag, the other no body to cut.
        (Operation::CreateMultipartUpload, "no-etag") | (Operation::HeadObject, "cut-body") => {
            kind.effect = Effect::None;
        }
        // No code without a body, and a 200 without an ETag is no answer.
        (Operation::HeadObject, "ok-error" | "ok-slow" | "ok-denied" | "ok-done") => {
            kind.effect = Effect::Doubt { done: false };
            kind.code = "EmptyAnswer";
        }
        (Operation::HeadObject, "503" | "503-after") => kind.code = "ServiceUnavailable",
        (Operation::HeadObject, "409-aborted") => {
            (kind.effect, kind.code) = (Effect::Refused, "Conflict");
        }
        // A bad request without a word: fresh credentials are not its cause.
        (Operation::HeadObject, "400-timeout" | "expired") => {
            (kind.effect, kind.code) = (Effect::Refused, "BadRequest");
        }
        _ => {}
    }
    kind
}

/// Which requests of a row a fault hits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hits {
    First(usize),
    /// One, with others before it and behind it.
    Middle,
    /// The last of those that are sent without faults.
    Last,
    Every,
}

impl Hits {
    /// How many requests are hit; all when none.
    fn count(self) -> Option<usize> {
        match self {
            Self::First(count) => Some(count),
            Self::Middle | Self::Last => Some(1),
            Self::Every => None,
        }
    }

    fn when(self) -> When {
        match self {
            Self::First(count) => When::First(count as u64),
            Self::Middle => When::Nth(2),
            Self::Last => When::Nth(PARTS as u64),
            Self::Every => When::Every,
        }
    }

    /// Whether it hits the first request.
    fn has_first(self) -> bool {
        matches!(self, Self::First(_) | Self::Every)
    }

    fn name(self) -> String {
        match self {
            Self::First(count) => count.to_string(),
            Self::Middle => "middle".to_owned(),
            Self::Last => "last".to_owned(),
            Self::Every => "every".to_owned(),
        }
    }
}

/// A fault on the requests of one row.
struct Case {
    key: String,
    operation: Operation,
    kind: Kind,
    hits: Hits,
    never: bool,
    handle: FaultHandle,
}

/// How a case must end.
#[derive(Debug, PartialEq)]
struct Expected {
    succeeds: bool,
    /// A HEAD settles it.
    found: bool,
    /// Requests of the operation that are hit.
    hits: Option<usize>,
    /// Requests of the operation.
    sent: RangeInclusive<usize>,
    /// Uploads that are aborted.
    aborts: usize,
}

fn attempts(hits: Hits) -> usize {
    if hits.count().is_some() {
        ATTEMPTS
    } else {
        ATTEMPTS_FOR_GOOD
    }
}

impl Case {
    /// Whether its row is counted `in_doubt`: it was found, or was sent again and may have landed twice.
    fn in_doubt(&self) -> bool {
        let expected = expected(self);
        let doubt = matches!(self.kind.effect, Effect::Doubt { .. });
        let again = doubt && self.operation == Operation::CopyObject;
        expected.succeeds && (expected.found || again)
    }
}

fn expected(case: &Case) -> Expected {
    end(case.operation, &case.kind, case.hits, case.never)
}

/// How the row of a fault ends.
fn end(operation: Operation, kind: &Kind, hits: Hits, never: bool) -> Expected {
    let attempts = attempts(hits);
    let hits = hits.count();
    // Parts are sent side by side: each of the others is answered.
    let others = if operation == Operation::UploadPartCopy {
        PARTS - 1
    } else {
        0
    };
    let of_parts = operation != Operation::CopyObject;
    let uploads = usize::from(matches!(
        operation,
        Operation::UploadPartCopy | Operation::CompleteMultipartUpload
    ));
    let answered = |hits: usize| Expected {
        succeeds: true,
        found: false,
        hits: Some(hits),
        sent: others + hits + 1..=others + hits + 1,
        aborts: 0,
    };
    let fails = |at_least: usize, at_most: usize| Expected {
        succeeds: false,
        found: false,
        hits: None,
        sent: at_least..=if others > 0 { PARTS * at_most } else { at_most },
        aborts: uploads,
    };
    let found = |hits: usize| Expected {
        found: true,
        sent: hits..=hits,
        // What is found may be another row's: the upload is aborted, if it is still there.
        aborts: uploads,
        ..answered(hits)
    };
    // What looks before it sends again: a conditional write and Complete; Create looks for its upload.
    let looks_first = operation == Operation::CompleteMultipartUpload || never && !of_parts;
    match (kind.effect, hits) {
        (Effect::None, hits) => Expected {
            sent: others + 1..=others + 1,
            ..answered(hits.unwrap_or(others + 1).min(others + 1))
        },
        (Effect::Refused, _) => fails(1, 1),
        (Effect::Expired, None) => fails(MAX_RENEWALS + 1, MAX_RENEWALS + 1),
        // Free of charge as long as other rows get through.
        (Effect::Throttled, None) => fails(attempts, 100),
        (Effect::Doubt { done: true }, _) if looks_first => found(1),
        (Effect::Doubt { done: true }, None) if !of_parts => found(attempts),
        (Effect::Doubt { done: true }, hits) if operation == Operation::CreateMultipartUpload => {
            let base = hits.map_or_else(|| fails(attempts, attempts), answered);
            Expected {
                aborts: hits.unwrap_or(attempts),
                ..base
            }
        }
        (Effect::Again | Effect::Doubt { .. }, None) => fails(attempts, attempts),
        (_, Some(hits)) => answered(hits),
    }
}

/// A world with a row for each fault, and one that no fault hits.
fn world_of(faults: Vec<(Operation, Kind, Hits)>, never: bool) -> (World, Vec<Case>) {
    let world = World::new();
    let plain = format!("{PREFIX}plain");
    world.put(&plain, "no fault");
    let mut cases = Vec::new();
    for (operation, kind, hits) in faults {
        let kind = on(operation, &kind);
        let key = format!("{operation}-{}-{}", kind.name, hits.name());
        let source = format!("{PREFIX}{key}");
        if operation == Operation::CopyObject {
            world.put(&source, &key);
        } else {
            world.declare(&source, LARGE);
        }
        let of_source = operation == Operation::HeadObject;
        let fault = Fault::on(operation, kind.fault.clone())
            .key(if of_source { &source } else { &key })
            .when(hits.when());
        let handle = world.sandbox.faults().add(fault);
        cases.push(Case {
            key,
            operation,
            kind,
            hits,
            never,
            handle,
        });
    }
    let sources = cases.iter().map(|case| format!("{PREFIX}{}", case.key));
    sized_manifest(&world, std::iter::once(plain).chain(sources));
    (world, cases)
}

/// Runs the cases in one job, and checks report, log and destination.
async fn run(faults: Vec<(Operation, Kind, Hits)>, never: bool, more: &[&str]) {
    let attempts = attempts(faults[0].2).to_string();
    let (world, cases) = world_of(faults, never);
    let overwrite = if never { "never" } else { "always" };
    let mut flags = vec!["--strip-prefix", PREFIX, "--max-attempts", &attempts];
    flags.extend(["--overwrite", overwrite]);
    flags.extend(IN_PARTS);
    flags.extend(more);
    let run = world.copy(&flags).await;
    let fails = cases.iter().filter(|case| !expected(case).succeeds).count();
    let rows = world.rows_by_key();
    assert_eq!(rows.len(), cases.len() + 1);
    let mut wrong = Vec::new();
    for case in &cases {
        let row = &rows[&format!("{PREFIX}{}", case.key)];
        if let Err(why) = check(&world, case, row) {
            wrong.push(format!("{}: {why}\n  {row:?}", case.key));
        }
    }
    let all = cases.len();
    assert!(
        wrong.is_empty(),
        "{} of {all} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    run.expect(i32::from(fails > 0));
    assert_eq!(run.summary("failed"), fails);
    let in_doubt = cases.iter().filter(|case| case.in_doubt()).count();
    assert_eq!(run.summary("in_doubt"), in_doubt);
    world.assert_no_uploads();
}

fn check(world: &World, case: &Case, row: &ReportRow) -> Result<(), String> {
    let Case {
        key,
        operation,
        kind,
        ..
    } = case;
    let source = format!("{PREFIX}{key}");
    let expected = expected(case);
    let same = |what: &str, is: &dyn Debug, should: &dyn Debug| {
        let (is, should) = (format!("{is:?}"), format!("{should:?}"));
        if is == should {
            Ok(())
        } else {
            Err(format!("{what} is {is}, not {should}"))
        }
    };
    let status = if expected.succeeds {
        TaskStatus::Succeeded
    } else {
        TaskStatus::Failed
    };
    let code = if expected.succeeds { "" } else { kind.code };
    same(
        "status",
        &(row.status, row.error_code.as_str()),
        &(status, code),
    )?;
    let there = world
        .store()
        .same_content((SOURCE, &source), (DESTINATION, key));
    if expected.succeeds {
        // What S3 answered may prove more than that it did: a checksum equal to the source's.
        let found = message(row, "evidence") == "found";
        same("found", &found, &expected.found)?;
        let in_doubt = case.in_doubt().then_some(true);
        same(
            "in_doubt",
            &message(row, "in_doubt"),
            &serde_json::json!(in_doubt),
        )?;
        same("the copy", &there, &true)?;
    } else {
        let named = message(row, "operation");
        same("operation", &named, &serde_json::json!(operation.as_str()))?;
    }
    let of_source = *operation == Operation::HeadObject;
    let requests = sent(world, *operation, if of_source { &source } else { key });
    if !expected.sent.contains(&requests.len()) {
        return Err(format!(
            "{} requests, not {:?}: {requests:?}",
            requests.len(),
            expected.sent
        ));
    }
    if let Some(hits) = expected.hits {
        same("hits", &case.handle.hits(), &(hits as u64))?;
    }
    let hit = requests
        .iter()
        .filter(|request| request.fault.is_some())
        .count();
    same("hits in the log", &(hit as u64), &case.handle.hits())?;
    let count = |operation| sent(world, operation, key).len();
    same(
        "aborts",
        &count(Operation::AbortMultipartUpload),
        &expected.aborts,
    )?;
    let creates = count(Operation::CreateMultipartUpload);
    let doubts = if matches!(kind.effect, Effect::Doubt { .. }) {
        hit
    } else {
        0
    };
    match operation {
        Operation::CopyObject => same("creates", &creates, &0)?,
        // Each doubt looks for the upload that it may have left.
        Operation::CreateMultipartUpload => {
            same("lists", &lists(world, key), &doubts)?;
        }
        // Nothing is begun again, and no part is copied twice.
        Operation::CompleteMultipartUpload => {
            same("creates", &creates, &1)?;
            same("parts", &count(Operation::UploadPartCopy), &PARTS)?;
            let first = usize::from(case.never);
            same("looks", &looks(world, key), &(first + doubts))?;
        }
        _ => {}
    }
    if kind.name == "503-after" && expected.succeeds {
        let waited = message(row, "elapsed_ms").as_u64().unwrap_or_default();
        same("waited", &(waited >= 1000), &true)?;
    }
    Ok(())
}

/// Kinds that are a bad request without a word, where the answer has no body.
const BAD_REQUESTS: [&str; 2] = ["400-timeout", "expired"];

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_bad_requests() {
    let mut kinds = kinds();
    kinds.retain(|kind| BAD_REQUESTS.contains(&kind.name));
    let faults = kinds
        .into_iter()
        .map(|kind| (Operation::HeadObject, kind, Hits::First(1)));
    run(faults.collect(), false, &[]).await;
}

/// Each kind on each operation, so often.
fn each<'k>(
    operations: &[Operation],
    kinds: impl IntoIterator<Item = &'k Kind>,
    hits: &[Hits],
) -> Vec<(Operation, Kind, Hits)> {
    let mut faults = Vec::new();
    for kind in kinds {
        for operation in operations {
            // Credentials that were renewed for another row may be the cause of a bad request.
            if *operation == Operation::HeadObject && BAD_REQUESTS.contains(&kind.name) {
                continue;
            }
            // A second is long.
            let hits = if kind.name == "503-after" {
                &hits[..1]
            } else {
                hits
            };
            // Only of parts there are several where all goes well.
            let one = *operation != Operation::UploadPartCopy;
            let hits = hits.iter().filter(|hits| !one || hits.has_first());
            faults.extend(hits.map(|hits| (*operation, kind.clone(), *hits)));
        }
    }
    faults
}

const WHOLE: [Operation; 1] = [Operation::CopyObject];
const THEN_SERVED: [Hits; 4] = [Hits::First(1), Hits::First(2), Hits::Middle, Hits::Last];
const FOR_GOOD: [Hits; 1] = [Hits::Every];

#[tokio::test(flavor = "multi_thread")]
async fn copy_object_then_served() {
    run(each(&WHOLE, &kinds(), &THEN_SERVED), false, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_copy_object_then_served() {
    run(each(&WHOLE, &kinds(), &THEN_SERVED), true, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_in_parts_then_served() {
    run(each(&OF_PARTS, &kinds(), &THEN_SERVED), false, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_copy_in_parts_then_served() {
    run(each(&OF_PARTS, &kinds(), &THEN_SERVED), true, &[]).await;
}

/// Kinds that end by attempts; throttling ends only where nothing else gets through.
fn kinds_for_good(throttled: bool) -> Vec<Kind> {
    let mut kinds = kinds();
    kinds.retain(|kind| (kind.effect == Effect::Throttled) == throttled);
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_object_for_good() {
    run(each(&WHOLE, &kinds_for_good(false), &FOR_GOOD), false, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_copy_object_for_good() {
    run(each(&WHOLE, &kinds_for_good(false), &FOR_GOOD), true, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_in_parts_for_good() {
    run(
        each(&OF_PARTS, &kinds_for_good(false), &FOR_GOOD),
        false,
        &[],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_copy_in_parts_for_good() {
    let faults = each(&OF_PARTS, &kinds_for_good(false), &FOR_GOOD);
    run(faults, true, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_for_good() {
    // A job each: what gets through for one row makes another's attempts free.
    let jobs = OF_PARTS.into_iter().chain(WHOLE).flat_map(|operation| {
        let kinds = kinds_for_good(true)
            .into_iter()
            .filter(|kind| kind.name != "503-after");
        kinds.map(move |kind| run(vec![(operation, kind, Hits::Every)], false, &[]))
    });
    futures::future::join_all(jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_in_time() {
    let mut operations = OF_PARTS.to_vec();
    operations.extend(WHOLE);
    let in_time = ["--attempt-timeout", "1s"];
    run(
        each(&operations, [&hang()], &[Hits::First(1)]),
        false,
        &in_time,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_ever() {
    let mut operations = OF_PARTS.to_vec();
    operations.extend(WHOLE);
    let in_time = ["--attempt-timeout", "1s"];
    run(each(&operations, [&hang()], &FOR_GOOD), true, &in_time).await;
}

/// How the role is taken under a fault.
enum Taken {
    /// After so many calls.
    After(usize),
    /// Not at all, after so many calls.
    Refused(usize),
}

#[tokio::test(flavor = "multi_thread")]
async fn assume_role() {
    use Taken::{After, Refused};
    let cases = [
        (FaultKind::Refuse, When::First(2), After(3)),
        (FaultKind::Reset, When::First(2), After(3)),
        (FaultKind::CutBody, When::First(1), After(2)),
        (FaultKind::AnswerLost, When::First(1), After(2)),
        (FaultKind::EmptyETag, When::Every, After(1)),
        (FaultKind::internal_error(), When::First(2), After(3)),
        (FaultKind::slow_down(), When::First(1), After(2)),
        (error(503, "SlowDown", Some(1)), When::First(1), After(2)),
        (error(400, "RequestTimeout", None), When::First(1), After(2)),
        (
            FaultKind::Trickle {
                every_ms: 10,
                spaces: 5,
            },
            When::Every,
            After(1),
        ),
        (FaultKind::Latency(50), When::Every, After(1)),
        (error(403, "AccessDenied", None), When::Every, Refused(1)),
        (
            error(409, "OperationAborted", None),
            When::Every,
            Refused(1),
        ),
        (FaultKind::ExpireToken, When::Every, Refused(1)),
        (
            FaultKind::ErrorInOk("AccessDenied".to_owned()),
            When::Every,
            Refused(1),
        ),
    ];
    let jobs = cases.map(|(kind, when, taken)| assumed(kind, when, taken));
    futures::future::join_all(jobs).await;
}

async fn assumed(kind: FaultKind, when: When, taken: Taken) {
    let world = World::new();
    world.put("k", "content");
    world.manifest_of(["k"]);
    let name = kind.name();
    let fault = Fault::on(Operation::AssumeRole, kind).when(when);
    world.sandbox.faults().add(fault);
    let run = world.copy(&[]).await;
    let calls = world.sandbox.log().count(Operation::AssumeRole);
    let copies = world.sandbox.log().count(Operation::CopyObject);
    match taken {
        Taken::After(expected) => {
            run.expect(0);
            assert_eq!((calls, copies), (expected, 1), "{name}");
            assert_eq!(world.row().status, TaskStatus::Succeeded);
            world.assert_copied("k");
        }
        Taken::Refused(expected) => {
            run.expect(3);
            assert_eq!((calls, copies), (expected, 0), "{name}: {}", run.stderr);
            // Nothing was begun: the same command line may be given again.
            assert!(!world.job().exists());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_cannot_be_aborted_is_named() {
    let world = World::new();
    world.declare("k", LARGE);
    sized_manifest(&world, ["k"]);
    let refused = || error(403, "AccessDenied", None);
    for operation in [Operation::UploadPartCopy, Operation::AbortMultipartUpload] {
        world.sandbox.faults().add(Fault::on(operation, refused()));
    }
    // One row in all, and it is refused.
    world.copy(&IN_PARTS).await.expect(3);
    let uploads = world.store().uploads(DESTINATION);
    assert_eq!(uploads.len(), 1);
    let checkpoint = world.checkpoint();
    assert_eq!(checkpoint["counts"]["failed"], 1);
    assert_eq!(checkpoint["uploads"], serde_json::json!([]));
    let row = failed_row(&world);
    assert_eq!(row.error_code, "AccessDenied");
    assert_eq!(message(&row, "operation"), "UploadPartCopy");
    let hint = message(&row, "hint");
    assert!(
        hint.as_str().unwrap().contains(&uploads[0].upload_id),
        "{hint}"
    );
}

/// The one row of a job that stopped before its end.
fn failed_row(world: &World) -> ReportRow {
    let checkpoint = world.checkpoint();
    let name = checkpoint["sealed"][0]["name"].as_str().unwrap();
    let file = std::fs::read(world.job().join(name)).unwrap();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(&file[..]);
    let record = reader.records().next().unwrap().unwrap();
    ReportRow::parse(&record.iter().take(7).collect()).unwrap()
}

/// An object, and the fault that makes its copy send a request of the operation.
fn provoke(world: &World, operation: Operation, key: &str) {
    let (count, length) = match operation {
        Operation::GetObjectTagging => (10, 40),
        Operation::PutObjectTagging => (10, 120),
        _ => (0, 0),
    };
    let tag = |n| (format!("tag {n}"), "é".repeat(length));
    let annotated = [
        "ListObjectAnnotations",
        "GetObjectAnnotation",
        "PutObjectAnnotation",
    ];
    let annotated = annotated.contains(&operation.as_str());
    let annotations = annotated.then(|| ("a note".to_owned(), "of it".to_owned()));
    let properties = ObjectProperties {
        tags: (0..count).map(tag).collect(),
        annotations: annotations.into_iter().collect(),
        ..ObjectProperties::default()
    };
    let store = world.store();
    store
        .declare_object(SOURCE, key, LARGE, 1, properties)
        .unwrap();
    let cause = match operation {
        Operation::AbortMultipartUpload => {
            Fault::on(Operation::UploadPartCopy, error(404, "NoSuchKey", None))
        }
        Operation::ListMultipartUploads => {
            let create = Operation::CreateMultipartUpload;
            Fault::on(create, FaultKind::AnswerLost).when(When::First(1))
        }
        _ => return,
    };
    world.sandbox.faults().add(cause.key(key));
}

fn check_other(world: &World, operation: Operation, key: &str) {
    let row = &world.rows_by_key()[key];
    if operation == Operation::AbortMultipartUpload {
        assert_eq!(row.error_code, "NoSuchKey", "{key}: {row:?}");
        return;
    }
    assert_eq!(row.status, TaskStatus::Succeeded, "{key}: {row:?}");
    world.assert_copied(key);
    let there = world.store().object(DESTINATION, key).unwrap();
    let source = world.store().object(SOURCE, key).unwrap();
    assert_eq!(there.tags(), source.tags(), "{key}");
    assert_eq!(there.annotations(), source.annotations(), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_requests_then_served() {
    let world = World::new();
    let mut cases = Vec::new();
    for operation in [
        Operation::GetObjectTagging,
        Operation::PutObjectTagging,
        Operation::ListObjectAnnotations,
        Operation::GetObjectAnnotation,
        Operation::PutObjectAnnotation,
        Operation::AbortMultipartUpload,
    ] {
        for kind in kinds() {
            // Errors inside of a 200 are for requests whose answer is XML.
            let payload = operation == Operation::GetObjectAnnotation;
            if kind.effect == Effect::Refused || payload && kind.name.starts_with("ok-") {
                continue;
            }
            let key = format!("{operation}-{}", kind.name);
            provoke(&world, operation, &key);
            let fault = Fault::on(operation, kind.fault).key(&key);
            let fault = world.sandbox.faults().add(fault.when(When::First(1)));
            cases.push((operation, key, fault));
        }
    }
    sized_manifest(&world, cases.iter().map(|(_, key, _)| key));
    world.copy(&IN_PARTS).await.expect(1);
    world.assert_no_uploads();
    for (operation, key, fault) in cases {
        assert_eq!(fault.hits(), 1, "{key}");
        check_other(&world, operation, &key);
    }
}

/// A list names no key, so that each fault has a job of its own.
#[tokio::test(flavor = "multi_thread")]
async fn lists_then_served() {
    for name in ["answer-lost", "cut-body", "ok-error", "503", "expired"] {
        let operation = Operation::ListMultipartUploads;
        let kind = kinds().into_iter().find(|kind| kind.name == name).unwrap();
        let world = World::new();
        provoke(&world, operation, name);
        let fault = Fault::on(operation, kind.fault).when(When::First(1));
        let fault = world.sandbox.faults().add(fault);
        sized_manifest(&world, [name]);
        world.copy(&IN_PARTS).await.expect(0);
        world.assert_no_uploads();
        assert_eq!(fault.hits(), 1, "{name}");
        check_other(&world, operation, name);
    }
}

/// How a row ends, in words.
fn in_words(operation: Operation, kind: &Kind, hits: Hits, never: bool) -> String {
    let kind = on(operation, kind);
    match end(operation, &kind, hits, never) {
        Expected { found: true, .. } => "succeeds, `found`".to_owned(),
        Expected { succeeds: true, .. } => "succeeds".to_owned(),
        _ => format!("fails, `{}`", kind.code),
    }
}

/// What a fault is, for readers.
fn described(kind: &Kind) -> &'static str {
    match kind.name {
        "refuse" => "the connection is closed at once",
        "reset" => "the connection is reset, nothing is done",
        "answer-lost" => "the work is done, the answer is lost",
        "cut-body" => "the work is done, the answer breaks off",
        "ok-error" => "200 with InternalError inside, nothing is done",
        "ok-slow" => "200 with SlowDown inside",
        "ok-denied" => "200 with AccessDenied inside",
        "ok-done" => "200 with InternalError inside, the work is done",
        "no-etag" => "200 without an ETag, the work is done",
        "500" => "500 InternalError",
        "503" => "503 SlowDown",
        "503-after" => "503 SlowDown with Retry-After",
        "400-timeout" => "400 RequestTimeout",
        "409-aborted" => "409 OperationAborted",
        "403" => "403 AccessDenied",
        "expired" => "400 ExpiredToken",
        "trickle" => "white space before the answer",
        "latency" => "a slow answer",
        "hang" => "no answer in time",
        other => panic!("{other} has no description"),
    }
}

/// The rows of the matrix in `docs/reliability.md`, of the cases that the tests above run.
fn matrix() -> String {
    let (kinds, hang) = (kinds(), [hang()]);
    let [throttled, others] = [true, false].map(kinds_for_good);
    let at_once: Vec<_> = throttled
        .iter()
        .filter(|kind| kind.name != "503-after")
        .cloned()
        .collect();
    let all: Vec<_> = OF_PARTS.into_iter().chain(WHOLE).collect();
    let once = [Hits::First(1)];
    // Column, then what is run there: which requests, which faults.
    let run = [
        (0, each(&all, &kinds, &once), false),
        (0, each(&all, &hang, &once), false),
        (1, each(&all, &kinds, &once), true),
        (2, each(&all, &others, &FOR_GOOD), false),
        (2, each(&all, &at_once, &FOR_GOOD), false),
        (3, each(&all, &others, &FOR_GOOD), true),
        (3, each(&all, &hang, &FOR_GOOD), true),
    ];
    let mut rows: Vec<(Operation, &'static str, [String; 4])> = Vec::new();
    for (column, faults, never) in run {
        for (operation, kind, hits) in faults {
            let words = in_words(operation, &kind, hits, never);
            let what = described(&kind);
            let row = rows
                .iter_mut()
                .find(|row| (row.0, row.1) == (operation, what));
            if let Some(row) = row {
                row.2[column] = words;
            } else {
                let mut cells = ["", "", "", ""].map(str::to_owned);
                cells[column] = words;
                rows.push((operation, what, cells));
            }
        }
    }
    rows.sort_by_key(|row| all.iter().position(|operation| *operation == row.0));
    let line = |(operation, what, cells): &(Operation, &str, [String; 4])| {
        format!("| {operation} | {what} | {} |\n", cells.join(" | "))
    };
    rows.iter().map(line).collect()
}

#[test]
fn the_matrix_in_the_docs_is_what_the_tests_run() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md");
    let page = std::fs::read_to_string(path).unwrap();
    let begin =
        page.find("|---|---|---|---|---|---|\n").unwrap() + "|---|---|---|---|---|---|\n".len();
    let end = begin + page[begin..].find("\n\n").unwrap() + 1;
    let matrix = matrix();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        std::fs::write(path, format!("{}{matrix}{}", &page[..begin], &page[end..])).unwrap();
        return;
    }
    assert_eq!(
        &page[begin..end],
        matrix,
        "INSTA_UPDATE=always writes it anew"
    );
}
