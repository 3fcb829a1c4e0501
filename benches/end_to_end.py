#!/usr/bin/env python3
"""The program against the sandbox in its own process: copies a second, client CPU a copy, peak
memory, at 16, 64 and 256 requests in flight and 0 and 30 ms latency; beside the same S3 client sending
the same CopyObject requests and nothing else, and a bare hyper client that sends as many PUTs.

The server is on the same machine and shares its cores: the numbers measure clients only, and only
the ratios within one run say much. `end_to_end.py [COPIES]`; 20,000 by default.
"""
import json, os, pathlib, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/torture"))
from common import ROLE, Job, Sandbox, build, signature

COPIES = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000


def main():
    build()
    bare, sdk = client("bare_client"), client("sdk_client")
    print("| latency | in flight | client | requests/s | CPU us/request | peak MiB |\n|---|---|---|---|---|---|")
    for latency in (0, 30):
        for in_flight in (16, 64, 256):
            with tempfile.TemporaryDirectory() as folder:
                objects = [{"key": "k/{}", "size": 100, "count": COPIES}]
                sandbox = Sandbox(folder, objects, latency=latency, log=False)
                keys = [(f"k/{n:08}", 100) for n in range(COPIES)]
                more = ["--concurrency", str(in_flight), "--max-rps", "none", "--progress", "none"]
                job = Job(sandbox, folder, "bench", keys, more)
                row(latency, in_flight, "s3haul copy", *measure(job.command, job.environment))
                command = [sdk, sandbox.endpoint, ROLE, "s3haul-demo", "example-source", "k/",
                           "example-destination", str(COPIES), str(in_flight)]
                row(latency, in_flight, "CopyObject alone", *measure(command, job.environment))
                headers = signature(sandbox.endpoint, "PUT", "/example-destination/bare", "", sandbox.admin)
                command = [bare, sandbox.endpoint.removeprefix("http://"), "/example-destination/bare",
                           str(COPIES), str(in_flight), *(f"{k}={v}" for k, v in headers.items())]
                row(latency, in_flight, "bare hyper PUT", *measure(command, os.environ))
                sandbox.stop()


def client(name):
    command = ["cargo", "bench", "--locked", "--bench", name, "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [a["executable"] for a in map(json.loads, lines)
            if a.get("target", {}).get("name") == name and a.get("executable")][-1]


def measure(command, environment):
    started = time.time()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.time() - started
    assert os.waitstatus_to_exitcode(status) == 0, process.stderr.read()
    return seconds, (usage.ru_utime + usage.ru_stime), usage.ru_maxrss / 1024


def row(latency, in_flight, client, seconds, cpu, peak):
    print(f"| {latency} ms | {in_flight} | {client} | {COPIES / seconds:.0f} | {cpu / COPIES * 1e6:.0f} | {peak:.1f} |",
          flush=True)


main()
