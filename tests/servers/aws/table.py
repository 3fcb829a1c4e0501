"""The table of answers, in Markdown, without names of buckets and accounts."""
COLUMNS = ["point", "question", "what was sent", "what came back", "what it means for s3haul", "verdict"]


def printed(rows, stage, now):
    asked = "another server than AWS, at S3HAUL_TEST_ENDPOINT_URL: a REHEARSAL, which says nothing about S3" \
        if stage.given.endpoint_url else f"Amazon S3, {stage.source.region} to {stage.destination.region}"
    lines = [f"Asked of {asked}. {now:%Y-%m-%d}.", "", row(COLUMNS), row(["---"] * len(COLUMNS)),
             *(row([cell(value, stage) for value in values]) for values in sorted(rows, key=place))]
    return "\n".join(lines)


def place(values):
    """§6 first, in its order."""
    point = values[0]
    return not point.startswith("§6."), int(point.removeprefix("§6.")) if point.startswith("§6.") else 0


def row(cells):
    return f"| {' | '.join(cells)} |"


def cell(value, stage):
    given = stage.given
    hidden = [(given.batch_role_arn, "BATCH-ROLE"), (given.role_arn, "ROLE"), (given.role_arn.split("/")[-1], "ROLE"),
              (given.source_bucket, "SOURCE"), (given.destination_bucket, "DESTINATION"), (stage.run_id, "RUN"),
              (stage.source.account, "111111111111"), (stage.destination.account, "222222222222"),
              (given.endpoint_url, "ENDPOINT")]
    text = " ".join(str(value).split())
    for name, word in hidden:
        text = text.replace(name, word) if name else text
    return text.replace("|", "\\|")
