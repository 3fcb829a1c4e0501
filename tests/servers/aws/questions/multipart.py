"""Copies in parts."""
import dataclasses, email.utils, time

from prices import MIB, Cost
from questions import Answer, NotSettled, asks
from questions.copying import ETAG_TOLD, OTHER

PART = 5 * MIB


class Upload:
    """A multipart upload below the run's prefix, by the role unless another client is given."""

    def __init__(self, stage, name, client=None, **create):
        self.stage, self.client = stage, client or stage.copier
        self.object = {"Bucket": stage.destination.bucket, "Key": stage.prefix + name}
        self.created = self.client.ask("create_multipart_upload", **self.object, **create)
        self.id = self.created.parsed.get("UploadId")
        self.parts = []

    def copy_part(self, source, **more):
        number = len(self.parts) + 1
        said = self.client.ask("upload_part_copy", **self.object, UploadId=self.id, PartNumber=number,
                               CopySource={"Bucket": self.stage.source.bucket, "Key": source}, **more)
        result = said.parsed.get("CopyPartResult", {})
        self.parts.append({"PartNumber": number, **{
            name: value for name, value in result.items() if name == "ETag" or name.startswith("Checksum")}})
        return said

    def complete(self, **more):
        return self.client.ask("complete_multipart_upload", **self.object, UploadId=self.id,
                               MultipartUpload={"Parts": self.parts}, **more)

    def abort(self):
        return self.client.ask("abort_multipart_upload", **self.object, UploadId=self.id)


@dataclasses.dataclass
class InParts:
    """One object copied in parts, and all that was said of it."""
    upload: Upload
    listed: object
    part: object
    completed: object
    source: object
    head: object


def in_parts(stage):
    """Copies the large object in four parts, once for all questions."""
    if "in-parts" not in stage.shared:
        stage.shared["in-parts"] = copy_in_parts(stage)
    return stage.shared["in-parts"]


def copy_in_parts(stage):
    source = {"Bucket": stage.source.bucket, "Key": stage.large}
    upload = Upload(stage, "q-parts/17-mib", ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")
    if not upload.id:
        raise NotSettled("CreateMultipartUpload", str(upload.created))
    listed = upload.client.ask("list_multipart_uploads", Bucket=stage.destination.bucket, Prefix=upload.object["Key"])
    last = len(stage.large_body) - 1
    for first in range(0, last + 1, PART):
        part = upload.copy_part(stage.large, CopySourceRange=f"bytes={first}-{min(first + PART - 1, last)}")
        if part.status != 200:
            raise NotSettled("UploadPartCopy", str(part))
    # LastModified has whole seconds.
    time.sleep(3)
    completed = upload.complete(ChecksumType="FULL_OBJECT", MpuObjectSize=last + 1)
    if completed.code or completed.status != 200:
        raise NotSettled("CompleteMultipartUpload", str(completed))
    heads = (stage.source.s3.ask("head_object", ChecksumMode="ENABLED", **source),
             stage.destination.s3.ask("head_object", ChecksumMode="ENABLED", **upload.object))
    return InParts(upload, listed, part, completed, *heads)


@asks("§6.9", Cost(writes=8, reads=2, copied=18 * MIB, stored=36 * MIB))
def quotes_of_parts_e_tags(stage):
    """Are ETags quoted in CopyPartResult and CompleteMultipartUploadResult?"""
    seen = in_parts(stage)
    return Answer("UploadPartCopy, CompleteMultipartUpload",
                  f"CopyPartResult: {seen.part.element('ETag')}; Complete: {seen.completed.element('ETag')}", ETAG_TOLD)


@asks("design", Cost(reads=1))
def initiator(stage):
    """Is the Initiator in ListMultipartUploads the session's ARN that GetCallerIdentity tells?"""
    seen = in_parts(stage)
    arn = stage.sts(stage.role()).get_caller_identity()["Arn"]
    uploads = seen.listed.parsed.get("Uploads", [])
    found = [upload.get("Initiator", {}).get("ID") for upload in uploads]
    return Answer("CreateMultipartUpload and ListMultipartUploads by the role, GetCallerIdentity",
                  f"Initiator {', '.join(map(str, found)) or seen.listed}; caller {arn}",
                  "a resume knows by it uploads of its own that nobody recorded", found == [arn])


@asks("design")
def checksum_of_parts(stage):
    """Is the full-object CRC64NVME of an object copied in parts the source's?"""
    seen = in_parts(stage)
    sums = [(said.headers.get("x-amz-checksum-crc64nvme"), said.headers.get("x-amz-checksum-type"))
            for said in (seen.source, seen.head)]
    return Answer("HEAD of source and copy with x-amz-checksum-mode: ENABLED",
                  f"source {sums[0][0]} ({sums[0][1]}); copy {sums[1][0]} ({sums[1][1]})",
                  "copies can be compared by checksum, whatever their parts",
                  None not in sums[0] and sums[0] == sums[1])


@asks("design")
def last_modified_of_parts(stage):
    """Is LastModified of an object copied in parts the time of Create or of Complete?"""
    seen = in_parts(stage)
    create, complete, modified = (seconds(header) for header in (
        seen.upload.created.headers.get("date"), seen.completed.headers.get("date"),
        seen.head.headers.get("last-modified")))
    which = "Create" if abs(modified - create) < abs(modified - complete) else "Complete"
    return Answer("Create; parts; 3 s later Complete; HEAD",
                  f"LastModified {modified - create:+.0f} s after Create, {modified - complete:+.0f} s after Complete",
                  f"it is the time of {which}; a job asks only whether it is since the job began, "
                  "which holds for both", modified >= create - 1)


def seconds(date):
    return email.utils.parsedate_to_datetime(date).timestamp()


@asks("§3.1", Cost(writes=6, copied=2 * MIB, stored=2 * MIB))
def range_of_a_small_source(stage):
    """Does UploadPartCopy refuse a range of a source of 5 MiB or less, and take such a source without one?"""
    upload = Upload(stage, "q-range/1-mib")
    ranged = upload.copy_part(stage.mebibyte, CopySourceRange=f"bytes=0-{MIB - 1}")
    whole = upload.copy_part(stage.mebibyte)
    upload.abort()
    return Answer("UploadPartCopy of an object of 1 MiB with x-amz-copy-source-range: bytes=0-1048575, and without",
                  f"with: {ranged}; without: {whole}",
                  f"ranges of small sources are {'taken' if ranged.status == 200 else 'refused'}; "
                  "s3haul sends none for a source in one part", whole.status == 200)


@asks("design", Cost(writes=10, copied=3 * MIB, stored=3 * MIB))
def conditions_of_parts(stage):
    """Do the 412s of UploadPartCopy and of CompleteMultipartUpload say which condition failed?"""
    stage.destination.s3.put_object(Bucket=stage.destination.bucket, Key=stage.prefix + "q412/parts", Body=b"was there")
    upload = Upload(stage, "q412/parts")
    part = upload.copy_part(stage.mebibyte, CopySourceIfMatch=OTHER)
    upload.parts.clear()
    upload.copy_part(stage.mebibyte)
    complete = upload.complete(IfNoneMatch="*")
    upload.abort()
    came = "; ".join(f"{what}: {said}, Condition {said.element('Condition')}"
                     for what, said in (("part, copy-source-if-match", part), ("Complete, If-None-Match: *", complete)))
    return Answer("UploadPartCopy of another ETag; CompleteMultipartUpload with If-None-Match: * over an object", came,
                  "a part's 412 is SourceChanged, Complete's is DestinationExists",
                  (part.status, complete.status) == (412, 412))
