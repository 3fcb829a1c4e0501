"""Several processes with one job, and the report of all of them."""
import signal

from jobs.manifests import listed, put_manifest
from jobs.multipart import IN_PARTS
from jobs.report import ABSENT, SAFE, reports, told
from process import until
from program import expect
from registry import job
from world import noise

OF = 4
# Five requests a second for each, and few rows in hand, so that two are stopped in the middle.
SLOW = (*SAFE, "--max-rps", str(5 * OF), "--concurrency", "2")


@job("seaweedfs", "moto")
def shards_in_a_bucket(world, check):
    """Two are stopped in the middle and run again by the same command line, as an engine does it."""
    world.small(120)
    world.put("large", noise(11 * 2**20))
    world.let_role_read()
    bucket = reports(world)
    rows = [(key, len(body)) for key, body in world.content.items()]
    manifest, _ = put_manifest(world, listed(world, [*rows, (ABSENT, 1)]))
    how = {"fields": "Bucket,Key,Size", "manifest": manifest}
    single = world.copy("single", None, *IN_PARTS, **how)
    expect(single.run().code, 1)

    def shard(index):
        copy = world.copy(f"shard-{index}", None, *IN_PARTS, *SLOW, "--shard", f"{index}/{OF}",
                          "--failed-rows-exit", "0", report=bucket, job_id="array", prefix="again/", **how)
        copy.job += f"/shard-{index:05}-of-{OF:05}"
        return copy
    shards = [shard(index) for index in range(OF)]
    processes = [copy.start() for copy in shards]
    until(lambda: len([key for key in world.listed() if key.startswith("again/")]) >= 20, "20 objects to be copied")
    for process in processes[1:3]:
        process.send_signal(signal.SIGTERM)
    runs = [copy.ended(process) for copy, process in zip(shards, processes)]
    with check("two are stopped with code 4, the others end with 0"):
        expect([run.code for run in runs], [0, 4, 4, 0], [run.stderr[-500:] for run in runs])
    whole = world.copy("whole", None, report=bucket, job_id="array", **how)
    merge = whole.on_report("report", "merge")
    early = whole.ended(whole.start(merge))
    with check("a merge names those that have not ended"):
        expect(early.code, 4, early.stderr)
        assert "1-2" in early.stderr and "manifest.json" not in whole.files(), early.stderr
    for copy in shards[1:3]:
        run = copy.run()
        with check(f"{copy.folder.name}: the same command line ends it"):
            expect((run.code, run.summary.get("state")), (0, "complete"), run.stderr)
    with check("each has a whole report, and they share no row"):
        keys = [row.key for copy in shards for row in copy.rows()]
        expect(sorted(keys), sorted([*world.content, ABSENT]))
    other = world.copy("other", None, "--shard", f"0/{OF + 1}", report=bucket, job_id="array", **how).run()
    with check("a shard of another number is refused"):
        expect(other.code, 2, other.stderr)
        assert f"of {OF} shards" in other.stderr, other.stderr
    merged = whole.ended(whole.start(merge))
    with check("the merged report is that of one process"):
        expect((merged.code, merged.summary.get("failed")), (1, 1), merged.stderr)
        expect(told(whole), told(single))
    with check("everything has arrived"):
        expect({key: world.body(f"again/{key}") for key in world.content}, world.content)
        world.no_uploads()
