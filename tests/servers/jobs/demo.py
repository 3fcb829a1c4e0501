"""The set of objects that `s3haul demo` copies."""
import csv

from program import ROOT, expect
from registry import job
from world import noise

MANIFEST = ROOT / "sample-manifests/demo.csv"
MISSING = "planted/missing-object.txt"
LARGE, LARGE_BYTES = "large/6-gib.bin", 12 * 2**20


def demo_rows():
    """The manifest's keys, still encoded, and sizes."""
    with open(MANIFEST, newline="", encoding="utf-8") as file:
        return [(key, int(size)) for _, key, size in csv.reader(file)]


@job("seaweedfs", "moto", "ceph")
def demo(world, check):
    # Odd keys are looked at one by one in keys.py, and half of the photos will do.
    rows = [(key, size) for n, (key, size) in enumerate(demo_rows())
            if not key.startswith(("odd/", "/")) and not (key.startswith("photos/") and n % 2)]
    rows = [(key, LARGE_BYTES if key == LARGE else size) for key, size in rows]
    world.put_all({key: noise(size, key) for key, size in rows if key != MISSING})
    who = world.let_copy_in_parts()
    copy = world.copy("demo", rows, "--multipart-threshold", "5MiB", "--part-size", "5MiB",
                      fields="Bucket,Key,Size", **who)
    run = copy.run()
    with check("ends with code 1 and a summary of one failed row"):
        expect((run.code, run.summary["state"]), (1, "complete"), run.stderr)
        expect([run.summary[name] for name in ("rows", "succeeded", "failed", "skipped")], [len(rows), len(rows) - 1, 1, 0])
        expect(run.summary["errors"], {"NoSuchKey": 1})
    with check("the report has each row once"):
        report = copy.rows_by_key()
        expect(report.keys(), {key for key, _ in rows})
        failed = [row for row in report.values() if row.status == "failed"]
        expect([(row.key, row.http_status, row.error_code) for row in failed], [(MISSING, "404", "NoSuchKey")])
    with check("every object has arrived, and nothing else"):
        world.are_copied(world.content)
    with check("no multipart upload is left"):
        world.no_uploads()
