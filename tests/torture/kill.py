#!/usr/bin/env python3
"""SIGKILLs the program at seeded times in a 20,000-row job with large objects, again and again.

At the end each row is in the report once, nothing was sent again whose outcome was durable, and no
multipart upload is left. `kill.py [KILLS] [SEED] [always|never]`; 200, 1 and always by default.
"""
import random, subprocess, sys, tempfile, time
from common import Job, Sandbox, build

KILLS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
OVERWRITE = sys.argv[3] if len(sys.argv) > 3 else "always"
SMALL, LARGE, LARGE_BYTES = 20_000, 40, 400 << 20


def main():
    build()
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        # Large objects take their time: parts are held for a while.
        faults = [{"operation": "UploadPartCopy", "kind": {"latency": 150}}]
        sandbox = Sandbox(folder, [
            {"key": "small/{}", "size": 100, "count": SMALL - 400},
            {"key": "large/{}", "size": LARGE_BYTES, "seed": 9, "count": LARGE}], faults)
        missing = [f"missing/{n:08}" for n in range(400)]
        keys = [(f"small/{n:08}", 100) for n in range(SMALL - 400)] + [(key, 5) for key in missing]
        keys += [(f"large/{n:08}", LARGE_BYTES) for n in range(LARGE)]
        rng.shuffle(keys)
        more = ["--multipart-threshold", "5MiB", "--part-size", "5MiB", "--overwrite", OVERWRITE,
                "--max-rps", "160", "--concurrency", "64", "--drain-timeout", "1s", "--progress", "none"]
        job = Job(sandbox, folder, f"kill{SEED}", keys, more)
        kills, ends, sent_again, copies, started = 0, 0, 0, 0, time.time()
        while kills < KILLS:
            _, ended, good = job.durable()
            state = (job.checkpoint() or {}).get("state")
            command = None if state != "complete" else resume_command(job)
            process = job.start(command)
            try:
                process.wait(timeout=rng.uniform(0.02, 2.6))
                ends += 1
                assert process.returncode in (0, 1), process.stderr.read()
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
            process.stdout.close(), process.stderr.close()
            time.sleep(0.25)  # What the dead process had in flight arrives, and is logged.
            requests = sandbox.new_requests()
            copies += sum(1 for r in requests if r["operation"] == "CopyObject")
            settled = ended if state not in (None, "complete") else good
            sent_again += check_sent(job, requests, settled)
        code, stdout, stderr = job.run() if job.checkpoint()["state"] != "complete" else (1, "", "")
        assert code == 1, (code, stdout, stderr)
        job.check(missing)
        assert sandbox.uploads() == [], sandbox.uploads()
        at = job.checkpoint()
        copies += sum(1 for r in sandbox.new_requests() if r["operation"] == "CopyObject")
        print(f"{kills} kills (seed {SEED}, --overwrite {OVERWRITE}) in {time.time() - started:.0f} s, "
              f"{ends} runs came to their end: {len(job.keys)} rows, each once in the report; "
              f"{at['attempt']} attempts, {copies} CopyObject for {SMALL} small rows, "
              f"{sent_again} sent again after their outcome was durable, "
              f"{at['counts']['evidence']}, 0 uploads left")
        assert sent_again == 0
        sandbox.stop()


def resume_command(job):
    return [job.command[0], "resume", str(job.folder), "--output", "json", "--progress", "none"]


def check_sent(job, requests, settled):
    """Writes for rows whose outcome was durable before: there must be none."""
    writes = ("CopyObject", "CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload")
    again = [r for r in requests if r["operation"] in writes
             and r["key"].removeprefix(f"{job.id}/") in settled]
    for request in again[:5]:
        print("sent again:", request)
    return len(again)


main()
