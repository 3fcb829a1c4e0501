"""S3 Batch Operations, where a role for it is named: one job over three objects."""
import json, time

from botocore.exceptions import BotoCoreError, ClientError

from prices import MIB, Cost
from questions import Answer, NotAsked, NotSettled, asks

# S3 asks not to look more often than every 30 s.
POLL_SECONDS, POLLS = 30, 60
ENDED = ("Complete", "Failed", "Cancelled")
SENT = "CreateJob S3PutObjectCopy of two objects and a missing one, TargetKeyPrefix without a slash at its end"


def is_asked(given):
    return given.batch_role_arn is not None


def job_of(stage):
    """The job's outcome, once for all questions."""
    if not stage.given.batch_role_arn:
        raise NotAsked("S3HAUL_TEST_BATCH_ROLE_ARN names no role")
    if "batch" not in stage.shared:
        try:
            stage.shared["batch"] = run_job(stage)
        except (BotoCoreError, ClientError, NotSettled) as error:
            stage.shared["batch"] = NotSettled(SENT, str(error.args[-1]))
    if isinstance(stage.shared["batch"], NotSettled):
        raise stage.shared["batch"]
    return stage.shared["batch"]


def run_job(stage):
    """(keys below the target's prefix, content of the results files)"""
    control = stage.boto(stage.destination.session, "s3control", stage.destination.region)
    account = stage.destination.account
    job = control.create_job(AccountId=account, **request(stage))["JobId"]
    stage.at_end.append(("the job of S3 Batch Operations", lambda: end(control, account, job)))
    print(f"S3 Batch Operations at work; it may take {POLLS * POLL_SECONDS // 60} minutes", flush=True)
    for _ in range(POLLS):
        time.sleep(POLL_SECONDS)
        told = control.describe_job(AccountId=account, JobId=job)["Job"]
        if told["Status"] in ENDED:
            break
    if told["Status"] != "Complete":
        raise NotSettled(SENT, f"the job is {told['Status']}: {told.get('FailureReasons')}")
    there = stage.destination
    landed = [key.removeprefix(stage.prefix) for key in there.listed(f"{stage.prefix}batch-target")]
    results = [stage.body(key) for key in there.listed(f"{stage.prefix}batch-report") if "/results/" in key]
    return landed, results


def end(control, account, job):
    """Cancels the job, and waits until it writes no more."""
    def status():
        return control.describe_job(AccountId=account, JobId=job)["Job"]["Status"]

    if status() not in ENDED:
        control.update_job_status(AccountId=account, JobId=job, RequestedJobStatus="Cancelled")
    for _ in range(POLLS):
        if status() in ENDED:
            return
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"{job} does not end")


def request(stage):
    keys = [stage.put(f"batch/{name}", b"batch") for name in ("plain", "a b,c+d")] + [f"{stage.prefix}batch/missing"]
    quoted = [keys[0], f"{stage.prefix}batch/a%20b%2Cc%2Bd", keys[2]]
    lines = "".join(f"{stage.source.bucket},{key}\n" for key in quoted)
    there = stage.destination
    manifest = there.s3.put_object(Bucket=there.bucket, Key=f"{stage.prefix}batch-manifest.csv", Body=lines.encode())
    return {
        "ConfirmationRequired": False, "Priority": 10, "RoleArn": stage.given.batch_role_arn,
        "ClientRequestToken": stage.run_id, "Description": stage.run_id,
        "Operation": {"S3PutObjectCopy": {"TargetResource": there.arn,
                                          "TargetKeyPrefix": f"{stage.prefix}batch-target"}},
        "Manifest": {"Spec": {"Format": "S3BatchOperations_CSV_20180820", "Fields": ["Bucket", "Key"]},
                     "Location": {"ObjectArn": f"{there.arn}/{stage.prefix}batch-manifest.csv",
                                  "ETag": manifest["ETag"].strip('"')}},
        "Report": {"Bucket": there.arn, "Prefix": f"{stage.prefix}batch-report", "Enabled": True,
                   "Format": "Report_CSV_20180820", "ReportScope": "AllTasks"}}


@asks("§6.9", Cost(writes=12, reads=4, copied=MIB, received=MIB, stored=MIB, batch_jobs=1, batch_objects=3), is_asked)
def slash_after_the_prefix(stage):
    """Does S3 Batch Operations put a slash between TargetKeyPrefix and the key?"""
    landed, _ = job_of(stage)
    return Answer(SENT, json.dumps(landed), "s3haul puts the two together as they are: give the slash to --to" if
                  any(key.startswith("batch-target/") for key in landed) else "as s3haul: nothing is put between")


@asks("§6.10", when=is_asked)
def rows_of_reports(stage):
    """Do the rows of its completion reports end in LF or CRLF, and how is an encoded key with a comma written?"""
    _, results = job_of(stage)
    ends = {"CRLF" if b"\r\n" in result else "LF" if b"\n" in result else "none" for result in results}
    rows = [line.decode(errors="replace") for result in results for line in result.splitlines() if b"/a" in line]
    return Answer(SENT, f"{', '.join(sorted(ends))}; {' '.join(rows)}",
                  "s3haul writes LF, and reads both; a key is echoed as the manifest has it")


@asks("§6.1", when=is_asked)
def retries_of_tasks(stage):
    """How does a failed task of a copy end: is it tried again?"""
    _, results = job_of(stage)
    failed = [line.decode(errors="replace") for result in results for line in result.splitlines()
              if b",failed," in line]
    return Answer(SENT, " ".join(failed),
                  "the report has one row a task and no number of attempts: how often it was tried only the source's "
                  "access logs could tell; s3haul makes no assumption")
