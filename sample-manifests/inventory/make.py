#!/usr/bin/env python3
"""Makes the inventories beside it: one list of objects in each format that S3 writes, by Python's csv and
gzip and by pyarrow (21), which know nothing of s3haul. `make.py`; the files differ between versions of
pyarrow, their rows do not.
"""
import csv, datetime, gzip, hashlib, io, json, pathlib
from urllib.parse import quote_plus
import pyarrow, pyarrow.orc, pyarrow.parquet

HERE = pathlib.Path(__file__).resolve().parent
DAY = "2026-01-01T01-00Z"
UTC = datetime.timezone.utc
KEYS = ["plain", "a b", "a+b", "100%", "a%2Bb", "a,b", 'q"q', "ü/😀", "nl\nx", "/lead", "a//b", "dir/", "k" * 300]
NAMES = ["Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag",
         "StorageClass", "EncryptionStatus"]
PARQUET = {
    "Bucket": "required binary bucket (UTF8)", "Key": "required binary key (UTF8)",
    "VersionId": "optional binary version_id (UTF8)", "IsLatest": "optional boolean is_latest",
    "IsDeleteMarker": "optional boolean is_delete_marker", "Size": "optional int64 size",
    "LastModifiedDate": "optional int64 last_modified_date (TIMESTAMP_MILLIS)",
    "ETag": "optional binary e_tag (UTF8)", "StorageClass": "optional binary storage_class (UTF8)",
    "EncryptionStatus": "optional binary encryption_status (UTF8)"}

ORC = {"IsLatest": "boolean", "IsDeleteMarker": "boolean", "Size": "bigint", "LastModifiedDate": "timestamp"}


def objects():
    """Each key in two versions; one of them deleted, one written before the bucket had versions."""
    for n, key in enumerate(KEYS):
        for version in (2, 1):
            latest = version == 2
            marker = latest and key == "dir/"
            yield {"Bucket": "source", "Key": key,
                   "VersionId": "" if key == "plain" and not latest else f"v{version}.{n:02}",
                   "IsLatest": latest, "IsDeleteMarker": marker, "Size": None if marker else 100 * n + version,
                   "LastModifiedDate": datetime.datetime(2025, 12, version, 1, 2, 3, n * 1000, UTC),
                   "ETag": None if marker else hashlib.md5(f"{key} {version}".encode()).hexdigest(),
                   "StorageClass": None if marker else ["STANDARD", "GLACIER"][n % 2], "EncryptionStatus": "SSE-S3"}


def current():
    """What an inventory of current versions lists."""
    return [{name: value for name, value in row.items() if name not in ("VersionId", "IsLatest", "IsDeleteMarker")}
            for row in objects() if row["IsLatest"] and not row["IsDeleteMarker"]]


def write(name, file_format, schema, files):
    folder = HERE / name
    (folder / "data").mkdir(parents=True, exist_ok=True)
    listed = []
    for number, (end, content) in enumerate(files):
        path = folder / "data" / f"{number:08}-0000-4000-8000-000000000000.{end}"
        path.write_bytes(content)
        key = f"lists/source/{name}/data/{path.name}"
        listed.append({"key": key, "size": len(content), "MD5checksum": hashlib.md5(content).hexdigest()})
    (folder / DAY).mkdir(exist_ok=True)
    manifest = json.dumps({
        "sourceBucket": "source", "destinationBucket": "arn:aws:s3:::inventories", "version": "2016-11-30",
        "creationTimestamp": "1767229200000", "fileFormat": file_format, "fileSchema": schema, "files": listed}, indent=1)
    (folder / DAY / "manifest.json").write_text(manifest)
    (folder / DAY / "manifest.checksum").write_text(hashlib.md5(manifest.encode()).hexdigest() + "\n")


def halves(rows):
    rows = list(rows)
    return rows[: len(rows) // 2], rows[len(rows) // 2:]


def csv_file(rows, names):
    """Two gzip members, as S3 writes long files."""
    members = []
    for half in halves(rows):
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([field(row, name) for name in names] for row in half)
        members.append(gzip.compress(text.getvalue().encode(), mtime=0))
    return b"".join(members)


def field(row, name):
    value = row[name]
    if name == "Key":
        return quote_plus(value, safe="/")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
    return "" if value is None else str(value)


def table(rows, names, **other):
    kinds = {"IsLatest": pyarrow.bool_(), "IsDeleteMarker": pyarrow.bool_(), "Size": pyarrow.int64(),
             "LastModifiedDate": pyarrow.timestamp("ms")} | other
    schema = pyarrow.schema([
        pyarrow.field(PARQUET[name].split()[2], kinds.get(name, pyarrow.string()), name not in ("Bucket", "Key"))
        for name in names])
    columns = [[row[name].replace(tzinfo=None) if name == "LastModifiedDate" else row[name] for row in rows]
               for name in names]
    arrays = [pyarrow.array(column, pyarrow.timestamp("ms")).cast(field.type)
              if name == "LastModifiedDate" else pyarrow.array(column, field.type)
              for name, column, field in zip(names, columns, schema)]
    return pyarrow.table(arrays, schema=schema)


def parquet_file(rows, names, compression, **other):
    """Row groups of five, so that a file has several."""
    content = io.BytesIO()
    pyarrow.parquet.write_table(table(rows, names, **other), content, compression=compression, row_group_size=5)
    return content.getvalue()


def orc_schema(names):
    return "struct<" + ",".join(f"{PARQUET[name].split()[2]}:{ORC.get(name, 'string')}" for name in names) + ">"


def orc_file(rows, names, compression, **other):
    """Stripes as small as they get, so that a file has several; dictionaries where Java's writer makes them."""
    content = io.BytesIO()
    with pyarrow.orc.ORCWriter(content, compression=compression, stripe_size=1,
                               compression_block_size=256, dictionary_key_size_threshold=0.8) as writer:
        for at in range(0, len(rows), 5):
            writer.write(table(rows[at: at + 5], names, **other))
    return content.getvalue()


def main():
    everything, now = list(objects()), current()
    short = [name for name in NAMES if name in now[0]]
    write("csv", "CSV", ", ".join(NAMES), [("csv.gz", csv_file(half, NAMES)) for half in halves(everything)])
    write("csv-current", "CSV", ", ".join(short), [("csv.gz", csv_file(now, short))])
    for compression in ("snappy", "gzip", "zstd"):
        schema = "message s3.inventory { " + " ".join(PARQUET[name] + ";" for name in NAMES) + "}"
        write(f"parquet-{compression}", "Parquet", schema,
              [("parquet", parquet_file(half, NAMES, compression)) for half in halves(everything)])
    schema = "message s3.inventory { " + " ".join(PARQUET[name] + ";" for name in short) + "}"
    write("parquet-current", "Parquet", schema, [("parquet", parquet_file(now, short, "snappy"))])
    # S3 writes timestamps without a zone; other writers may have instants, or milliseconds.
    time = pyarrow.timestamp("ms")
    instant = pyarrow.timestamp("ms", "UTC")
    for compression, time in (("zlib", time), ("uncompressed", time), ("zstd", instant), ("snappy", pyarrow.int64())):
        write(f"orc-{compression}", "ORC", orc_schema(NAMES),
              [("orc", orc_file(half, NAMES, compression, LastModifiedDate=time)) for half in halves(everything)])
    write("orc-current", "ORC", orc_schema(short), [("orc", orc_file(now, short, "zlib"))])
    # Which S3 would not write: the key of the seventh row is Latin-1.
    latin = [dict(row, Key=b"caf\xe9" if n == 6 else row["Key"].encode()) for n, row in enumerate(now)]
    write("parquet-latin", "Parquet", schema, [("parquet", parquet_file(latin, short, "snappy", Key=pyarrow.binary()))])
    write("orc-latin", "ORC", orc_schema(short), [("orc", orc_file(latin, short, "zlib", Key=pyarrow.binary()))])


main()
