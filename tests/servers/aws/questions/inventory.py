"""S3 Inventory, where one is named: nothing is made, and no key is shown."""
import csv, io, json, zlib

from prices import MIB, Cost
from questions import Answer, NotAsked, asks

FILES, FILE_BYTES = 3, 4 * MIB
NEW = ("eventhold", "intelligenttieringreferencedate", "lifecycleexpirationdate")


def opened(stage):
    """(client, bucket, manifest) of the inventory."""
    if not stage.given.inventory:
        raise NotAsked("S3HAUL_TEST_INVENTORY names no inventory")
    if "inventory" not in stage.shared:
        bucket, _, key = stage.given.inventory.removeprefix("s3://").partition("/")
        session = stage.source.session
        s3 = stage.client(session, stage.region_of(session, bucket))
        stage.shared["inventory"] = s3, json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return stage.shared["inventory"]


def is_asked(given):
    return given.inventory is not None


@asks("§6.2", Cost(reads=FILES + 2, received=FILES * FILE_BYTES + MIB), is_asked)
def spaces(stage):
    """Is a space in the keys of a CSV inventory written + or %20?"""
    s3, manifest = opened(stage)
    if manifest["fileFormat"] != "CSV":
        raise NotAsked(f"the inventory is {manifest['fileFormat']}: a CSV is needed")
    column = [name.strip() for name in manifest["fileSchema"].split(",")].index("Key")
    keys = [row[column] for file in manifest["files"][:FILES] for row in rows_at_the_start(s3, manifest, file)]
    counts = {text: sum(text in key for key in keys) for text in ("+", "%20", "%2B")}
    came = f"of {len(keys)} keys " + ", ".join(f"{count} have {text}" for text, count in counts.items())
    if counts["+"] and counts["%20"]:
        means = "both: decoding takes both"
    elif counts["+"] or counts["%20"]:
        means = f"{'+' if counts['+'] else '%20'}: decoding by form rules takes it"
    else:
        raise NotAsked("no key of the inventory's first rows has a space: " + came)
    return Answer(f"GetObject of the first {FILE_BYTES // MIB} MiB of up to {FILES} data files", came, means,
                  not (counts["+"] and not counts["%2B"] and counts["%20"]))


def rows_at_the_start(s3, manifest, file):
    """The whole rows of the first bytes of a data file."""
    bucket = manifest["destinationBucket"].split(":::")[-1]
    body = s3.get_object(Bucket=bucket, Key=file["key"], Range=f"bytes=0-{FILE_BYTES - 1}")["Body"].read()
    text = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body).decode(errors="replace")
    whole = text[:text.rfind("\n") + 1] if text.count("\n") else text
    return [row for row in csv.reader(io.StringIO(whole)) if row]


@asks("§6.3", Cost(reads=2), is_asked)
def new_columns(stage):
    """What are the newer columns called, and where do they stand?"""
    _, manifest = opened(stage)
    schema = manifest["fileSchema"]
    body = schema.partition("{")[2] or schema.partition("<")[2] or schema
    columns = [" ".join(column.split()) for column in body.strip(" >}").replace(";", ",").split(",") if column.strip()]
    found = [f"{place}: {column}" for place, column in enumerate(columns, 1)
             if any(new in column.lower().replace("_", "") for new in NEW)]
    if not found:
        raise NotAsked(f"the inventory has none of them in its {len(columns)} columns: add ObjectLockEventHold…, "
                       "IntelligentTieringReferenceDate and LifecycleExpirationDate to its fields")
    return Answer(f"GetObject of manifest.json ({manifest['fileFormat']}, {len(columns)} columns)", "; ".join(found),
                  "columns are found by name, and unknown ones ignored")
