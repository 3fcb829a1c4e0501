#!/usr/bin/env python3
"""Kills the program at every single fsync, fdatasync and rename of a small job, and fails each with
EIO, ENOSPC, EDQUOT (over quota) and EROFS (read-only): afterwards the job goes on and each row is in the
report once.

Needs strace. `syscalls.py [kill|EIO|ENOSPC|EDQUOT|EROFS …]`; all of them by default.
"""
import shutil, subprocess, sys, tempfile
from common import Job, Sandbox, build

MODES = sys.argv[1:] or ["kill", "EIO", "ENOSPC", "EDQUOT", "EROFS"]
CALLS = ["fdatasync", "fsync", "rename"]
SMALL, LARGE_BYTES = 30, 12 << 20


def main():
    build()
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(folder, [
            {"key": "small/{}", "size": 100, "count": SMALL},
            {"key": "large", "size": LARGE_BYTES, "seed": 9}])
        keys = [(f"small/{n:08}", 100) for n in range(SMALL)] + [("large", LARGE_BYTES), ("missing", 5)]
        more = ["--multipart-threshold", "5MiB", "--part-size", "5MiB", "--progress", "none"]
        for mode in MODES:
            for call in CALLS:
                hits = 0
                for number in range(1, 1000):
                    job_id = f"{mode}-{call}-{number}".lower()
                    job = Job(sandbox, folder, job_id, keys, more)
                    hit = once(job, mode, call, number)
                    shutil.rmtree(job.report)
                    if not hit:
                        break
                    hits += 1
                print(f"{mode} at each of {hits} {call}: the job went on, each row once in the report")
                assert hits >= 2
        assert sandbox.uploads() == [], sandbox.uploads()
        sandbox.stop()


def once(job, mode, call, number):
    """False once the job makes fewer than `number` such calls."""
    what = "signal=KILL" if mode == "kill" else f"error={mode}"
    inject = f"inject={call}:{what}:when={number}"
    trace = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    code, stdout, stderr = job.run(trace + job.command)
    if code == 1:
        job.check(["missing"])
        return False
    expected = (-9, 137) if mode == "kill" else (2, 4)
    assert code in expected, (code, stdout, stderr)
    if mode != "kill":
        assert "caused by" in stderr, stderr
    code, stdout, stderr = job.run()
    assert code == 1, (job.id, code, stdout, stderr)
    job.check(["missing"])
    left = [path.name for path in job.report.iterdir() if path != job.folder]
    assert not left, f"left in the report's folder: {left}"
    return True


main()
