"""Points that no request can settle, or only a dear one."""
from questions import NotAsked, asks


@asks("§6.8")
def stalled_streams(stage):
    """Is stalled-stream protection attached to UploadPartCopy in releases of the SDK after 1.157.0?"""
    raise NotAsked("a property of the SDK's code, not of S3; s3haul turns the protection off")


@asks("§1.5")
def over_5_gib(stage):
    """What does CopyObject answer for a source over 5 GiB?"""
    raise NotAsked("it needs an object of over 5 GiB; reports of S3 Batch Operations show 400 InvalidRequest")
