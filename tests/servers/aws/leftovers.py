"""What the run leaves behind: nothing."""
import concurrent.futures, time

from botocore.exceptions import BotoCoreError, ClientError

ROUNDS = 10


def clean_up(stage):
    """Ends, puts back and removes; gives what was done, and what could not be.

    Each step is tried, whatever became of the others. Nothing is printed: the terminal may be gone.
    """
    done, problems = [], []

    def attempt(what, step, *arguments):
        try:
            return step(*arguments)
        except Exception as error:
            problems.append(f"{what}: {error}")

    for process in stage.processes:
        process.kill()
        process.wait()
    for what, step in stage.at_end:
        attempt(what, step)
    for what, setting in stage.settings().items():
        attempt(f"the {what}", setting.restore)
    for side in (stage.source, stage.destination):
        removed = attempt(f"the {side.name} bucket", empty, side, stage.prefix)
        if removed is not None:
            done.append(f"removed from the {side.name} bucket: {removed[0]} versions, {removed[1]} uploads")
    return done, problems


def empty(side, prefix):
    """Removes every version, delete marker and upload."""
    removed = [0, 0]
    # What a killed program had sent may land after it; an upload whose parts are still being copied may stay.
    for _ in range(ROUNDS):
        versions, uploads = side.versions(prefix), side.uploads(prefix)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            of_versions = list(pool.map(lambda version: refusal(
                side.s3.delete_object, Bucket=side.bucket, Key=version[0], VersionId=version[1]), versions))
            of_uploads = list(pool.map(lambda upload: refusal(
                side.s3.abort_multipart_upload, Bucket=side.bucket, Key=upload["Key"], UploadId=upload["UploadId"]),
                uploads))
        removed = [removed[0] + of_versions.count(None), removed[1] + of_uploads.count(None)]
        time.sleep(3)
        left = len(side.versions(prefix)) + len(side.uploads(prefix))
        if not left:
            return removed
    why = next(filter(None, of_versions + of_uploads), "they come again")
    raise RuntimeError(f"{left} are left below {prefix}: {why}")


def refusal(remove, **which):
    """What is refused must not keep the others."""
    try:
        remove(**which)
    except (BotoCoreError, ClientError) as error:
        return str(error)
