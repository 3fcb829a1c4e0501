"""What a job works in: two buckets of two accounts, seen by boto3, and s3haul."""
import concurrent.futures, hashlib, json

from botocore.exceptions import ClientError

from program import Copy, expect
from server import accounts

# As sample-manifests/source-bucket-policy.json has them.
READ = ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging", "s3:GetObjectVersionTagging",
        "s3:GetObjectAnnotation", "s3:GetObjectVersionAnnotation", "s3:ListObjectAnnotations"]

# The keys of `two`.
TWO = ("small", "parts")
PARTS_BYTES = 6 * 2**20


class World:
    def __init__(self, server, folder, name, binary):
        self.server, self.folder, self.binary = server, folder, binary
        self.source, self.destination = f"source-{name}", f"destination-{name}"
        self.source_s3 = accounts.client("s3", server.endpoint, server.source_admin)
        self.destination_s3 = accounts.client("s3", server.endpoint, server.destination_admin)
        # Ceph refuses a policy with an action that it does not know.
        self.read = [action for action in READ if server.name != "ceph" or "Annotation" not in action]
        # Content of the source, by key.
        self.content = {}
        folder.mkdir(parents=True)
        self.source_s3.create_bucket(Bucket=self.source)
        self.destination_s3.create_bucket(Bucket=self.destination)

    def let_role_read(self):
        """The source's bucket policy, as sample-manifests/ has it, for the way this server names the role."""
        allow(self.source_s3, self.source, self.server.role_principal, self.read, ["s3:ListBucket"])

    def let_copy_in_parts(self):
        """The same where objects go in parts. Gives who may copy them, for `copy`: see Ceph.operator_principal."""
        operator = getattr(self.server, "operator_principal", None)
        if not operator:
            self.let_role_read()
            return {}
        allow(self.source_s3, self.source, operator, self.read, ["s3:ListBucket"])
        allow(self.destination_s3, self.destination, operator, ["s3:*"], ["s3:*"])
        # For the source of a part the object's ACL alone is looked at.
        for version in self.source_s3.list_object_versions(Bucket=self.source).get("Versions", []):
            self.source_s3.put_object_acl(Bucket=self.source, Key=version["Key"], VersionId=version["VersionId"],
                                          GrantRead=f"id={self.server.operator_id}")
        return {"role": None}

    def put(self, key, body=None, **properties):
        """Makes an object of the source."""
        body = f"content of {key}".encode() if body is None else body
        answer = self.source_s3.put_object(Bucket=self.source, Key=key, Body=body, **properties)
        self.content[key] = body
        return answer

    def put_all(self, bodies):
        in_parallel(lambda pair: self.put(*pair), bodies.items())

    def small(self, count):
        """Makes small objects, and gives their keys."""
        keys = [f"small/{n:04}" for n in range(count)]
        self.put_all({key: None for key in keys})
        return keys

    def two(self, **properties):
        """Makes an object for CopyObject and one that is copied in parts of 5 MiB, and gives the rows of both."""
        self.put("small", **properties)
        self.put("parts", noise(PARTS_BYTES), **properties)
        return [(key, len(self.content[key])) for key in TWO]

    def copy(self, name, rows, *flags, **how):
        return Copy(self, name, rows, *flags, **how)

    def head(self, key, **more):
        return self.destination_s3.head_object(Bucket=self.destination, Key=key, **more)

    def tags(self, key):
        answer = self.destination_s3.get_object_tagging(Bucket=self.destination, Key=key)
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def body(self, key):
        return self.destination_s3.get_object(Bucket=self.destination, Key=key)["Body"].read()

    def is_copied(self, key):
        """The object is at the destination, byte for byte."""
        expect(sha256(self.body(key)), sha256(self.content[key]), f"SHA-256 of {key!r}")

    def are_copied(self, keys):
        """These objects are at the destination, and no others."""
        expect(self.listed(), sorted(keys, key=lambda key: key.encode()), "keys at the destination")
        in_parallel(self.is_copied, keys)

    def listed(self):
        pages = self.destination_s3.get_paginator("list_objects_v2").paginate(Bucket=self.destination)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def uploads(self):
        return self.destination_s3.list_multipart_uploads(Bucket=self.destination).get("Uploads", [])

    def parts(self, upload):
        return self.destination_s3.list_parts(
            Bucket=self.destination, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts", [])

    def no_uploads(self):
        expect([upload["Key"] for upload in self.uploads()], [], "uploads left")


def allow(s3, bucket, principal, of_objects, of_bucket):
    """Makes the bucket's policy: these actions for one principal."""
    def statement(actions, resource):
        return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": actions, "Resource": resource}
    arn = f"arn:aws:s3:::{bucket}"
    statements = [statement(of_objects, f"{arn}/*"), statement(of_bucket, arn)]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))


def in_parallel(function, items):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(function, items))


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def noise(count, seed=0):
    """Bytes that are not the same in any two parts."""
    return hashlib.shake_128(str(seed).encode()).digest(count)
