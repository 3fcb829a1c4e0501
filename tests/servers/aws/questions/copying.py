"""What a copy is asked and what it answers."""
from prices import MIB, Cost
from questions import Answer, NotSettled, asks

CANDIDATES = ["x-amz-object-annotation-directive", "x-amz-annotation-directive"]
# The ETag of no object.
OTHER = '"0123456789abcdef0123456789abcdef"'
ETAG_TOLD = "s3haul takes both: it strips quotes before it compares and reports"


def copied(client, stage, source, name, headers=None, **more):
    """CopyObject to below the run's prefix."""
    return client.ask("copy_object", headers, Bucket=stage.destination.bucket, Key=stage.prefix + name,
                      CopySource={"Bucket": stage.source.bucket, "Key": source}, **more)


@asks("§6.5", Cost(writes=8, reads=2, copied=MIB, stored=MIB))
def annotation_directive(stage):
    """How is the header spelt that says whether CopyObject carries annotations?"""
    came, right = [], []
    for header in CANDIDATES:
        # A header that S3 does not know it ignores; one that it knows must have a value that it knows.
        said = copied(stage.copier, stage, stage.small, "q5/nonsense", {header: "NONSENSE"})
        came.append(f"{header}: {said}")
        right += [header] if said.status == 400 else []
    means = (f"the spelling is {right[0]}" if len(right) == 1 else
             f"{len(right)} of {len(CANDIDATES)} spellings are understood; see the question about EXCLUDE")
    if not right:
        raise NotSettled("CopyObject with each candidate = NONSENSE", "; ".join(came))
    return Answer("CopyObject with each candidate = NONSENSE", "; ".join(came), means, right == CANDIDATES[:1])


@asks("§6.5", Cost(writes=8, reads=2, copied=MIB, stored=MIB))
def annotations_left_behind(stage):
    """With which spelling does EXCLUDE leave annotations behind, and does CopyObject carry them without?"""
    key = stage.put("questions/annotated", b"annotated")
    put = stage.source.s3.ask("put_object_annotation", Bucket=stage.source.bucket, Key=key,
                              AnnotationName="s3haul.test", AnnotationPayload=b"an annotation")
    sent = "PutObjectAnnotation on the source; CopyObject without a directive and with each candidate = EXCLUDE; " \
           "ListObjectAnnotations of the copies"
    if put.status != 200:
        raise NotSettled(sent, f"PutObjectAnnotation: {put}")
    counts = {}
    for header in [None, *CANDIDATES]:
        name = f"q5/{header}"
        said = copied(stage.copier, stage, key, name, {header: "EXCLUDE"} if header else None)
        listed = said.status == 200 and stage.destination.s3.ask(
            "list_object_annotations", Bucket=stage.destination.bucket, Key=stage.prefix + name)
        counts[header] = f"{said}" if not listed else len(listed.parsed.get("Annotations", [])) \
            if listed.status == 200 else f"listing: {listed}"
    came = "; ".join(f"{header or 'no directive'}: {count}" for header, count in counts.items()) + " (annotations)"
    if not isinstance(counts[None], int):
        raise NotSettled(sent, f"{came}: the role or the source's policy may not allow s3:GetObjectAnnotation")
    right = [header for header in CANDIDATES if counts[header] == 0]
    means = f"annotations are {'' if counts[None] == 1 else 'NOT '}carried by default; " \
            f"EXCLUDE works as {' and '.join(right) or 'none of them'}"
    return Answer(sent, came, means, counts[None] == 1 and right == CANDIDATES[:1])


@asks("§6.9", Cost(writes=2, reads=4, copied=MIB, stored=MIB))
def quotes_of_e_tags(stage):
    """Are ETags quoted, in HEAD, in GetObjectAttributes and in CopyObjectResult?"""
    said = copied(stage.copier, stage, stage.small, "q9/small")
    key = {"Bucket": stage.destination.bucket, "Key": stage.prefix + "q9/small"}
    head = stage.destination.s3.ask("head_object", **key)
    attributes = stage.destination.s3.ask("get_object_attributes", ObjectAttributes=["ETag"], **key)
    came = {"HEAD": head.headers.get("etag"), "GetObjectAttributes": attributes.element("ETag") or str(attributes),
            "CopyObjectResult": said.element("ETag") or str(said)}
    return Answer("CopyObject of an object, HEAD and GetObjectAttributes of the copy",
                  "; ".join(f"{where}: {what}" for where, what in came.items()), ETAG_TOLD)


@asks("design", Cost(writes=6, copied=MIB, stored=MIB))
def conditions_of_copies(stage):
    """Does a 412 of CopyObject say which condition failed: the source's or the destination's?"""
    copied(stage.copier, stage, stage.small, "q412/there")
    source = copied(stage.copier, stage, stage.small, "q412/new", CopySourceIfMatch=OTHER)
    there = copied(stage.copier, stage, stage.small, "q412/there", IfNoneMatch="*")
    match = copied(stage.copier, stage, stage.small, "q412/there", IfMatch=OTHER)
    told = {"copy-source-if-match": source, "If-None-Match: * over an object": there, "If-Match": match}
    came = "; ".join(f"{what}: {said}, Condition {said.element('Condition')}" for what, said in told.items())
    source_told = (source.element("Condition") or "").lower().startswith("x-amz-copy-source")
    there_told = there.element("Condition") is not None and not there.element("Condition").lower().startswith("x-amz")
    holds = (source.status, there.status) == (412, 412) and source_told and there_told
    return Answer("CopyObject with each condition, none of which holds", came,
                  "s3haul reads <Condition>: SourceChanged or DestinationExists", holds)


@asks("design", Cost(writes=4, copied=MIB, stored=MIB))
def conditional_copy(stage):
    """Does CopyObject with If-None-Match: * write a new key?"""
    said = copied(stage.copier, stage, stage.small, "q-new/key", IfNoneMatch="*")
    return Answer("CopyObject with If-None-Match: * to a new key", str(said),
                  "--overwrite never is one request a row", said.status == 200)
