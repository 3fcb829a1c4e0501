"""The real program: what it is given, what it answers, and its report, read by Python alone."""
import collections, csv, hashlib, io, json, os, pathlib, subprocess
from urllib.parse import quote, unquote_plus, urlsplit

from server import accounts

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROFILE = os.environ.get("PROFILE", "debug")
LIMIT_SECONDS = 120

Row = collections.namedtuple("Row", "bucket key version_id status http_status error_code message")
Run = collections.namedtuple("Run", "code summary stderr")


def binary():
    """Where s3haul is: S3HAUL_BIN, else what Cargo builds, at once unless BUILT is set."""
    if given := os.environ.get("S3HAUL_BIN"):
        return pathlib.Path(given).resolve()
    if not os.environ.get("BUILT"):
        release = ["--release"] if PROFILE == "release" else []
        subprocess.run(["cargo", "build", "--locked", "--features", "orc", "-p", "s3haul", "--bin", "s3haul", *release],
                       cwd=ROOT, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / PROFILE / "s3haul"


class Copy:
    """A job of s3haul: its manifest, its command line, its report. `rows` make the manifest; without them it is
    `manifest`, or what `list_source` makes. `report` is where its report lies in S3; with the `job_id` of another
    copy this one is another machine that works on the same job."""

    def __init__(self, world, name, rows, *flags, fields="Bucket,Key", role=accounts.ROLE, external_id=None,
                 endpoint=None, keys=None, prefix="", manifest=None, report=None, job_id=None):
        self.folder = world.folder / name
        self.folder.mkdir()
        self.manifest = manifest or self.folder / "manifest.csv"
        self.source = world.source
        if rows is not None:
            self.manifest.write_text("".join(line(world.source, row) for row in rows), newline="")
        job_id = job_id or name
        self.report = report or self.folder / "report"
        self.job = f"{report}/job-{job_id}" if report else self.report / f"job-{job_id}"
        # Who may look at a report in S3.
        self.reader_s3 = world.destination_s3
        keys = keys or world.server.operator
        # Not there, unless a job writes profiles into it.
        self.credentials = self.folder / "credentials"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "S3HAUL_"))},
            "AWS_ACCESS_KEY_ID": keys.id, "AWS_SECRET_ACCESS_KEY": keys.secret,
            # Some jobs count their requests, and what a check asks other servers do not all know.
            "S3HAUL_SKIP_CHECK": "true",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": str(self.folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.credentials)}
        self.program = world.binary
        # What says how a report in S3 is reached, and after it the rest.
        self.reach = [
            *(["--role-arn", accounts.role_arn(role)] if role else []),
            *(["--external-id", external_id] if external_id else []),
            "--endpoint-url", endpoint or world.server.endpoint, "--region", accounts.REGION]
        self.access = [*self.reach, *([] if role else ["--no-role"]), "--source-region", accounts.REGION]
        self.command = [
            "copy", "--manifest", self.manifest, *(["--manifest-fields", fields] if fields else []),
            "--to", f"s3://{world.destination}/{prefix}", *self.access, "--report", self.report, "--job-id", job_id, *flags]

    def start(self, command=None):
        """Starts it, with what it says in files beside the report."""
        words = [str(word) for word in (self.program, *(command or self.command), "--output", "json")]
        with open(self.folder / "commands.txt", "a") as file:
            file.write(" ".join(words) + "\n")
        with open(self.folder / "stdout.json", "wb") as stdout, open(self.folder / "stderr.txt", "ab") as stderr:
            return subprocess.Popen(words, env=self.environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)

    def ended(self, process):
        try:
            process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"s3haul hangs: {self.folder}")
        said = (self.folder / "stdout.json").read_text()
        return Run(process.returncode, json.loads(said) if said.strip() else {}, (self.folder / "stderr.txt").read_text())

    def run(self):
        return self.ended(self.start())

    def list_source(self, *flags):
        """Makes the manifest: lists the source."""
        return self.ended(self.start(["manifest", "create", f"s3://{self.source}", "--output-file", self.manifest,
                                      *self.access, *flags]))

    def listed(self):
        """The lines of the manifest, the keys decoded."""
        with open(self.manifest, newline="", encoding="utf-8") as lines:
            return [[bucket, unquote_plus(key), *more] for bucket, key, *more in csv.reader(lines, strict=True)]

    def on_report(self, *words):
        """The command line of a command on the report, which has nothing but its address and the access."""
        return [*words, self.job, *(self.reach if self.in_s3 else [])]

    def resume(self, *flags):
        return self.ended(self.start([*self.on_report("resume"), *flags]))

    @property
    def in_s3(self):
        return isinstance(self.job, str)

    def files(self):
        """What the report consists of, by name; what is empty in S3 was removed."""
        if not self.in_s3:
            return {path.relative_to(self.job).as_posix(): path.read_bytes()
                    for path in self.job.rglob("*") if path.is_file()}
        bucket, prefix = self.place()
        pages = self.reader_s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {entry["Key"].removeprefix(prefix):
                self.reader_s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                for page in pages for entry in page.get("Contents", []) if entry["Size"]}

    def place(self):
        """What `manifest.json` is to have before the name of a file: its bucket, and the beginning of its key."""
        if not self.in_s3:
            return "", f"{self.job.name}/"
        address = urlsplit(self.job)
        return address.netloc, address.path.removeprefix("/") + "/"

    def rows(self):
        """The rows that manifest.json names, after it has been checked that its files are whole and all there are."""
        files, (bucket, prefix) = self.files(), self.place()
        content = files["manifest.json"]
        expect(files["manifest.json.md5"].decode(), md5(content) + "\n")
        rows, names = [], set()
        for file in json.loads(content)["Results"]:
            expect((file["Bucket"], file["Key"].startswith(prefix)), (bucket, True), file)
            name = file["Key"].removeprefix(prefix)
            names.add(name)
            expect(md5(files[name]), file["MD5Checksum"])
            lines = io.StringIO(files[name].decode(), newline="")
            for bucket_of_row, key, version_id, status, http_status, code, message in csv.reader(lines, strict=True):
                expect(status, file["TaskExecutionStatus"])
                rows.append(Row(bucket_of_row, unquote_plus(key), version_id, status, http_status, code, json.loads(message)))
        expect({name for name in files if "/results/" in f"/{name}"}, names)
        return rows

    def rows_by_key(self):
        """The rows by key, none of them twice."""
        rows = self.rows()
        by_key = {row.key: row for row in rows}
        expect(len(by_key), len(rows))
        return by_key


def line(bucket, row):
    """A line of the manifest: the key, URL-encoded, and what else the row has."""
    key, *more = [row] if isinstance(row, str) else row
    return ",".join([bucket, quote(key), *(str(value) for value in more)]) + "\n"


def md5(content):
    return hashlib.md5(content).hexdigest()


def expect(found, expected, what=""):
    if found != expected:
        raise AssertionError(f"{found!r}, not {expected!r}" + (f": {what}" if what else ""))
