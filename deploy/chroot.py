#!/usr/bin/env python3
"""Builds and runs the container's image where there is no container engine.

    sudo deploy/chroot.py [--program FILE] [--keep] [FOLDER]

Reads deploy/Dockerfile and does what it says, in clean folders below FOLDER (target/chroot): the base image of the
build is a Debian 12 by debootstrap, from the mirror that this machine's apt has, with this machine's Rust and the
crates that it has fetched; caches of the build are this machine's own. Then runs what the last stage holds, and
nothing else, as an engine would: read-only root, a scratch of memory, no privileges, no environment but the image's
and the job's, as the first process of a PID namespace. With --program that file is taken for what cargo builds (of the
same features, if in the dev profile).

Needs root, Linux with namespaces and overlayfs, debootstrap, and the sandbox (cargo build -p s3haul-sandbox).
Python's standard library alone.
"""
import argparse, json, os, pathlib, re, shlex, shutil, signal, stat, subprocess, sys, time

TOP = pathlib.Path(__file__).resolve().parents[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
SCRATCH_BYTES = 64 << 20
BUCKETS = ("example-source", "example-destination", "example-reports")
ROLE = "arn:aws:iam::222222222222:role/s3haul-copy"
ROWS = 400


def say(words):
    print(words, flush=True)


def run(*command, **more):
    return subprocess.run([str(word) for word in command], check=True, **more)


def expect(holds, words):
    if not holds:
        sys.exit(f"FAILED: {words}")
    say(f"ok: {words}")


# The Dockerfile


def instructions(path):
    """Each instruction of a Dockerfile with its arguments, as one line."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


class Stage:
    """A folder that becomes an image's root, step by step."""

    def __init__(self, image, folder, work):
        self.image, self.folder, self.work = image, folder, work
        self.environment, self.shell, self.directory = {}, ["/bin/sh", "-c"], "/"
        self.settings = {}

    def path(self, inside):
        return self.folder / os.path.join(self.directory, inside).lstrip("/")

    def copy(self, arguments, stages):
        words = shlex.split(arguments)
        source = TOP
        if words[0].startswith("--from="):
            source = stages[words.pop(0).removeprefix("--from=")].folder
        *names, destination = words
        destination = self.path(destination)
        destination.mkdir(parents=True, exist_ok=True)
        ignored = set() if source != TOP else {
            line for line in (TOP / ".dockerignore").read_text().splitlines() if line and line[0] != "#"}
        for name in names:
            place = source / name.lstrip("/")
            files = sorted(file for file in place.iterdir() if file.name not in ignored)
            for file in files:
                run("cp", "-a", "--no-preserve=ownership" if source == TOP else "--preserve=all", file, destination)

    def run(self, arguments, caches, program):
        mounts = []
        while (found := re.match(r"--mount=type=cache,target=(\S+)\s+", arguments)):
            arguments = arguments[found.end():]
            mounts.append((caches[found[1]], found[1]))
        if program and "cargo build" in arguments:
            # What comes behind the build is the Dockerfile's.
            build, _, behind = arguments.partition(" && ")
            built = re.search(r"\S+/dist/s3haul", behind)[0]
            folder = self.path(os.path.dirname(built))
            folder.mkdir(parents=True)
            shutil.copy2(program, folder / "s3haul")
            arguments, mounts = behind, []
        script = ""
        # What is this machine's is not the build's to change.
        lent = [(place, inside, "ro") for place, inside in self.settings.get("binds", [])]
        for place, inside, mode in [(place, inside, "rw") for place, inside in mounts] + lent:
            point = self.path(inside)
            point.mkdir(parents=True, exist_ok=True)
            script += f"mount --bind {shlex.quote(str(place))} {shlex.quote(str(point))}\n"
            script += f"mount -o remount,bind,{mode} {shlex.quote(str(point))}\n"
        inner = f"cd {shlex.quote(self.directory)} && {arguments}"
        script += f"mount -t proc proc {self.folder}/proc\n"
        script += f"exec chroot {self.folder} {shlex.join([*self.shell, inner])}\n"
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        run("unshare", "--mount", "--pid", "--fork", "env", "-i", *environment, "/bin/sh", "-ec", script)


def base(image, folder, work):
    """What stands for a base image: an empty folder, or Debian with this machine's Rust."""
    stage = Stage(image, folder, work)
    if image == "scratch":
        folder.mkdir()
        return stage
    version = re.fullmatch(r"rust:([\d.]+)-slim-bookworm", image)
    expect(version, f"{image} is a base that this script can stand in for")
    asked = {"cwd": TOP, "capture_output": True, "text": True}
    found = run("rustc", "--version", **asked).stdout.split()[1]
    expect(found.startswith(version[1]), f"this machine's Rust, {found}, is that of {image}")
    sysroot = pathlib.Path(run("rustc", "--print", "sysroot", **asked).stdout.strip()).resolve()
    debian = work.parents[1] / "debian"
    if not debian.exists():
        asked_for = ["--format", "$(SITE)", "Created-By: Packages", "Codename: bookworm"]
        sites = run("apt-get", "indextargets", *asked_for, capture_output=True, text=True).stdout.split()
        # What the base image has besides a minimal Debian.
        packages = "--include=ca-certificates,gcc,libc6-dev"
        half = work.parents[1] / "debian.half"
        shutil.rmtree(half, ignore_errors=True)
        run("debootstrap", "--variant=minbase", packages, "bookworm", half, *sites[:1], stdout=subprocess.DEVNULL)
        half.rename(debian)
    folder.mkdir()
    for name in ("upper", "overlay"):
        (work / name).mkdir(parents=True)
    run("mount", "-t", "overlay", "overlay", folder, "-o",
        f"lowerdir={debian},upperdir={work / 'upper'},workdir={work / 'overlay'}")
    stage.settings["binds"] = [(sysroot, "/usr/local/rust"), ("/dev", "/dev")]
    # There is no network, nor need there be.
    stage.environment = {
        "PATH": "/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "CARGO_HOME": "/usr/local/cargo", "CARGO_NET_OFFLINE": "true"}
    return stage


def cargo_home():
    return pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))


def build(folder, program):
    """Does what the Dockerfile says; gives its last stage."""
    caches = {"/usr/local/cargo/registry": cargo_home() / "registry", "/src/target": TARGET}
    stages, stage = {}, None
    for word, rest in instructions(TOP / "deploy/Dockerfile"):
        say(f"{word} {rest}"[:160])
        match word:
            case "FROM":
                image, *name = rest.split()
                number = len(stages)
                stage = base(image, folder / f"stage-{number}", folder / f"work-{number}")
                stages[name[1] if name else str(number)] = stage
            case "ARG":
                name, _, value = rest.partition("=")
                stage.environment[name] = os.environ.get(name, value)
            case "ENV":
                stage.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            case "SHELL":
                stage.shell = json.loads(rest)
            case "WORKDIR":
                stage.directory = rest
                stage.path("").mkdir(parents=True, exist_ok=True)
            case "COPY":
                stage.copy(rest, stages)
            case "RUN":
                began = time.monotonic()
                stage.run(rest, caches, program)
                say(f"  took {time.monotonic() - began:.0f} s")
            case "USER" | "STOPSIGNAL":
                stage.settings[word] = rest
            case "ENTRYPOINT" | "VOLUME":
                stage.settings[word] = json.loads(rest)
            case "LABEL":
                pass
            case _:
                sys.exit(f"the Dockerfile has {word}, which this script does not know")
    return stage


# The image


def look(stage):
    """What is, and what is not, in the image."""
    files = sorted(path for path in stage.folder.rglob("*") if not path.is_dir())
    for file in files:
        say(f"  {file.stat().st_size:>10} /{file.relative_to(stage.folder)}")
    programs = [file for file in files if file.stat().st_mode & 0o111 and ".so" not in file.name]
    expect([file.name for file in programs] == ["s3haul"], "there is no program but s3haul, and no shell")
    special = [path for path in files if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    expect(not special, "nothing has a set-user-ID bit")
    expect(stage.settings["STOPSIGNAL"] == "SIGTERM", "it is stopped by SIGTERM")
    expect(stage.settings["USER"].split(":") == ["65532", "65532"], "its user is none of the system's")
    expect(stage.settings["VOLUME"] == ["/scratch"], "scratch is the one volume")


# Run in a mount namespace of its own before anything of the image does.
PREPARE = """
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs -o "size=$SIZE,mode=700,uid=$USER_ID,gid=$USER_ID" scratch "$ROOT/scratch"
mount -t tmpfs -o mode=755 dev "$ROOT/dev"
for device in null zero urandom; do
    touch "$ROOT/dev/$device"
    mount --bind "/dev/$device" "$ROOT/dev/$device"
done
mount -o remount,ro dev "$ROOT/dev"
mount -o remount,ro,bind "$ROOT"
"""

# Tries to write everywhere, as the image's user; prints where it could.
TRY = """
import os, sys
os.chroot(sys.argv[1])
os.chdir("/")
os.setgroups([])
os.setgid(65532)
os.setuid(65532)
for folder, folders, _ in os.walk("/"):
    folders[:] = [name for name in folders if (folder, name) != ("/", "proc")]
    try:
        open(os.path.join(folder, "written"), "w").close()
    except OSError:
        continue
    print(folder)
"""


class Container:
    """The image, run as an engine would."""

    def __init__(self, stage):
        self.stage = stage
        # What an engine brings along.
        for name in ("proc", "dev", "etc"):
            (stage.folder / name).mkdir(exist_ok=True)
        (stage.folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (stage.folder / "etc/resolv.conf").write_text("")
        user = stage.settings["USER"].partition(":")[0]
        self.preparation = PREPARE.replace("$ROOT", str(stage.folder)).replace("$SIZE", str(SCRATCH_BYTES)).replace("$USER_ID", user)

    def inside(self, *command):
        """The command line that runs a command once all is mounted."""
        script = f"{self.preparation}\nexec {shlex.join(str(word) for word in command)}"
        return ["unshare", "--mount", "--pid", "--fork", "/bin/sh", "-ec", script]

    def start(self, arguments, given):
        environment = {**self.stage.environment, **given}
        entry = [*self.stage.settings["ENTRYPOINT"], *arguments]
        user = self.stage.settings["USER"]
        command = self.inside(
            "env", "-i", *(f"{name}={value}" for name, value in environment.items()),
            shutil.which("setpriv"), "--no-new-privs", "--bounding-set=-all,+setuid,+setgid,+sys_chroot",
            shutil.which("chroot"), f"--userspec={user}", "--groups=", self.stage.folder, *entry)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments, **given):
        process = self.start(arguments, given)
        stdout, stderr = process.communicate(timeout=300)
        return process.returncode, stdout, stderr


def first_process(outer):
    """The process ID, outside, of what is the first inside."""
    children = pathlib.Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    while True:
        pids = children.read_text().split()
        if pids and pathlib.Path(f"/proc/{pids[0]}/comm").read_text().strip() == "s3haul":
            return int(pids[0])
        if outer.poll() is not None:
            sys.exit(f"FAILED: it ended at once: {outer.communicate()}")
        time.sleep(0.01)


class Sandbox:
    """An S3 on this machine, with a source, a destination and a bucket for reports."""

    def __init__(self, folder):
        policy = json.loads((TOP / "sample-manifests/source-bucket-policy.json").read_text())
        report = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::example-reports", "arn:aws:s3:::example-reports/*"]}]}
        objects = [{"key": f"k{n:04}", "size": 1000, "seed": n} for n in range(ROWS)]
        source, destination, reports = BUCKETS
        (folder / "fill.json").write_text(json.dumps({"buckets": [
            {"name": source, "account": "111111111111", "policy": policy, "objects": objects},
            {"name": destination, "account": "222222222222"},
            {"name": reports, "account": "222222222222", "policy": report}]}))
        self.log = folder / "requests.jsonl"
        self.process = subprocess.Popen(
            [TARGET / "debug/s3haul-sandbox", "--listen", "127.0.0.1:0", "--fill", folder / "fill.json", "--log", self.log,
             "--latency", "50"], stdout=subprocess.PIPE, text=True)
        facts = json.loads(self.process.stdout.readline())
        users = {user["name"]: user for account in facts["accounts"] for user in account["users"]}
        operator = users["operator"]
        # All that a job is told, as a task definition would; a name that is looked up, not an address.
        self.job = {
            "AWS_ACCESS_KEY_ID": operator["access_key_id"], "AWS_SECRET_ACCESS_KEY": operator["secret_access_key"],
            "S3HAUL_ENDPOINT_URL": facts["endpoint"].replace("127.0.0.1", "localhost"),
            "S3HAUL_FORCE_PATH_STYLE": "true", "S3HAUL_REGION": "us-east-1", "S3HAUL_SOURCE_REGION": "us-east-1",
            "S3HAUL_ROLE_ARN": ROLE, "S3HAUL_EXTERNAL_ID": "s3haul-demo",
            "S3HAUL_MANIFEST": f"s3://{reports}/manifest.csv", "S3HAUL_TO": f"s3://{destination}",
            "S3HAUL_REPORT": f"s3://{reports}/jobs", "S3HAUL_METRICS": "emf", "S3HAUL_CONCURRENCY": "4"}

    def copied(self):
        """The keys that the job copied, one for each request that was answered so."""
        requests = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [request["key"].removeprefix("chroot/") for request in requests
                if request["operation"] == "CopyObject" and request["status"] == 200
                and request["key"].startswith("chroot/")]


def hold(stage, folder):
    """What must hold of the image at work."""
    container = Container(stage)
    tried = run(*container.inside(sys.executable, "-c", TRY, stage.folder), capture_output=True, text=True)
    expect(tried.stdout.split() == ["/scratch"], f"its user writes to scratch and nowhere else: {tried.stdout.split()}")
    code, version, _ = container.run("--version")
    expect(code == 0, f"it runs: {version.strip()}")
    code, _, said = container.run("demo")
    expect(code == 2 and "unrecognized subcommand" in said, "it has no demo")

    sandbox = Sandbox(folder)
    try:
        # All that a job reads is made inside.
        listed = {**sandbox.job, "S3HAUL_OUTPUT_FILE": sandbox.job["S3HAUL_MANIFEST"]}
        code, _, said = container.run("manifest", "create", "s3://example-source", "--fields", "Bucket,Key", **listed)
        expect(code == 0, f"it lists a bucket into a manifest in S3 {said[-500:] if code else ''}")
        job = {**sandbox.job}

        code, _, said = container.run("copy", **job)
        expect(code == 2 and "--job-id" in said, "a report in S3 without a job ID is refused, code 2")
        local = {**job, "S3HAUL_REPORT": "/reports", "S3HAUL_JOB_ID": "local"}
        code, _, said = container.run("copy", **local)
        expect(code == 2 and "Read-only file system" in said and "container's own file system" in said,
               "a report in its own file system is warned of, and refused")
        code, _, said = container.run("copy", **local | {"S3HAUL_REPORT": "/scratch/reports"})
        expect(code == 0 and "lies in memory" in said, f"a report in scratch is warned of {said[-500:] if code else ''}")

        job |= {"S3HAUL_JOB_ID": "chroot", "S3HAUL_TO": sandbox.job["S3HAUL_TO"] + "/chroot/"}
        outer = container.start(["copy"], job)
        first = first_process(outer)
        while len(sandbox.copied()) < ROWS // 8:
            if outer.poll() is not None:
                sys.exit(f"FAILED: it ended by itself: {outer.communicate()}")
            time.sleep(0.05)
        status = pathlib.Path(f"/proc/{first}/status").read_text()

        def field(name):
            return re.search(rf"^{name}:[ \t]*(.*)$", status, re.M)[1].split()

        expect(field("NSpid")[-1] == "1", "it is the first process of its namespace")
        expect(set(field("Uid") + field("Gid")) == {"65532"} and not field("Groups"), "it runs as its user, in its group alone")
        expect({field(name)[0] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}, "it has no capability")
        os.kill(first, signal.SIGTERM)
        stdout, stderr = outer.communicate(timeout=60)
        expect(outer.returncode == 4, f"SIGTERM ends it with code 4: {outer.returncode}")
        summary = json.loads(stdout)
        expect(summary["state"] == "interrupted" and 0 < summary["succeeded"] < ROWS,
               f"{summary['succeeded']} of {ROWS} rows are in its report")
        lines = [json.loads(line) for line in stderr.splitlines()]
        expect(any("_aws" in line for line in lines), f"each of {len(lines)} lines on stderr is JSON, metrics among them")

        code, stdout, said = container.run("copy", **job)
        expect(code == 0, f"the same again goes on to the end: {code} {said[-500:] if code else ''}")
        expect(json.loads(stdout)["succeeded"] == ROWS, f"all {ROWS} rows succeeded")
        expect(sorted(sandbox.copied()) == [f"k{n:04}" for n in range(ROWS)], "each was copied once")
        code, stdout, _ = container.run("report", "show", f"{job['S3HAUL_REPORT']}/job-chroot", **sandbox.job)
        expect(code == 0 and json.loads(stdout)["state"] == "complete", "its report is read inside, too")
    finally:
        sandbox.process.terminate()
        sandbox.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, help="in place of what cargo builds")
    parser.add_argument("--keep", action="store_true", help="leave the stages' folders")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=TARGET / "chroot")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("chroot and mounts need root")
    # Mounts of this process end with it.
    if "S3HAUL_CHROOT" not in os.environ:
        os.environ["S3HAUL_CHROOT"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    folder = given.folder.resolve() / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        stage = build(folder, given.program and given.program.resolve())
        look(stage)
        hold(stage, folder)
    finally:
        for number in range(2):
            subprocess.run(["umount", "--quiet", folder / f"stage-{number}"], stderr=subprocess.DEVNULL)
        if not given.keep:
            shutil.rmtree(folder)
    say("all of it holds")


main()
