#!/usr/bin/env python3
"""The program against an S3 that answers so many requests a second and refuses all others with 503 SlowDown:
how much of the limit it uses, how many of its requests are refused, and who gets how much.

The server is on the same machine and shares its cores: only shares within one run say much. Its limit is a
bucket of tokens with a burst of a tenth of a second, and every answer takes 30 ms. Warm-up is the first five
seconds of copying; the last 2 % of the copies are left out too. `throttle.py [limit|change|engines|lanes]...`;
all of them by default, about seven minutes. `S3HAUL=PATH` measures another program.
"""
import json, os, pathlib, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/torture"))
from common import Job, Sandbox, build

LATENCY, WARM_UP, SECONDS = 30, 5_000, 25
TB = 10 ** 12


def main():
    build()
    scenes = {"limit": limit, "change": change, "engines": engines, "lanes": lanes}
    for name in sys.argv[1:] or scenes:
        scenes[name]()


def limit():
    """One engine, one limit."""
    head("limit/s", "answered, % of limit", "refused, %", "refused in warm-up, %", "copies a row")
    for rate in (50, 200, 1000):
        rows = rate * SECONDS
        (copies,) = run([above(rate)], [("one", rows, 0)])
        span, warm_up = Span(copies, WARM_UP, ended(copies, 0.98)), Span(copies, 0, WARM_UP)
        row(rate, share(span.rate, rate), share(span.refused, span.sent),
            share(warm_up.refused, warm_up.sent), f"{len(copies) / rows:.2f}")


def change():
    """The limit is halved and raised again."""
    head("limit/s", "halved: s until refused < 10 %", "raised: s until 90 % is used",
         "answered in between, % of limit", "refused in between, %", "copies a row")
    for rate in (200, 1000):
        rows, halved, raised = rate * SECONDS, rate * 8, rate * 12
        faults = [{**above(rate / 2), "when": {"from_to": [halved, raised]}}, above(rate)]
        (copies,) = run(faults, [("one", rows, 0)])
        down, up = (copies[n]["arrived_ms"] for n in (halved, raised))
        settled = next(at for at in range(down, up, 20) if Span(copies, at, at + 500).refused_share < 0.1)
        back = next(at for at in range(up, up + 60_000, 100) if Span(copies, at, at + 1000).rate >= 0.9 * rate)
        span = Span(copies, settled, up)
        row(rate, f"{(settled - down) / 1000:.2f}", f"{(back - up) / 1000:.1f}", share(span.rate, rate / 2),
            share(span.refused, span.sent), f"{len(copies) / rows:.2f}")


def engines():
    """Two engines; the second begins when the first has had all for five seconds."""
    head("limit/s", "first, % of limit", "second, % of limit", "refused, %")
    for rate in (200, 1000):
        rows = rate * SECONDS
        both = run([above(rate)], [("one", rows, 0), ("two", rows, 5)])
        begin = both[1][0]["arrived_ms"] + WARM_UP
        spans = [Span(copies, begin, min(ended(copies, 0.98) for copies in both)) for copies in both]
        row(rate, *(share(span.rate, rate) for span in spans),
            share(sum(span.refused for span in spans), sum(span.sent for span in spans)))


def lanes():
    """An object of 5 TB, in 10,000 parts, and 100,000 small ones."""
    head("limit/s", "parts, % of answers", "small objects, % of answers", "answered, % of limit", "refused, %")
    rate = 1000
    (copies,) = run([above(rate)], [("one", 100_000, 0)], large=5 * TB)
    parts = [r for r in copies if r["operation"] == "UploadPartCopy"]
    begin, end = parts[0]["arrived_ms"] + WARM_UP, ended(parts, 0.98)
    of_parts, of_all = Span(parts, begin, end), Span(copies, begin, end)
    row(rate, share(of_parts.answered, of_all.answered), share(of_all.answered - of_parts.answered, of_all.answered),
        share(of_all.rate, rate), share(of_all.refused, of_all.sent))


def above(rate):
    """A limit for all requests that name an object: what is asked before the job names none."""
    return {"key": {"contains": "k/"}, "kind": {"slow_down_above": {"requests_per_second": float(rate)}}}


def run(faults, jobs, large=None):
    """Runs jobs of (ID, rows, seconds to wait before), and returns the copy requests of each in the order of
    arrival; their `arrived_ms` count from the first of all."""
    with tempfile.TemporaryDirectory() as folder:
        objects = [{"key": "k/{}", "size": 100, "count": max(rows for _, rows, _ in jobs)}]
        objects += [{"key": "k/large", "size": large}] if large else []
        sandbox = Sandbox(folder, objects, faults, LATENCY)
        running = []
        for job_id, rows, wait in jobs:
            time.sleep(wait)
            keys = [("k/large", large)] if large else []
            keys += [(f"k/{n:08}", 100) for n in range(rows)]
            job = Job(sandbox, folder, job_id, keys, ["--progress", "none"])
            job.command[0] = os.environ.get("S3HAUL", job.command[0])
            running.append((job, job.start()))
        for job, process in running:
            _, stderr = process.communicate(timeout=1200)
            assert process.returncode == 0, stderr
            job.check()
        requests = [r for r in sandbox.requests() if r["operation"] in ("CopyObject", "UploadPartCopy")]
        sandbox.stop()
    for request in reversed(requests):
        request["arrived_ms"] -= requests[0]["arrived_ms"]
    return [[r for r in requests if r["key"].startswith(f"{job_id}/")] for job_id, _, _ in jobs]


def ended(copies, part):
    """When that part of the copies had arrived."""
    return copies[int(len(copies) * part) - 1]["arrived_ms"]


class Span:
    """What arrived from one time to another."""

    def __init__(self, copies, begin, end):
        inside = [r for r in copies if begin <= r["arrived_ms"] < end]
        self.sent, self.refused = len(inside), sum(r["status"] == 503 for r in inside)
        self.answered = self.sent - self.refused
        self.rate = self.answered / ((end - begin) / 1000)
        self.refused_share = self.refused / max(self.sent, 1)


def share(part, whole):
    return f"{100 * part / whole:.1f}"


def head(*cells):
    print()
    row(*cells)
    row(*("---" for _ in cells))


def row(*cells):
    print("|", " | ".join(map(str, cells)), "|", flush=True)


main()
