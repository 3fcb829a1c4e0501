#!/usr/bin/env python3
"""A job of 10 million rows in 20 data files, all done but the last 1,000, goes on without opening a data file
that is done, with its first copy within 10 s and in less than 100 MiB.

`inventory_resume.py MANIFEST`, of an inventory in CSV, or in Parquet where pyarrow is there, as
`benches/inventory.py make FOLDER csv 10000000 20` makes it. To copy that many rows takes an hour: the job is begun for real and killed, and
its checkpoint then changed into what that of such a job is.
"""
import csv, datetime, gzip, json, pathlib, signal, sys, tempfile, time
from urllib.parse import unquote_plus
from common import Job, Sandbox, build

LEFT = 1_000


def last_rows(manifest):
    """The keys of the last rows, how many rows there are, and the place behind those that are done."""
    listed = json.loads(manifest.read_text())
    files = [manifest.parents[1] / "data" / pathlib.Path(file["key"]).name for file in listed["files"]]
    if listed["fileFormat"] == "CSV":
        rows, tail = 0, b""
        for path in files:
            tail = gzip.decompress(path.read_bytes())
            rows += tail.count(b"\n")
        lines = tail.splitlines(keepends=True)
        keys = [unquote_plus(line.decode().split('","')[1]) for line in lines[-LEFT:]]
        return keys, rows, {"file": len(files) - 1, "byte": sum(map(len, lines[:-LEFT]))}
    import pyarrow.parquet
    counts = [pyarrow.parquet.read_metadata(path).num_rows for path in files]
    keys = pyarrow.parquet.read_table(files[-1], columns=["key"])["key"].to_pylist()[-LEFT:]
    return keys, sum(counts), {"file": len(files) - 1, "byte": counts[-1] - LEFT}


def main():
    build()
    manifest = pathlib.Path(sys.argv[1]).resolve()
    keys, rows, after = last_rows(manifest)
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(folder, [{"key": key, "size": 100} for key in keys])
        job = Job(sandbox, folder, "long", [])
        job.command[job.command.index("--manifest") + 1] = str(manifest)
        at = job.command.index("--manifest-fields")
        job.command[at:at + 2] = ["--versions", "latest"]
        process = job.start()
        while not (job.checkpoint() or {}).get("rows"):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        begun = job.checkpoint()
        assert begun["rows"] == rows, begun
        done = rows - LEFT
        name = "results/0000000000000000000000000000000000000000.csv"
        (job.folder / name).write_text("")
        begun["done"] = [{"from": 0, "to": done, "after": after}]
        begun["position"] = {**after, "ordinal": done}
        begun["counts"].update(succeeded=done, failed=0, skipped=0, errors={})
        begun["uploads"] = []
        begun["sealed"] = [{"name": name, "status": "succeeded", "pass": 0, "sequence": 0, "rows": done,
                            "md5": "d41d8cd98f00b204e9800998ecf8427e"}]
        for journal in (job.folder / "work").glob("journal-*"):
            journal.unlink()
        (job.folder / "work/checkpoint.json").write_text(json.dumps(begun))
        sandbox.new_requests()
        trace = f"{folder}/trace"
        started = time.time()
        process = job.start(["strace", "-f", "-qq", "-o", trace, "-e", "trace=openat", *job.command])
        peak = 0
        while process.poll() is None:
            peak = max(peak, high_water(process.pid))
            time.sleep(0.02)
        seconds = time.time() - started
        out, err = process.communicate()
        assert process.returncode == 0, err
        opened = [line for line in pathlib.Path(trace).read_text().splitlines() if "/data/" in line and "O_DIRECTORY" not in line]
        last = pathlib.Path(json.loads(manifest.read_text())["files"][-1]["key"]).name
        assert opened and all(last in line for line in opened), opened[:5]
        copies = [r for r in sandbox.new_requests() if r["operation"] == "CopyObject"]
        assert len(copies) == LEFT, len(copies)
        summary = json.loads(out)
        assert summary["succeeded"] == rows, summary
        print(f"{rows} rows, {LEFT} left: first copy after {first_copy(job, started):.1f} s, all after {seconds:.1f} s, "
              f"peak {peak:.0f} MiB, data files opened: {last} alone")
        sandbox.stop()


def high_water(pid):
    """Peak of resident memory of the program under strace, in MiB."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = [line for child in children for line in pathlib.Path(f"/proc/{child}/status").read_text().splitlines()]
    except OSError:
        return 0
    return max((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), default=0)


def first_copy(job, started):
    """Seconds from the start of the resume to its first row's end, as the report dates it."""
    ended = []
    for path in (job.folder / "results").glob("*.csv"):
        for row in csv.reader(open(path, newline="")):
            ended.append(json.loads(row[6])["ended_at"])
    first = datetime.datetime.fromisoformat(min(ended)).timestamp()
    return first - started


main()
