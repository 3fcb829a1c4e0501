"""Two buckets of two accounts and a role: who sends, and what is made once for all."""
import collections, contextlib, functools, json, re, secrets, time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kept import Ownership, Policy
from prices import MIB
from settings import Refused
from wire import Client, refused_with
from world import noise

# A changed policy is not everywhere at once: so often it is asked whether it is, and so many answers in a row must
# say that it is.
PROBES, IN_A_ROW = 30, 3
# Another address in a profile or in the environment must not pass for S3.
AWS = r"^https://[^/]+\.(amazonaws\.com(\.cn)?|api\.aws)/?$"


class Side:
    """A bucket, and who administers it."""

    def __init__(self, name, bucket, profile, stage):
        self.name, self.bucket = name, bucket
        self.session = boto3.Session(profile_name=profile)
        self.account = stage.sts(self.session).get_caller_identity()["Account"]
        self.region = stage.region_of(self.session, bucket, ExpectedBucketOwner=self.account)
        self.s3 = stage.client(self.session, self.region)

    @property
    def arn(self):
        return f"arn:{self.session.get_partition_for_region(self.region)}:s3:::{self.bucket}"

    def listed(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def uploads(self, prefix):
        pages = self.s3.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
        return [upload for page in pages for upload in page.get("Uploads", [])]

    def versions(self, prefix):
        """(key, version ID) of all versions and delete markers."""
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
        return [(entry["Key"], entry["VersionId"]) for page in pages
                for entry in page.get("Versions", []) + page.get("DeleteMarkers", [])]

    def check_is_empty(self):
        s3, bucket = self.s3, self.bucket
        there = s3.list_object_versions(Bucket=bucket, MaxKeys=1)
        uploads = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=1)
        if there.get("Versions") or there.get("DeleteMarkers") or uploads.get("Uploads"):
            raise Refused(f"the {self.name} bucket is not empty: it must be made for this and hold nothing, "
                          "no version and no multipart upload either")

    def check_can_be_emptied(self):
        try:
            lock = self.s3.get_object_lock_configuration(Bucket=self.bucket)["ObjectLockConfiguration"]
        except ClientError as error:
            if refused_with(error, "ObjectLockConfigurationNotFoundError"):
                return
            raise
        if lock.get("ObjectLockEnabled"):
            raise Refused(f"the {self.name} bucket has Object Lock: what the run makes there might stay")


class Stage:
    def __init__(self, given, folder, binary):
        self.given, self.folder, self.binary = given, folder, binary
        self.run_id = f"s3haul-test-{secrets.token_hex(4)}"
        self.prefix = f"{self.run_id}/"
        # What was sent, by the fields of Cost.
        self.counts = collections.Counter()
        # Programs that run, and what else must be ended before the buckets are emptied.
        self.processes, self.at_end = [], []
        # What several questions share.
        self.shared = {}

    def connect(self):
        """Who, where and whether; nothing is changed."""
        given = self.given
        self.source = self.side("source", given.source_bucket, given.source_profile)
        self.destination = self.side("destination", given.destination_bucket, given.destination_profile)
        if self.source.account == self.destination.account:
            raise Refused("both profiles are of one account: this is a test of copies between two")
        if given.role_account != self.destination.account:
            raise Refused(f"the role is of account {given.role_account}, the destination bucket of "
                          f"{self.destination.account}: they must be of one")
        with refusing("cannot assume the role"):
            self.role()
        for side in (self.source, self.destination):
            with refusing(f"cannot look at the {side.name} bucket"):
                side.check_is_empty()
                side.check_can_be_emptied()
            with refusing(f"the role cannot look at the {side.name} bucket"):
                self.role_in(side.region).head_bucket(Bucket=side.bucket)
        with refusing("cannot read the buckets' settings"):
            self.source_policy, self.destination_policy = Policy(self.source), Policy(self.destination)
            self.ownership = Ownership(self.destination)
        before = {"source policy": self.source_policy.before, "destination policy": self.destination_policy.before,
                  "destination ownership": self.ownership.before}
        (self.folder / "settings-before.json").write_text(json.dumps(before, indent=2) + "\n")

    def side(self, name, bucket, profile):
        with refusing(f"cannot use the {name} bucket {bucket} with profile {profile}"):
            return Side(name, bucket, profile, self)

    def settings(self):
        return {"source bucket's policy": self.source_policy, "destination bucket's policy": self.destination_policy,
                "destination bucket's ownership": self.ownership}

    # Clients.

    def options(self, service):
        endpoint = self.given.endpoint_url
        config = Config(retries={"mode": "standard", "total_max_attempts": 3}, read_timeout=300,
                        max_pool_connections=16, s3={"addressing_style": "path" if endpoint else "auto"})
        return {"service_name": service, "endpoint_url": endpoint, "config": config}

    def boto(self, session, service, region):
        client = session.client(region_name=region, **self.options(service))
        if not self.given.endpoint_url and not re.search(AWS, client.meta.endpoint_url):
            raise Refused(f"requests would go to {client.meta.endpoint_url}: if that is meant, say so with "
                          "S3HAUL_TEST_ENDPOINT_URL")
        return client

    def client(self, session, region):
        return Client(self.boto(session, "s3", region), self.counts)

    def sts(self, session):
        return self.boto(session, "sts", session.region_name or "us-east-1")

    def region_of(self, session, bucket, **more):
        """Where a bucket is."""
        s3 = self.client(session, session.region_name or "us-east-1")
        answer = s3.head_bucket(Bucket=bucket, **more)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return answer.get("BucketRegion") or headers.get("x-amz-bucket-region") or s3.meta.region_name

    def role_session(self, session_policy=None):
        """A session of the role, less what a policy leaves out."""
        asked = {"RoleArn": self.given.role_arn, "RoleSessionName": self.run_id, "DurationSeconds": 3600}
        if self.given.external_id:
            asked["ExternalId"] = self.given.external_id
        if session_policy:
            asked["Policy"] = json.dumps({"Version": "2012-10-17", "Statement": session_policy})
        keys = self.sts(self.destination.session).assume_role(**asked)["Credentials"]
        return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])

    @functools.lru_cache
    def role(self):
        return self.role_session()

    @functools.lru_cache
    def role_in(self, region):
        return self.client(self.role(), region)

    @property
    def copier(self):
        """The role, as a copy uses it: in the destination's region."""
        return self.role_in(self.destination.region)

    def copier_without(self, action):
        allow, deny = ({"Effect": effect, "Action": actions, "Resource": "*"}
                       for effect, actions in (("Allow", "s3:*"), ("Deny", action)))
        return self.client(self.role_session([allow, deny]), self.destination.region)

    # Objects.

    def put(self, name, body, **properties):
        """Makes an object of the source; gives its key."""
        key = self.prefix + name
        self.source.s3.put_object(Bucket=self.source.bucket, Key=key, Body=body, **properties)
        return key

    @functools.cached_property
    def small(self):
        return self.put("questions/small", b"small")

    @functools.cached_property
    def mebibyte(self):
        return self.put("questions/1-mib", noise(MIB))

    large_body = noise(17 * MIB + 1)

    @functools.cached_property
    def large(self):
        """An object that is copied in four parts of 5 MiB."""
        return self.put("questions/17-mib", self.large_body, ChecksumAlgorithm="CRC64NVME",
                        Metadata={"kept": "yes"}, Tagging="kept=yes&a%20b=c%2Bd", ContentType="text/x-s3haul")

    def body(self, key):
        return self.destination.s3.get_object(Bucket=self.destination.bucket, Key=key)["Body"].read()

    # Waiting.

    def until(self, condition, what, tries=60):
        """Waits for what comes, with so many requests at most."""
        for _ in range(tries):
            if condition():
                return
            time.sleep(1)
        raise TimeoutError(f"waited in vain: {what}")

    def takes_effect(self, ask, status):
        """Whether a changed setting is everywhere: `ask()` is answered with this status, several times in a row."""
        in_a_row = 0
        for _ in range(PROBES):
            in_a_row = in_a_row + 1 if ask().status == status else 0
            if in_a_row == IN_A_ROW:
                return True
            time.sleep(1)
        return False


@contextlib.contextmanager
def refusing(what):
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise Refused(f"{what}: {error}") from error
