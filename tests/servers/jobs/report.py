"""The report in a bucket: the same rows as in a folder, another machine goes on with it, one process writes it."""
import signal, time

from jobs.manifests import listed, padded, put_manifest
from jobs.multipart import IN_PARTS
from jobs.network import cut_off, throttled
from process import until
from program import expect
from registry import job
from world import allow, noise

ABSENT = "absent/a b+ü"
# Outcomes are safe at once: whatever happens to the process comes among them.
SAFE = ("--report-interval", "100ms")
# Slow, so that what happens comes in the middle.
SLOW = (*SAFE, "--max-rps", "40", "--concurrency", "8")


def reports(world, s3=None, of="destination"):
    """Makes a bucket for reports, the role's to write or the source's administrator's; an address in it."""
    s3, bucket = s3 or world.destination_s3, f"{getattr(world, of)}-reports"
    s3.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/of jobs/ü"


def told(copy):
    """What the report says of each row, less what no two runs have in common."""
    return sorted((row.bucket, row.key, row.version_id, row.status, row.http_status, row.error_code,
                   *(row.message.get(name) for name in ("by", "parts", "bytes", "e_tag", "evidence")))
                  for row in copy.rows())


def finished(world, check, copy, run, what="the job ends"):
    """Each of the world's objects has arrived, and is in the report once."""
    with check(what):
        expect((run.code, run.summary.get("state"), run.summary.get("errors")), (0, "complete", {}), run.stderr[-2000:])
        expect({key: row.status for key, row in copy.rows_by_key().items()}, dict.fromkeys(world.content, "succeeded"))
        world.are_copied(world.content)
        world.no_uploads()


def dates(world):
    """When each copy was written."""
    pages = world.destination_s3.get_paginator("list_objects_v2").paginate(Bucket=world.destination)
    return {entry["Key"]: entry["LastModified"] for page in pages for entry in page.get("Contents", [])}


@job("seaweedfs", "moto")
def report_in_a_bucket(world, check):
    """With its manifest in the same store."""
    world.small(40)
    world.put("large", noise(11 * 2**20))
    world.let_role_read()
    bucket = reports(world)
    rows = [(key, len(body)) for key, body in world.content.items()]
    manifest, _ = put_manifest(world, listed(world, [*rows, (ABSENT, 1)]))
    copies = {where: world.copy(where, None, *IN_PARTS, fields="Bucket,Key,Size", manifest=manifest, report=report)
              for where, report in (("folder", None), ("bucket", bucket))}
    runs = {where: copy.run() for where, copy in copies.items()}
    copy, run = copies["bucket"], runs["bucket"]
    counts = [{name: value for name, value in run.summary.items()
               if name not in ("job_id", "report", "elapsed_seconds", "requests")} for run in runs.values()]
    with check("one row fails, as in a folder"):
        expect((run.code, run.summary.get("succeeded"), run.summary.get("failed")), (1, 41, 1), run.stderr)
        expect(counts[1], counts[0])
        expect(run.summary["report"].rstrip("/"), copy.job)
    with check("its rows are those of the folder"):
        expect(told(copy), told(copies["folder"]))
        expect({row[6] for row in told(copy)}, {None, "copy", "multipart"})
    shown = copy.ended(copy.start(copy.on_report("report", "show")))
    with check("report show has the job's summary and code"):
        # And more, of what it reads in the files of rows.
        same = {member: shown.summary.get(member) for member in run.summary}
        expect((shown.code, same), (run.code, run.summary), shown.stderr)
        expect(list(shown.summary["examples"]), ["NoSuchKey"])
    again = copy.run()
    with check("the same command line again prints how it ended"):
        expect((again.code, again.summary), (run.code, run.summary), again.stderr)

    world.put(ABSENT)
    elsewhere = world.copy("elsewhere", None, report=bucket, job_id="bucket")
    resumed = elsewhere.resume()
    finished(world, check, copy, resumed, "a resume elsewhere finishes the failed row")
    with check("the other rows were not run again"):
        expect(resumed.summary["succeeded"], 42)
        # The row that had failed, and no other.
        asked = resumed.summary["requests"] - run.summary["requests"]
        assert 1 <= asked <= 4, f"{asked} requests"


@job("seaweedfs", "moto")
def report_interrupted(world, check):
    """SIGTERM in the middle: the job is free at once. Its manifest was on this machine, which is no more."""
    keys = world.small(200)
    world.let_role_read()
    bucket = reports(world)
    copy = world.copy("ends", keys, *SLOW, report=bucket)
    process = copy.start()
    until(lambda: len(world.listed()) >= 50, "50 objects to be copied")
    process.send_signal(signal.SIGTERM)
    run = copy.ended(process)
    with check("it stops with code 4, and its rows are in the report"):
        expect((run.code, run.summary.get("succeeded")), (4, len(world.listed())), run.stderr)
        assert len(world.listed()) < len(keys)
    copy.manifest.unlink()
    began = time.monotonic()
    elsewhere = world.copy("elsewhere", None, report=bucket, job_id="ends")
    resumed = elsewhere.resume("--max-rps", "3000")
    finished(world, check, copy, resumed, "a resume elsewhere ends the job")
    with check("without a wait, and with no row run twice"):
        seconds, asked = time.monotonic() - began, resumed.summary["requests"] - run.summary["requests"]
        left = len(keys) - run.summary["succeeded"]
        assert seconds < 40 and left <= asked <= left + 10, f"{seconds:.0f} s, {asked} requests for {left} rows"


@job("seaweedfs", "moto")
def report_of_two(world, check):
    """Two processes want the same report."""
    world.small(200)
    world.let_role_read()
    bucket = reports(world)
    manifest, _ = put_manifest(world, listed(world, world.content))
    # Forty seconds, of which the first has until the others were told.
    machines = [world.copy(f"machine-{n}", None, *SAFE, "--max-rps", "5", "--concurrency", "2", report=bucket,
                           job_id="shared", manifest=manifest) for n in range(3)]
    processes = [machine.start() for machine in machines[:2]]
    # Who is refused ends at once; who is not is at work as long as the job takes.
    until(lambda: any(process.poll() is not None for process in processes), "one of the two to end")
    first, late = sorted(range(2), key=lambda n: processes[n].poll() is not None)
    runs = {"started at the same time": machines[late].ended(processes[late]),
            "the same command line": machines[2].run(), "a resume": machines[2].resume()}
    until(world.listed, "the first object to be copied")
    shown = machines[2].ended(machines[2].start(machines[2].on_report("report", "show")))
    with check("report show tells how far it is"):
        expect(shown.summary.get("state"), "running", shown.stderr)
        assert shown.summary["succeeded"] < len(world.content), shown.summary
    with check("the first is at work meanwhile"):
        expect(processes[first].poll(), None)
    for what, run in runs.items():
        with check(f"{what}: is refused"):
            expect((run.code, run.summary), (2, {}), run.stderr)
            # Whether the other had begun it before this one looked is chance.
            words = ["another s3haul process is at work", "the job was begun meanwhile"]
            assert any(word in run.stderr for word in words[:2 if what.startswith("started") else 1]), run.stderr
    processes[first].send_signal(signal.SIGTERM)
    run = machines[first].ended(processes[first])
    with check("the first is stopped with what it has done"):
        expect((run.code, run.summary.get("succeeded")), (4, len(world.listed())), run.stderr)
    finished(world, check, machines[late], machines[late].resume("--max-rps", "3000"), "after it the second ends the job")


# A minute of silence makes a writer a dead one, by the server's clock: once is enough.
@job("seaweedfs")
def report_of_the_dead(world, check):
    """Killed in the middle, and stopped until another has taken over: the next process goes on after a minute."""
    keys = world.small(200)
    world.let_role_read()
    bucket = reports(world)
    manifest, _ = put_manifest(world, listed(world, keys))
    copies = {name: world.copy(name, None, *SLOW, report=bucket, manifest=manifest, prefix=f"{name}/")
              for name in ("killed", "stopped")}
    processes = {name: copy.start() for name, copy in copies.items()}
    until(lambda: all(sum(key.startswith(f"{name}/") for key in world.listed()) >= 50 for name in copies),
          "50 objects of each to be copied")
    processes["killed"].kill()
    processes["stopped"].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with check("they were in the middle"):
        expect(processes["killed"].wait(), -9)
        assert len(world.listed()) < 2 * len(keys)
    # A server ends the requests of a client that was killed.
    time.sleep(2)
    written = dates(world)
    again = {name: world.copy(f"{name}-again", None, *SLOW, report=bucket, job_id=name, manifest=manifest,
                              prefix=f"{name}/") for name in copies}
    waiting = {name: copy.start() for name, copy in again.items()}
    runs = {name: again[name].ended(process) for name, process in waiting.items()}
    seconds = time.monotonic() - began
    for name, run in runs.items():
        with check(f"{name}: the same command line ends the job"):
            expect((run.code, run.summary.get("state"), run.summary.get("errors")), (0, "complete", {}), run.stderr)
            expect({key: row.status for key, row in copies[name].rows_by_key().items()}, dict.fromkeys(keys, "succeeded"))
            expect({key: world.body(f"{name}/{key}") for key in keys}, world.content)
        with check(f"{name}: what was safe is not run again"):
            # But for those in flight, and of the last tenth of a second.
            there = {key: date for key, date in written.items() if key.startswith(f"{name}/")}
            now = dates(world)
            again_written = [key for key, date in there.items() if now[key] != date]
            assert len(there) >= 50 and len(again_written) <= 20, f"{len(again_written)} of {len(there)}"
    with check("it waited for a minute's silence, and said so"):
        assert 60 <= seconds < 100, f"{seconds:.0f} s"
        assert all("another process was at work on it" in run.stderr for run in runs.values()), runs
    before = copies["stopped"].files()
    processes["stopped"].send_signal(signal.SIGCONT)
    run = copies["stopped"].ended(processes["stopped"])
    with check("who wakes after a takeover stops, and changes nothing"):
        expect((run.code, copies["stopped"].files() == before), (4, True), run.stderr)
        assert "has taken over" in run.stderr, run.stderr


# moto looks at no bucket policy.
@job("seaweedfs")
def report_of_another_identity(world, check):
    """The role may not write the report; `--report-profile` may."""
    keys = world.small(20)
    world.let_role_read()
    bucket = reports(world, world.source_s3, "source")
    run = world.copy("role", keys, report=bucket).run()
    with check("without it the report is refused before anything is sent"):
        expect((run.code, run.summary, world.listed()), (3, {}, []), run.stderr)
        assert "s3:PutObject" in run.stderr, run.stderr
    copy = world.copy("profile", keys, "--report-profile", "reports", report=bucket)
    copy.reader_s3 = world.source_s3
    admin = world.server.source_admin
    copy.credentials.write_text(f"[reports]\naws_access_key_id = {admin.id}\naws_secret_access_key = {admin.secret}\n")
    finished(world, check, copy, copy.run(), "with it the rows are copied")
    shown = copy.ended(copy.start(copy.on_report("report", "show", "--report-profile", "reports")))
    with check("and report show reads it"):
        expect((shown.code, shown.summary.get("succeeded")), (0, len(keys)), shown.stderr)
    name = bucket.split("/")[2]
    allow(world.source_s3, name, world.server.role_principal, ["s3:GetObject", "s3:PutObject"], ["s3:ListBucket"])
    copy = world.copy("allowed", keys, report=bucket)
    copy.reader_s3 = world.source_s3
    finished(world, check, copy, copy.run(), "with the three actions that are documented the role writes it")


@job("seaweedfs", "moto")
def report_abandoned(world, check):
    """Stopped among the parts of an object, and given up after that: no upload is left."""
    world.put("large", noise(40 * 2**20))
    world.let_role_read()
    copy = world.copy("parts", [("large", 40 * 2**20)], *IN_PARTS, *SAFE, "--max-rps", "4", "--drain-timeout", "0s",
                      fields="Bucket,Key,Size", report=reports(world))
    process = copy.start()
    until(lambda: any(map(world.parts, world.uploads())), "a part to be copied")
    process.send_signal(signal.SIGTERM)
    run = copy.ended(process)
    with check("the upload is kept for a resume"):
        expect((run.code, world.listed(), len(world.uploads())), (4, [], 1), run.stderr)
    given_up = copy.ended(copy.start(copy.on_report("abandon")))
    with check("abandon aborts it"):
        expect((given_up.code, world.listed()), (0, []), given_up.stderr)
        world.no_uploads()
    again = copy.run()
    with check("the job stays given up"):
        expect((again.code, world.listed()), (2, []), again.stderr)


@job("haproxy")
def report_over_a_bad_network(world, check):
    """Report, manifest and copies go through the fault."""
    keys = world.small(60)
    world.let_role_read()
    bucket = reports(world)

    def through(fault, *flags, keys=keys):
        """Runs the job; gives what haproxy saw of its report's requests."""
        manifest, _ = put_manifest(world, padded(world, keys, 100_000), f"lists/{fault}.csv")
        before = len(world.server.seen(fault))
        copy = world.copy(fault, None, *flags, fields="Bucket,Key,Ignore", manifest=manifest, report=bucket,
                          prefix=f"{fault}/", endpoint=world.server.through(fault))
        run = copy.run()
        with check(f"{fault}: every row succeeds, and is in the report once"):
            expect((run.code, run.summary.get("errors"), run.summary.get("succeeded")), (0, {}, len(keys)), run.stderr[-2000:])
            expect({key: row.status for key, row in copy.rows_by_key().items()}, dict.fromkeys(keys, "succeeded"))
            expect({key: world.body(f"{fault}/{key}") for key in keys}, {key: world.content[key] for key in keys})
        place = f"/{copy.place()[0]}/"
        return [request for request in world.server.seen(fault)[before:] if request.path.startswith(place)]

    # A row each second, and the journal nearly half a second after it: haproxy closes what is idle for as long,
    # some connections just as they are used.
    for fault, flags, rows in (("idle", (*SAFE, "--max-rps", "30"), keys),
                               ("idle-soon", ("--report-interval", "475ms", "--max-rps", "1"), keys[:15])):
        journal = [request for request in through(fault, *flags, keys=rows) if request.path.endswith("/work/journal")]
        with check(f"{fault}: the journal's connections were not kept"):
            connections = len({request.client_port for request in journal})
            assert connections > 5, f"{connections} connections for {len(journal)} requests"
    for fault in ("reset", "lost", "share"):
        # So long that the report has requests enough for one in seven to hit some.
        seen = through(fault, *SAFE, "--max-rps", "12")
        with check(f"{fault}: it hit the report"):
            hit = [request for request in seen if cut_off(request) or throttled(request)]
            assert hit, f"{len(hit)} of {len(seen)} requests"
    # Copies and report share a session, and a hundred requests are soon made.
    through("expired", *SAFE, "--max-rps", "30")
    with check("expired: the session has expired"):
        assert any((request.status, request.ended) == ("400", "LR") for request in world.server.seen("expired"))


@job("haproxy")
def report_where_conditions_are_not_honoured(world, check):
    """Two processes could write one report there: nobody does."""
    keys = world.small(5)
    world.let_role_read()
    bucket = reports(world)
    for fault, header in (("no-if-none-match", "If-None-Match"), ("no-if-match", "If-Match")):
        copy = world.copy(fault, keys, report=bucket, endpoint=world.server.through(fault))
        run = copy.run()
        with check(f"{header}: is refused before anything is sent"):
            expect((run.code, run.summary, world.listed(), "job.json" in copy.files()), (2, {}, [], False), run.stderr)
        with check(f"{header}: is told"):
            assert f"does not honour {header}" in run.stderr, run.stderr
    # The same report where they are honoured.
    copy = world.copy("honoured", keys, report=bucket)
    finished(world, check, copy, copy.run(), "elsewhere it goes")
