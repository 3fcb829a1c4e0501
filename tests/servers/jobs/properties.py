"""What an object carries besides its bytes."""
import datetime

from botocore.exceptions import ClientError

from program import expect
from registry import job
from world import noise

EXPIRES = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
CONTENT = {
    "ContentType": "text/x-s3haul; charset=utf-8", "CacheControl": "max-age=60, private", "ContentLanguage": "de, en",
    "ContentDisposition": 'attachment; filename="a b.txt"', "ContentEncoding": "identity"}
METADATA = {"plain": "value", "spaced-out": "a  b", "equals": "a=b&c=d;e"}
TAGS = {"project": "s3haul", "odd key": "a+b=c/d:e@f", "empty": ""}
TAGGING = "project=s3haul&odd%20key=a%2Bb%3Dc%2Fd%3Ae%40f&empty="
PROPERTIES = {**CONTENT, "Expires": EXPIRES, "Metadata": METADATA, "Tagging": TAGGING}


def same_metadata(head):
    expect({name: head.get(name) for name in CONTENT}, CONTENT)
    expect(head.get("ExpiresString"), "Wed, 02 Jan 2030 03:04:05 GMT")
    expect(head["Metadata"], METADATA)


def same_tags(world, key):
    expect(world.tags(key), TAGS)


@job("seaweedfs", "moto")
def properties(world, check):
    world.put("rich", b"rich", **PROPERTIES)
    world.put("poor", b"poor")
    world.let_role_read()
    copy = world.copy("properties", list(world.content))
    run = copy.run()
    with check("every row succeeds"):
        expect(run.code, 0, run.stderr)
        world.are_copied(world.content)
    with check("metadata and content headers are carried"):
        same_metadata(world.head("rich"))
    with check("tags are carried"):
        same_tags(world, "rich")
    with check("nothing is added"):
        expect((world.head("poor")["Metadata"], world.tags("poor")), ({}, {}))
    with check("the report has the object's ETag and size"):
        report = copy.rows_by_key()
        for key in world.content:
            message = report[key].message
            expect(message["e_tag"], world.head(key)["ETag"].strip('"'))


@job("seaweedfs", "moto")
def acl(world, check):
    """What `bucket-owner-full-control`, the default, does for the destination's owner."""
    world.put("small")
    world.put("parts", bytes(6 * 2**20))
    world.let_role_read()
    sizes = [(key, len(body)) for key, body in world.content.items()]
    run = world.copy("acl", sizes, "--multipart-threshold", "5MiB", "--part-size", "5MiB", fields="Bucket,Key,Size").run()
    with check("every row succeeds"):
        expect(run.code, 0, run.stderr)
    bucket_owner = world.destination_s3.get_bucket_acl(Bucket=world.destination)["Owner"]["ID"]
    for key in ("small", "parts"):
        with check(f"{key}: the bucket's owner has full control"):
            answer = world.destination_s3.get_object_acl(Bucket=world.destination, Key=key)
            full = [grant["Grantee"].get("ID") for grant in answer["Grants"] if grant["Permission"] == "FULL_CONTROL"]
            assert bucket_owner in full, f"owner {answer['Owner'].get('ID')}, full control: {full}, not {bucket_owner}"
        with check(f"{key}: the destination's account owns the copy"):
            answer = world.destination_s3.get_object_acl(Bucket=world.destination, Key=key)
            expect(answer["Owner"]["ID"], bucket_owner)


# Elsewhere the owner of the bucket owns the copies too.
@job("ceph")
def acl_of_two_owners(world, check):
    """Objects of the operator in a bucket of another owner: each of the two has full control, by a grant of its own."""
    bucket_owner = world.destination_s3.get_bucket_acl(Bucket=world.destination)["Owner"]["ID"]
    operator = world.server.operator_id
    world.put("small")
    world.let_role_read()
    runs = {"small": world.copy("small", ["small"]).run(),
            "none/small": world.copy("small-none", ["small"], "--acl", "none", prefix="none/").run()}
    world.put("parts", noise(6 * 2**20))
    rows, how = [("parts", 6 * 2**20)], {"fields": "Bucket,Key,Size", **world.let_copy_in_parts()}
    in_parts = ("--multipart-threshold", "5MiB", "--part-size", "5MiB")
    runs |= {"parts": world.copy("parts", rows, *in_parts, **how).run(),
             "none/parts": world.copy("parts-none", rows, *in_parts, "--acl", "none", prefix="none/", **how).run()}
    with check("every row succeeds"):
        expect({key: run.code for key, run in runs.items()}, dict.fromkeys(runs, 0), [run.stderr for run in runs.values()])
        expect(world.listed(), sorted(runs))
    for key in ("small", "parts"):
        with check(f"{key}: who copied owns it, and both have full control"):
            answer = world.destination_s3.get_object_acl(Bucket=world.destination, Key=key)
            expect(answer["Owner"]["ID"], operator)
            grants = sorted((grant["Grantee"]["ID"], grant["Permission"]) for grant in answer["Grants"])
            expect(grants, sorted((owner, "FULL_CONTROL") for owner in (bucket_owner, operator)))
            world.is_copied(key)
        with check(f"{key}: without the ACL the bucket's owner may not read it"):
            try:
                world.body(f"none/{key}")
            except ClientError as error:
                expect(error.response["Error"]["Code"], "AccessDenied")
            else:
                raise AssertionError("it was read")


@job("moto")
def encryption(world, check):
    """The destination's default encryption is what a copy gets, whatever the source has."""
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:aws:kms:us-east-1:222222222222:key/destination"}
    world.destination_s3.put_bucket_encryption(Bucket=world.destination, ServerSideEncryptionConfiguration={
        "Rules": [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}]})
    world.put("plain")
    world.put("kms", ServerSideEncryption="aws:kms", SSEKMSKeyId="arn:aws:kms:us-east-1:111111111111:key/source")
    world.put("parts", bytes(6 * 2**20), ServerSideEncryption="AES256")
    world.let_role_read()
    sizes = [(key, len(body)) for key, body in world.content.items()]
    run = world.copy("encryption", sizes, "--multipart-threshold", "5MiB", fields="Bucket,Key,Size").run()
    with check("every row succeeds"):
        expect(run.code, 0, run.stderr)
        world.are_copied(world.content)
    for key in world.content:
        with check(f"{key}: has the destination's key"):
            head = world.head(key)
            expect((head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")), ("aws:kms", default["KMSMasterKeyID"]))
