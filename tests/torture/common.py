"""What the torture scripts share: a sandbox, a job, and what must hold of its report.

Python's standard library alone. `PROFILE=debug` or `dist` runs those binaries instead of `release`.
"""
import atexit, csv, hashlib, hmac, json, os, pathlib, signal, subprocess, sys, tempfile, time
import urllib.parse, urllib.request, datetime, xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROFILE = os.environ.get("PROFILE", "release")
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / PROFILE
ROLE = "arn:aws:iam::222222222222:role/s3haul-copy"
POLICY = json.loads((ROOT / "sample-manifests/source-bucket-policy.json").read_text())

REPORT_POLICY = {"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
    "Resource": ["arn:aws:s3:::example-reports", "arn:aws:s3:::example-reports/*"]}]}


def build():
    if os.environ.get("BUILT"):
        return
    command = ["cargo", "build", "--locked", "-p", "s3haul", "-p", "s3haul-sandbox", "--bins",
               "--profile", "dev" if PROFILE == "debug" else PROFILE]
    subprocess.run(command, cwd=ROOT, check=True)


class Sandbox:
    """The sandbox's program, with a source bucket that holds `objects`."""

    def __init__(self, folder, objects, faults=(), latency=0, log=True):
        self.folder = pathlib.Path(folder)
        fill = {"buckets": [
            {"name": "example-source", "account": "111111111111", "policy": POLICY, "objects": objects},
            {"name": "example-destination", "account": "222222222222"},
            {"name": "example-reports", "account": "222222222222", "policy": REPORT_POLICY},
        ]}
        (self.folder / "fill.json").write_text(json.dumps(fill))
        (self.folder / "faults.json").write_text(json.dumps(list(faults)))
        self.log_path = self.folder / "requests.jsonl"
        command = [str(BIN / "s3haul-sandbox"), "--listen", "127.0.0.1:0",
                   "--fill", str(self.folder / "fill.json"),
                   "--faults", str(self.folder / "faults.json"), "--latency", str(latency)]
        if log:
            command += ["--log", str(self.log_path)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)
        self.facts = json.loads(self.process.stdout.readline())
        self.endpoint = self.facts["endpoint"]
        users = {user["name"]: user for account in self.facts["accounts"] for user in account["users"]}
        self.operator, self.admin = users["operator"], users["destination-admin"]

    def requests(self):
        """Every request so far, in the order of arrival."""
        self.read = 0
        return sorted(self.new_requests(), key=lambda r: r["number"])

    read = 0

    def new_requests(self):
        """The requests that ended since they were asked for last."""
        with open(self.log_path, "rb") as file:
            file.seek(self.read)
            lines = file.read()
        whole = lines.rfind(b"\n") + 1
        self.read += whole
        return [json.loads(line) for line in lines[:whole].splitlines()]

    def uploads(self):
        """Open multipart uploads of the destination bucket."""
        answer = signed_get(self.endpoint, "/example-destination", "uploads=", self.admin)
        root = xml.fromstring(answer)
        space = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
        return [upload.find(space + "UploadId").text for upload in root.iter(space + "Upload")]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def signed_get(endpoint, path, query, user):
    headers = signature(endpoint, "GET", path, query, user)
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}{path}?{query}", headers=headers)) as answer:
        return answer.read()


def signature(endpoint, method, path, query, user):
    """The headers of an empty request by Signature Version 4."""
    host = endpoint.removeprefix("http://")
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    empty = hashlib.sha256(b"").hexdigest()
    headers = f"host:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{stamp}\n"
    names = "host;x-amz-content-sha256;x-amz-date"
    canonical = f"{method}\n{path}\n{query}\n{headers}\n{names}\n{empty}"
    scope = f"{day}/us-east-1/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + user["secret_access_key"]).encode()
    for part in (day, "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signed = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return {"x-amz-date": stamp, "x-amz-content-sha256": empty,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={user['access_key_id']}/{scope}, "
                             f"SignedHeaders={names}, Signature={signed}"}


class Job:
    """A job of `rows` (key, size or None), and the command line that runs it."""

    def __init__(self, sandbox, folder, job_id, keys, more=(), fields="Bucket,Key,Size", report=None):
        self.sandbox, self.keys, self.id = sandbox, keys, job_id
        self.report = pathlib.Path(folder) / "report"
        self.manifest = pathlib.Path(folder) / f"{job_id}.csv"
        with open(self.manifest, "w") as file:
            for key, size in keys:
                file.write(f"example-source,{key},{'' if size is None else size}\n")
        self.folder = self.report / f"job-{job_id}"
        self.command = [
            str(BIN / "s3haul"), "copy", "--manifest", str(self.manifest), "--manifest-fields", fields,
            "--to", f"s3://example-destination/{job_id}/", "--role-arn", ROLE, "--external-id", "s3haul-demo",
            "--endpoint-url", sandbox.endpoint, "--region", "us-east-1", "--source-region", "us-east-1",
            "--report", report or str(self.report), "--job-id", job_id, "--output", "json", *more]
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "S3HAUL_"))},
            "AWS_ACCESS_KEY_ID": sandbox.operator["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": sandbox.operator["secret_access_key"],
            # What comes before the first row is no part of what is measured.
            "AWS_EC2_METADATA_DISABLED": "true", "S3HAUL_SKIP_CHECK": "true"}

    def start(self, command=None, **more):
        return subprocess.Popen(command or self.command, env=self.environment, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, **more)

    def run(self, command=None, limit=600):
        process = self.start(command)
        stdout, stderr = process.communicate(timeout=limit)
        return process.returncode, stdout, stderr

    def checkpoint(self):
        try:
            return json.loads((self.folder / "work/checkpoint.json").read_text())
        except FileNotFoundError:
            return None

    def check(self, missing=()):
        """Each row of the manifest is in the ended report exactly once, and as it must have ended."""
        manifest = json.loads((self.folder / "manifest.json").read_text())
        seen = {}
        for file in manifest["Results"]:
            path = self.report / file["Key"]
            assert hashlib.md5(path.read_bytes()).hexdigest() == file["MD5Checksum"], path
            for row in read_rows(path):
                assert row[1] not in seen, f"{row[1]} twice"
                seen[row[1]] = row[3]
        missing = set(missing)
        expected = {key: "failed" if key in missing else "succeeded" for key, _ in self.keys}
        wrong = [key for key in expected if seen.get(key) != expected[key]]
        assert seen.keys() == expected.keys() and not wrong, f"{len(seen)} rows of {len(expected)}, wrong: {wrong[:5]}"
        listed = {file["Key"].split("/", 1)[1] for file in manifest["Results"]}
        there = {f"results/{path.name}" for path in (self.folder / "results").iterdir() if path.suffix == ".csv"}
        assert listed == there, f"results that no manifest names: {there - listed}"


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))
