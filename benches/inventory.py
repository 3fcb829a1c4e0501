#!/usr/bin/env python3
"""How fast an S3 Inventory is read, and in how much memory, in each format.

`inventory.py [ROWS] [FILES]` (2,000,000 rows in 4 files). Needs pyarrow. Run on one thread beside nothing
else; the files are in the page cache, so that decoding is measured, and no disk. `FORMATS=csv,parquet` leaves
out ORC, which the program reads with its feature `orc` alone.

`inventory.py make FOLDER csv|parquet|orc ROWS FILES` makes one and says where its manifest is.
"""
import gzip, hashlib, io, json, os, pathlib, subprocess, sys, tempfile
import pyarrow as pa, pyarrow.compute as pc, pyarrow.csv, pyarrow.orc, pyarrow.parquet

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FORMATS = os.environ.get("FORMATS", "csv,parquet,orc").split(",")
FEATURES = ["--features", "orc"] if "orc" in FORMATS else []
COLUMNS = ["Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag",
           "StorageClass", "EncryptionStatus"]
NAMES = ["bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "last_modified_date", "e_tag",
         "storage_class", "encryption_status"]
KINDS = ["string", "string", "string", "boolean", "boolean", "bigint", "timestamp", "string", "string", "string"]


def table(first, rows):
    """Rows as S3 lists them; keys in no order, ETags as random as those of real objects."""
    numbers = [(n * 2654435761) % 4294967291 for n in range(first, first + rows)]
    at = 1_700_000_000_000
    return pa.table([
        pa.array(["example-source"] * rows),
        pa.array([f"photos/{n % 1000:03}/2025/IMG {n:010}.jpg" for n in numbers]),
        pa.array([f"{n:08x}.{n * 7 % 99999989:024x}" for n in numbers]),
        pa.array([True] * rows), pa.array([False] * rows),
        pa.array([n % 10_000_000 for n in numbers], pa.int64()),
        pa.array([at + n for n in numbers], pa.timestamp("ms")),
        pa.array([hashlib.md5(n.to_bytes(8, "little")).hexdigest() for n in numbers]),
        pa.array(["STANDARD" if n % 4 else "GLACIER" for n in numbers]),
        pa.array(["SSE-S3" if n % 8 else "SSE-KMS" for n in numbers])], names=NAMES)


def encoded(table, file_format):
    content = io.BytesIO()
    if file_format == "parquet":
        pyarrow.parquet.write_table(table, content, compression="snappy")
    elif file_format == "orc":
        pyarrow.orc.write_table(table, content, compression="zlib")
    else:
        key = pc.replace_substring(table["key"], " ", "%20")
        date = pc.strftime(table["last_modified_date"], format="%Y-%m-%dT%H:%M:%SZ")
        boolean = [table[name].cast(pa.string()) for name in ("is_latest", "is_delete_marker")]
        for at, column in ((1, key), (3, boolean[0]), (4, boolean[1]), (6, date)):
            table = table.set_column(at, NAMES[at], column)
        table = table.set_column(5, "size", table["size"].cast(pa.string()))
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid")
        pyarrow.csv.write_csv(table, content, options)
        return gzip.compress(content.getvalue(), 6)
    return content.getvalue()


def make(folder, file_format, rows, files):
    end = {"csv": "csv.gz"}.get(file_format, file_format)
    (folder / "data").mkdir(parents=True)
    listed = []
    for number in range(files):
        first, last = rows * number // files, rows * (number + 1) // files
        content = encoded(table(first, last - first), file_format)
        (folder / "data" / f"{number:04}.{end}").write_bytes(content)
        listed.append({"key": f"list/data/{number:04}.{end}", "size": len(content),
                       "MD5checksum": hashlib.md5(content).hexdigest()})
    schema = {"csv": ", ".join(COLUMNS),
              "orc": "struct<" + ",".join(f"{n}:{k}" for n, k in zip(NAMES, KINDS)) + ">",
              "parquet": "message s3.inventory { " + " ".join(
                  f"optional {({'boolean': 'boolean', 'bigint': 'int64', 'timestamp': 'int64'}).get(k, 'binary')} {n};"
                  for n, k in zip(NAMES, KINDS)) + " }"}[file_format]
    names = {"csv": "CSV", "orc": "ORC", "parquet": "Parquet"}
    manifest = folder / "2026-01-01T01-00Z" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({
        "sourceBucket": "example-source", "destinationBucket": "arn:aws:s3:::inventories", "version": "2016-11-30",
        "creationTimestamp": "1767229200000", "fileFormat": names[file_format], "fileSchema": schema, "files": listed}))
    return manifest


def build():
    built = subprocess.run(["cargo", "build", "--locked", "--release", "--bin", "s3haul", "--bench", "read_manifest",
                            "--message-format", "json", *FEATURES], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found = [json.loads(line) for line in built.stdout.splitlines()]
    return {line["target"]["name"]: line["executable"] for line in found if line.get("executable")}


def peak(command):
    """What a command prints, and its peak of resident memory in MiB."""
    process = subprocess.Popen(["/usr/bin/env", "python3", "-c", PEAK, *map(str, command)], stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    *lines, used = out.splitlines()
    return "\n".join(lines), int(used) / 1024


PEAK = """
import os, resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def main():
    if sys.argv[1:2] == ["make"]:
        folder, file_format, rows, files = sys.argv[2:]
        return print(make(pathlib.Path(folder), file_format, int(rows), int(files)))
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    files = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    programs = build()
    counted = {}
    with tempfile.TemporaryDirectory() as folder:
        for file_format in FORMATS:
            manifest = make(pathlib.Path(folder) / file_format, file_format, rows, files)
            size = sum(path.stat().st_size for path in manifest.parents[1].glob("data/*")) / 2**20
            print(f"{file_format}: {rows} rows, {size:.0f} MiB in {files} files", flush=True)
            subprocess.run([programs["read_manifest"], manifest], check=True)
            dry = [programs["s3haul"], "copy", "--manifest", manifest, "--versions", "listed", "--to", "s3://example-destination",
                   "--no-role", "--dry-run", "--output", "json"]
            out, used = peak(dry)
            counted[file_format] = json.loads(out)
            print(f"--dry-run: peak {used:.0f} MiB, {out}", flush=True)
    first, *others = counted.values()
    assert all(other == first for other in others), "the formats do not count the same"
    assert first["rows"] == rows


main()
