"""An array of four on a Slurm of one node: interrupted in each way that Slurm has, cancelled, gone on with, merged.

Everything is started here, listens on 127.0.0.1, lies in a folder of its own, and is ended by its process.
"""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from urllib.parse import unquote_plus

WORKSPACE, TARGET = sys.argv[1:3]
SHARDS, OBJECTS = 4, 4000
SOURCE_ACCOUNT, DESTINATION_ACCOUNT = "111111111111", "222222222222"
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}

passed = failed = 0


def check(what, holds, seen=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    print(f"{'ok    ' if holds else 'FAILED'} {what}{'' if holds else f': {seen}'}", flush=True)


def until(what, seconds, look):
    """What `look` answers once it is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise SystemExit(f"waited {seconds} s for {what}")


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.host = socket.gethostname().split(".")[0]
        self.conf = os.path.join(folder, "slurm.conf")
        self.environment = {"PATH": os.environ["PATH"], "HOME": folder, "LANG": "C.UTF-8", "SLURM_CONF": self.conf}
        self.munge = os.path.join(folder, "munge")

    def start(self):
        os.makedirs(self.munge)
        key = os.path.join(self.munge, "key")
        with open(key, "wb") as file:
            file.write(os.urandom(128))
        os.chmod(key, 0o400)
        os.chmod(self.folder, 0o755)
        sock = os.path.join(self.munge, "socket")
        self.run_in_background(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={sock}",
            *(f"--{name}-file={self.munge}/{name}" for name in ("log", "pid", "seed")), "--num-threads=2",
        )
        until("munged", 20, lambda: os.path.exists(sock))
        controller, node = free_ports(2)
        for name in ("state", "spool"):
            os.makedirs(os.path.join(self.folder, name))
        with open(self.conf, "w") as file:
            file.write(f"""\
ClusterName=test
SlurmctldHost={self.host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
# A requeued job waits until the credentials of its last run have ended: two minutes, if nothing else is said.
AuthInfo=socket={sock},cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
MinJobAge=3600
KillWait=30
NodeName={self.host} NodeAddr=127.0.0.1 CPUs={SHARDS + 1} RealMemory={(SHARDS + 1) * 1024} State=UNKNOWN
PartitionName=io Nodes={self.host} Default=YES MaxTime=INFINITE State=UP
""")
        self.run_in_background("slurmctld", "-D", "-c", "-f", self.conf)
        self.run_in_background("slurmd", "-D", "-N", self.host, "-f", self.conf)
        until("the node", 60, lambda: "idle" in self.slurm("sinfo", "--noheader", "--format=%t", may_fail=True))

    def run_in_background(self, *command):
        with open(os.path.join(self.folder, f"{os.path.basename(command[0])}.out"), "w") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=self.environment, cwd=self.folder
            )
        self.processes.append(process)
        return process

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def slurm(self, *command, may_fail=False):
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, cwd=self.folder)
        if done.returncode != 0 and not may_fail:
            raise SystemExit(f"{' '.join(command)}: code {done.returncode}\n{done.stderr}")
        return done.stdout

    def jobs(self, job):
        """The fields of a job, or of each task of an array, by `scontrol show job`."""
        text = self.slurm("scontrol", "--oneliner", "show", "job", job, may_fail=True)
        tasks = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in text.splitlines() if "JobId=" in line]
        return sorted(tasks, key=lambda task: int(task.get("ArrayTaskId", "0").split("-")[0]))

    def ended(self, job, tasks=1):
        def look():
            found = self.jobs(job)
            return found if len(found) == tasks and all(task["JobState"] in ENDED for task in found) else None

        return until(f"job {job}", 300, look)


def started_processes(task, program):
    """Processes of the program in a task of an array."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe") != program:
                continue
            with open(f"/proc/{pid}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            continue
        if f"SLURM_ARRAY_TASK_ID={task}".encode() in variables:
            found.append(int(pid))
    return found


def sandbox(cluster, program):
    with open(os.path.join(WORKSPACE, "sample-manifests/source-bucket-policy.json")) as file:
        policy = json.loads(file.read().replace("example-source", "source"))
    fill = {"buckets": [
        {"name": "source", "account": SOURCE_ACCOUNT, "policy": policy,
         "objects": [{"key": "object-{}", "size": 1000, "count": OBJECTS}]},
        {"name": "destination", "account": DESTINATION_ACCOUNT},
    ]}
    path = os.path.join(cluster.folder, "fill.json")
    with open(path, "w") as file:
        json.dump(fill, file)
    log = os.path.join(cluster.folder, "requests")
    process = cluster.run_in_background(program, "--listen", "127.0.0.1:0", "--fill", path, "--latency", "40", "--log", log)
    out = os.path.join(cluster.folder, "s3haul-sandbox.out")

    def look():
        assert process.poll() is None, open(out).read()
        text = open(out).read()
        return json.loads(text) if text.endswith("}\n") else None

    return until("the sandbox", 20, look), log


def copies(log):
    """How many CopyObject requests the sandbox has answered so far."""
    with open(log) as file:
        return sum('"CopyObject"' in line for line in file)


def rows_of(report, job_id):
    """The rows that a merged report lists, by status."""
    folder = os.path.join(report, f"job-{job_id}")
    with open(os.path.join(folder, "manifest.json")) as file:
        manifest = json.load(file)
    rows = {}
    for result in manifest["Results"]:
        with open(os.path.join(report, result["Key"]), newline="") as file:
            for row in csv.reader(file):
                rows.setdefault(result["TaskExecutionStatus"], []).append((unquote_plus(row[1]), row[3], row[5]))
    return rows


def main():
    if os.geteuid() != 0:
        raise SystemExit("slurmd takes root")
    s3haul = os.path.realpath(os.path.join(TARGET, "s3haul"))
    folder = tempfile.mkdtemp(prefix="s3haul-slurm-")
    cluster = Cluster(folder)
    try:
        cluster.start()
        said, log = sandbox(cluster, os.path.join(TARGET, "s3haul-sandbox"))
        operator = next(
            user for account in said["accounts"] for user in account["users"]
            if account["id"] == DESTINATION_ACCOUNT and user["name"] == "operator"
        )
        keys = [f"object-{number:08}" for number in range(OBJECTS)] + ["gone"]
        manifest = os.path.join(folder, "manifest.csv")
        with open(manifest, "w") as file:
            file.writelines(f"source,{key}\n" for key in keys)
        report = os.path.join(folder, "report")
        cluster.environment |= {
            "AWS_ACCESS_KEY_ID": operator["access_key_id"], "AWS_SECRET_ACCESS_KEY": operator["secret_access_key"],
            "AWS_EC2_METADATA_DISABLED": "true", "S3HAUL_PROGRAM": s3haul, "S3HAUL_REPORT": report,
            "S3HAUL_CONCURRENCY": "2", "S3HAUL_OVERWRITE": "never", "SBATCH_PARTITION": "io",
            "S3HAUL_ROLE_ARN": said["role_arn"], "S3HAUL_EXTERNAL_ID": said["external_id"],
            "S3HAUL_ENDPOINT_URL": said["endpoint"],
        }
        flags = ["--manifest", manifest, "--to", "s3://destination"]

        def submit(*more, **variables):
            done = subprocess.run(
                [os.path.join(WORKSPACE, "deploy/slurm.sh"), str(SHARDS), *flags, *more], capture_output=True, text=True,
                env=cluster.environment | variables, cwd=folder,
            )
            assert done.returncode == 0, done.stderr
            lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
            return lines["copy"], lines["merge"], os.path.basename(lines["report"]).removeprefix("job-")

        interrupted(cluster, s3haul, log, report, keys, submit)
        cancelled(cluster, s3haul, log, report, keys, submit)
    finally:
        cluster.stop()
        if failed or sys.exc_info()[0]:
            print(f"logs are left in {folder}")
        else:
            shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def all_run(cluster, s3haul, log, before):
    """Until every task's s3haul runs and rows are copied."""
    until("the tasks", 60, lambda: all(started_processes(task, s3haul) for task in range(SHARDS)))
    until("copies", 60, lambda: copies(log) >= before + 200)


def interrupted(cluster, s3haul, log, report, keys, submit):
    began = time.monotonic()
    array, merge, job_id = submit()
    check("the job's ID is the array's", job_id == array, (job_id, array))
    all_run(cluster, s3haul, log, 0)
    waiting = cluster.jobs(merge)[0]
    check("the merge waits for the array", (waiting["JobState"], waiting["Reason"]) == ("PENDING", "Dependency"), waiting)
    # What Slurm does before the time limit: the script is told, alone.
    cluster.slurm("scancel", "--signal=USR1", "--batch", f"{array}_0")
    # What an operator may do: s3haul is told, alone.
    os.kill(started_processes(1, s3haul)[0], signal.SIGTERM)
    # What preemption does: Slurm ends all of the task, and requeues it itself.
    cluster.slurm("scontrol", "requeue", f"{array}_2")
    tasks = cluster.ended(array, SHARDS)
    check("every shard ends with code 0", all(task["ExitCode"] == "0:0" for task in tasks), tasks)
    restarts = [task["Restarts"] for task in tasks]
    check("three were requeued once, one was left alone", restarts == ["1", "1", "1", "0"], restarts)
    outputs = [open(os.path.join(cluster.folder, f"slurm-{array}_{task}.out")).read() for task in range(SHARDS)]
    requeued = ["is requeued" in output for output in outputs]
    check("two by their own script, after code 4", requeued == [True, True, False, False], requeued)
    ended = cluster.ended(merge)[0]
    check("the merge ends with code 1, for one row failed", ended["ExitCode"] == "1:0", ended)
    same_rows(report, job_id, keys)
    # Each row once, and again at most those that were in flight: two requests a shard, when it was stopped.
    sent = copies(log)
    check("no row was sent again that had ended", len(keys) <= sent <= len(keys) + 2 * 3, sent)
    print(f"       {len(keys)} rows, {sent} CopyObject, {time.monotonic() - began:.0f} s")


def cancelled(cluster, s3haul, log, report, keys, submit):
    began, before = time.monotonic(), copies(log)
    array, merge, job_id = submit("--overwrite", "always")
    all_run(cluster, s3haul, log, before)
    cluster.slurm("scancel", array)
    tasks = cluster.ended(array, SHARDS)
    check("what is cancelled stays so", [task["JobState"] for task in tasks] == ["CANCELLED"] * SHARDS, tasks)
    ended = cluster.ended(merge)[0]
    check("the merge ends with code 4", ended["ExitCode"] == "4:0", ended)
    said = open(os.path.join(cluster.folder, f"slurm-{merge}.out")).read()
    check("and names the unfinished shards", f"shards 0-{SHARDS - 1} are interrupted" in said, said)
    check("no merged report was written", not os.path.exists(os.path.join(report, f"job-{job_id}", "manifest.json")))
    again, merge, same = submit("--overwrite", "always", S3HAUL_JOB_ID=job_id)
    check("the same job goes on", same == job_id and again != array, (again, same))
    tasks = cluster.ended(again, SHARDS)
    check("every shard ends with code 0 again", all(task["ExitCode"] == "0:0" for task in tasks), tasks)
    ended = cluster.ended(merge)[0]
    check("the merge ends with code 1 again", ended["ExitCode"] == "1:0", ended)
    same_rows(report, job_id, keys)
    print(f"       {len(keys)} rows, {copies(log) - before} CopyObject, {time.monotonic() - began:.0f} s")


def same_rows(report, job_id, keys):
    rows = rows_of(report, job_id)
    failed_rows = rows.get("failed", [])
    check("the merged report names the planted row", [(row[0], row[2]) for row in failed_rows] == [("gone", "NoSuchKey")], failed_rows)
    listed = sorted(row[0] for status in rows.values() for row in status)
    check("and has every row of the manifest once", listed == sorted(keys), len(listed))
    statuses = {status: len(found) for status, found in rows.items()}
    check("all others succeeded", statuses == {"succeeded": OBJECTS, "failed": 1}, statuses)


main()
