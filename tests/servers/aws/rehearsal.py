"""The command itself, tried on the sandbox: what it refuses, a whole run, and Ctrl-C in the middle."""
import json, os, pathlib, signal, subprocess, sys, tempfile

from botocore.exceptions import ClientError

from process import until
from program import binary
from server import accounts
from server.accounts import Keys

ROLE = "arn:aws:iam::222222222222:role/s3haul-copy"
SOURCE, DESTINATION = "example-source", "example-destination"
ADMINS = {"111111111111": Keys("AKIASOURCEAD1EXAMPLE", "source/admin/MADE/UP/FOR/TESTS/EXAMPLEKE"),
          "222222222222": Keys("AKIADESTINAD2EXAMPLE", "destination/admin/MADE/UP/4/TESTS/EXAMPL")}
READ = ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging", "s3:GetObjectVersionTagging",
        "s3:GetObjectAnnotation", "s3:GetObjectVersionAnnotation",
        "s3:ListObjectAnnotations"]


def run():
    with tempfile.TemporaryDirectory(prefix="s3haul-rehearsal-") as name:
        sandbox = Sandbox(pathlib.Path(name))
        try:
            refusals(sandbox)
            sandbox.expect_run(0, "a whole run", "--yes")
            sandbox.expect_as_before("a whole run")
            for what, in_the_middle in INTERRUPTIONS.items():
                sandbox.interrupt(what, in_the_middle)
        finally:
            sandbox.process.kill()
            sandbox.process.wait()
    print("rehearsed")
    return 0


def refusals(sandbox):
    sandbox.expect_run(2, "no variables", "--yes", S3HAUL_TEST_ROLE_ARN="", S3HAUL_TEST_SOURCE_BUCKET="")
    sandbox.expect_run(2, "a role that is not there", "--yes", S3HAUL_TEST_ROLE_ARN=f"{ROLE}-of-nobody")
    sandbox.expect_run(2, "a bucket that is not there", "--yes", S3HAUL_TEST_SOURCE_BUCKET="example-nowhere")
    sandbox.expect_run(2, "one account", "--yes", S3HAUL_TEST_SOURCE_PROFILE="destination-admin")
    sandbox.destination.put_object(Bucket=DESTINATION, Key="mine", Body=b"")
    sandbox.expect_run(2, "a bucket that is not empty", "--yes")
    sandbox.destination.delete_object(Bucket=DESTINATION, Key="mine")
    sandbox.expect_as_before("refusals")
    before = sandbox.requests()
    sandbox.expect_run(0, "no --yes")
    assert sandbox.requests() == before, "without --yes a request was sent"


# What is seen of a run from outside.
INTERRUPTIONS = {
    "while parts are copied": lambda sandbox: sandbox.uploads(),
    "while the source has no policy": lambda sandbox: sandbox.policies()[0] is None,
    "while the destination has another policy": lambda sandbox: "S3haulTest" in str(sandbox.policies()[1]),
}


class Sandbox:
    """A server with two buckets, and profiles of who administers them."""

    def __init__(self, folder):
        self.folder = folder
        program = pathlib.Path(os.environ.get("S3HAUL_SANDBOX_BIN") or binary().with_name("s3haul-sandbox"))
        for name, content in (("fill", fill()), ("accounts", identities())):
            (folder / f"{name}.json").write_text(json.dumps(content))
        self.log = folder / "requests.jsonl"
        self.process = subprocess.Popen(
            [program, "--listen", "127.0.0.1:0", "--fill", folder / "fill.json", "--log", self.log,
             "--accounts", folder / "accounts.json"], stdout=subprocess.PIPE, text=True, start_new_session=True)
        endpoint = json.loads(self.process.stdout.readline())["endpoint"]
        self.source, self.destination = (accounts.client("s3", endpoint, keys) for keys in ADMINS.values())
        self.environment = {**os.environ, **profiles(folder), **variables(endpoint)}
        self.policies_before = self.policies()

    def start(self, *flags, **more):
        command = [sys.executable, pathlib.Path(__file__).with_name("main.py"), *flags]
        return subprocess.Popen(command, env={**self.environment, **more}, start_new_session=True)

    def expect_run(self, code, what, *flags, **more):
        print(f"--- {what}", flush=True)
        found = self.start(*flags, **more).wait()
        assert found == code, f"{what}: code {found}, not {code}"

    def interrupt(self, what, in_the_middle):
        print(f"--- Ctrl-C {what}", flush=True)
        process = self.start("--yes")
        try:
            until(lambda: in_the_middle(self) or process.poll() is not None, what, 300)
            # To all in the foreground, as a terminal sends it, and again, as the impatient do.
            for _ in range(2):
                os.killpg(process.pid, signal.SIGINT)
            found = process.wait()
        finally:
            process.kill()
        assert found == 130, f"{what}: code {found}, not 130"
        self.expect_as_before(what)

    def expect_as_before(self, what):
        for s3, bucket in ((self.source, SOURCE), (self.destination, DESTINATION)):
            there = s3.list_object_versions(Bucket=bucket)
            assert not there.get("Versions") and not there.get("DeleteMarkers"), f"{what}: {bucket} is not empty"
        assert not self.uploads(), f"{what}: uploads are left"
        assert self.policies() == self.policies_before, f"{what}: another policy is left"

    def uploads(self):
        return self.destination.list_multipart_uploads(Bucket=DESTINATION).get("Uploads")

    def policies(self):
        return [policy(self.source, SOURCE), policy(self.destination, DESTINATION)]

    def requests(self):
        return self.log.read_text().count("\n")


def policy(s3, bucket):
    try:
        return json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    except ClientError:
        return None


def document(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


def fill():
    def let_role(actions, resource):
        return {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": actions, "Resource": resource}

    # One that must be there afterwards.
    owners = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
              "Resource": f"arn:aws:s3:::{DESTINATION}/no/*"}
    reading = document(let_role(READ, f"arn:aws:s3:::{SOURCE}/*"), let_role("s3:ListBucket", f"arn:aws:s3:::{SOURCE}"))
    return {"buckets": [
        {"name": SOURCE, "account": "111111111111", "policy": reading, "objects": []},
        {"name": DESTINATION, "account": "222222222222", "policy": document(owners), "objects": []}]}


def identities():
    def may(*actions):
        return document({"Effect": "Allow", "Action": actions, "Resource": "*"})

    def account(number, **more):
        user = {"name": "admin", "access_key_id": ADMINS[number].id, "secret_access_key": ADMINS[number].secret,
                "policies": [may("s3:*", "sts:*")]}
        return {"id": number, "users": [user], **more}

    trust = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:root"}, "Action": "sts:AssumeRole",
             "Condition": {"StringEquals": {"sts:ExternalId": "choose-one"}}}
    role = {"name": "s3haul-copy", "trust_policy": document(trust), "policies": [may("s3:*")]}
    return {"accounts": [account("111111111111"), account("222222222222", roles=[role])]}


def profiles(folder):
    names = ("source-admin", "destination-admin")
    (folder / "config").write_text("".join(f"[profile {name}]\nregion = {accounts.REGION}\n" for name in names))
    (folder / "credentials").write_text("".join(
        f"[{name}]\naws_access_key_id = {keys.id}\naws_secret_access_key = {keys.secret}\n"
        for name, keys in zip(names, ADMINS.values())))
    return {"AWS_CONFIG_FILE": str(folder / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
            "AWS_EC2_METADATA_DISABLED": "true"}


def variables(endpoint):
    given = {"SOURCE_BUCKET": SOURCE, "DESTINATION_BUCKET": DESTINATION, "ROLE_ARN": ROLE, "EXTERNAL_ID": "choose-one",
             "SOURCE_PROFILE": "source-admin", "DESTINATION_PROFILE": "destination-admin", "ENDPOINT_URL": endpoint,
             "INVENTORY": "", "BATCH_ROLE_ARN": ""}
    return {"BUILT": "1", **{f"S3HAUL_TEST_{name}": value for name, value in given.items()}}
