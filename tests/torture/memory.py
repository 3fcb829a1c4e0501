#!/usr/bin/env python3
"""Peak memory at 100,000 rows and at 2 million, 30 % of them failing: within 10 MiB of each other, and within
20 MiB where the report is in S3.

`memory.py [ROWS …]`; `REPORT=s3` puts the report there.
"""
import json, os, pathlib, sys, tempfile, time
from common import Job, Sandbox, build

REPORT = "s3://example-reports/memory" if os.environ.get("REPORT") == "s3" else None
ROWS = [int(n) for n in sys.argv[1:]] or [100_000, 2_000_000]


def main():
    build()
    peaks = []
    for rows in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            present = rows * 7 // 10
            sandbox = Sandbox(folder, [{"key": "k/{}", "size": 100, "count": present}], log=False)
            keys = [(f"k/{n:08}", 100) for n in range(rows)]
            # The missing ones are spread over the whole manifest.
            keys = [key for n in range(0, rows, 10) for key in
                    [(f"k/{n // 10 * 7 + m:08}", 100) for m in range(7)]
                    + [(f"missing/{n + m:08}", 100) for m in range(3)]]
            more = ["--max-rps", "none", "--failure-threshold", "none", "--progress", "none"]
            job = Job(sandbox, folder, f"rows{rows}", keys, more, report=REPORT)
            started = time.time()
            process, peak, usage = job.start(), 0, None
            while usage is None:
                # Not ru_maxrss: it begins with that of the process which forks.
                peak = high_water(process.pid) or peak
                pid, status, used = os.wait4(process.pid, os.WNOHANG)
                usage = used if pid else time.sleep(0.05)
            assert os.waitstatus_to_exitcode(status) == 1, process.stderr.read()
            seconds = time.time() - started
            counts = json.loads(process.stdout.read())
            assert (counts["succeeded"], counts["failed"]) == (present, rows - present), counts
            cpu = (usage.ru_utime + usage.ru_stime) / rows * 1e6
            print(f"{rows} rows, report in {REPORT or 'a folder'}, {rows - present} failed: peak {peak:.1f} MiB, {seconds:.0f} s, "
                  f"{rows / seconds:.0f} rows/s, {cpu:.0f} us of CPU a row")
            peaks.append(peak)
            sandbox.stop()
    grown = peaks[-1] - peaks[0]
    print(f"from {ROWS[0]} to {ROWS[-1]} rows the peak grew by {grown:.1f} MiB")
    assert grown < (20 if REPORT else 10)


def high_water(pid):
    """Peak of resident memory in MiB; none once the process has ended."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)


main()
