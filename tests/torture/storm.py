#!/usr/bin/env python3
"""10,000 rows against an S3 that answers 503 SlowDown above 100 requests a second: none fails."""
import json, sys, tempfile, time
from common import Job, Sandbox, build

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000


def main():
    build()
    with tempfile.TemporaryDirectory() as folder:
        faults = [{"operation": "CopyObject", "kind": {"slow_down_above": {"requests_per_second": 100.0}}}]
        sandbox = Sandbox(folder, [{"key": "k/{}", "size": 100, "count": ROWS}], faults)
        job = Job(sandbox, folder, "storm", [(f"k/{n:08}", 100) for n in range(ROWS)], ["--progress", "none"])
        started = time.time()
        code, stdout, stderr = job.run(limit=900)
        assert code == 0, (code, stdout, stderr)
        job.check()
        summary = json.loads(stdout)
        copies = [r for r in sandbox.requests() if r["operation"] == "CopyObject"]
        refused = sum(1 for r in copies if r["status"] == 503)
        print(f"{ROWS} rows in {time.time() - started:.0f} s: {summary['failed']} failed, "
              f"{len(copies)} CopyObject, {refused} of them answered 503")
        sandbox.stop()


main()
