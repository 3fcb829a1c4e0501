"""S3 Inventories, written here as S3 writes them; no server here makes any."""
import csv, gzip, hashlib, io, json
from urllib.parse import quote_plus

from program import expect
from registry import job
from world import in_parallel, sha256

KEYS = ["plain", "a b", "a+b", "100%", "a%2Bb", "a,b", 'q"q', "ü/😀", "deep/er/still"]
FIELDS = ["Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag", "StorageClass"]


def written(world, name, names, objects):
    """An inventory of these objects (dictionaries by FIELDS) in two data files, each of two gzip members; the path
    of its manifest.json. It says that it lies in the source bucket: `uploaded` puts it there."""
    day = world.folder / name / "2026-01-01T01-00Z"
    data = world.folder / name / "data"
    day.mkdir(parents=True)
    data.mkdir()
    files = []
    for number, half in enumerate((objects[::2], objects[1::2])):
        content = b"".join(gzip.compress(lines(names, part)) for part in (half[:3], half[3:]))
        path = data / f"{number:08}.csv.gz"
        path.write_bytes(content)
        files.append({"key": f"lists/{world.source}/{name}/data/{path.name}", "size": len(content),
                      "MD5checksum": hashlib.md5(content).hexdigest()})
    manifest = json.dumps({
        "sourceBucket": world.source, "destinationBucket": f"arn:aws:s3:::{world.source}", "version": "2016-11-30",
        "creationTimestamp": "1767229200000", "fileFormat": "CSV", "fileSchema": ", ".join(names), "files": files})
    (day / "manifest.json").write_text(manifest)
    (day / "manifest.checksum").write_text(hashlib.md5(manifest.encode()).hexdigest() + "\n")
    return day / "manifest.json"


def uploaded(world, manifest):
    """Puts the files of an inventory under the keys that they have in S3; the address of its manifest.json."""
    def key(path):
        return f"lists/{world.source}/{path.relative_to(manifest.parents[2])}"
    for path in manifest.parents[1].rglob("*.*"):
        world.source_s3.put_object(Bucket=world.source, Key=key(path), Body=path.read_bytes())
    return f"s3://{world.source}/{key(manifest)}"


def lines(names, objects):
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([row["Bucket"], quote_plus(row["Key"], safe="/"), *(row[name] for name in names[2:])]
                     for row in objects)
    return text.getvalue().encode()


def line(world, entry, **more):
    """What an inventory says of an entry of a listing."""
    return {"Bucket": world.source, "Key": entry["Key"], "Size": entry.get("Size", ""),
            "LastModifiedDate": entry["LastModified"].strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "ETag": entry.get("ETag", "").strip('"'), "StorageClass": entry.get("StorageClass", ""), **more}


def every_version(world):
    """What an inventory of all versions says of the source, delete markers too."""
    answer = world.source_s3.list_object_versions(Bucket=world.source)
    return [
        line(world, entry, VersionId=entry["VersionId"], IsLatest=str(entry["IsLatest"]).lower(), IsDeleteMarker=marker)
        for kind, marker in (("Versions", "false"), ("DeleteMarkers", "true")) for entry in answer.get(kind, [])]


@job("seaweedfs", "moto")
def inventory(world, check):
    world.put_all({key: None for key in KEYS})
    world.let_role_read()
    entries = world.source_s3.list_objects_v2(Bucket=world.source)["Contents"]
    names = [name for name in FIELDS if name not in ("VersionId", "IsLatest", "IsDeleteMarker")]
    manifest = written(world, "lists", names, [line(world, entry) for entry in entries])
    copy = world.copy("inventory", None, fields=None, manifest=manifest)
    run = copy.run()
    with check("every row of every file succeeds"):
        expect((run.code, run.summary["errors"]), (0, {}), run.stderr)
        expect({key: row.status for key, row in copy.rows_by_key().items()}, dict.fromkeys(KEYS, "succeeded"))
    with check("the keys arrive as they are"):
        world.are_copied(KEYS)
    with check("a damaged file is refused before anything is sent"):
        file = manifest.parents[1] / "data" / "00000001.csv.gz"
        file.write_bytes(file.read_bytes()[:-9])
        damaged = world.copy("damaged", None, fields=None, manifest=manifest)
        run = damaged.run()
        expect((run.code, damaged.job.exists()), (2, False), run.stderr)
        assert file.name in run.stderr, run.stderr


@job("seaweedfs", "moto")
def inventory_in_a_bucket(world, check):
    world.put_all({key: None for key in KEYS})
    world.let_role_read()
    entries = world.source_s3.list_objects_v2(Bucket=world.source)["Contents"]
    names = [name for name in FIELDS if name not in ("VersionId", "IsLatest", "IsDeleteMarker")]
    local = written(world, "lists", names, [line(world, entry) for entry in entries])
    manifest = uploaded(world, local)
    copy = world.copy("inventory", None, fields=None, manifest=manifest)
    run = copy.run()
    with check("every row of every file succeeds"):
        expect((run.code, run.summary["errors"]), (0, {}), run.stderr)
        expect({key: row.status for key, row in copy.rows_by_key().items()}, dict.fromkeys(KEYS, "succeeded"))
        world.are_copied(KEYS)
    file = local.parents[1] / "data" / "00000001.csv.gz"
    content = file.read_bytes()
    for what, damaged in (("cut short", content[:-9]), ("of the same size", content[:-9] + bytes(9))):
        with check(f"a data file {what} is refused before anything is sent"):
            file.write_bytes(damaged)
            uploaded(world, local)
            copy = world.copy(what.replace(" ", "-"), None, fields=None, manifest=manifest)
            run = copy.run()
            expect((run.code, copy.job.exists()), (2, False), run.stderr)
            assert file.name in run.stderr, run.stderr
    with check("a manifest.json that is not that of its checksum is refused"):
        file.write_bytes(content)
        local.write_text(local.read_text() + "\n")
        uploaded(world, local)
        copy = world.copy("checksum", None, fields=None, manifest=manifest)
        run = copy.run()
        expect((run.code, copy.job.exists()), (2, False), run.stderr)


@job("seaweedfs", "moto")
def inventory_of_versions(world, check):
    for s3, bucket in ((world.source_s3, world.source), (world.destination_s3, world.destination)):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    keys = KEYS[:4]
    for body in (b"old", b"new"):
        world.put_all({key: body + key.encode() for key in keys})
    gone = keys.pop()
    world.source_s3.delete_object(Bucket=world.source, Key=gone)
    world.let_role_read()
    manifest = written(world, "lists", FIELDS, every_version(world))
    copy = world.copy("latest", None, "--versions", "latest", fields=None, manifest=manifest)
    run = copy.run()
    with check("latest: the objects as they stand"):
        expect((run.code, run.summary["succeeded"], run.summary["filtered"]), (0, 3, 6), run.stderr)
        # SeaweedFS lists a bucket with versions in another order than that of the keys' bytes.
        expect(set(world.listed()), set(keys))
        in_parallel(world.is_copied, keys)
    copy = world.copy("listed", None, "--versions", "listed", fields=None, manifest=manifest, prefix="listed/")
    run = copy.run()
    with check("listed: each version is copied, the delete marker skipped"):
        expect((run.code, run.summary["succeeded"], run.summary["skipped"]), (0, 8, 1), run.stderr)
        versions = world.destination_s3.list_object_versions(Bucket=world.destination, Prefix="listed/")["Versions"]
        found = sorted(sha256(world.destination_s3.get_object(
            Bucket=world.destination, Key=entry["Key"], VersionId=entry["VersionId"])["Body"].read())
            for entry in versions)
        expect(found, sorted(sha256(body + key.encode()) for key in (*keys, gone) for body in (b"old", b"new")))
