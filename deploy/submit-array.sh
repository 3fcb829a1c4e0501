#!/usr/bin/env bash
# Submits a copy as an AWS Batch array job of the stack of aws-batch.yaml, and the merge of its reports behind it.
# Needs the AWS CLI, as who may call batch:SubmitJob and cloudformation:DescribeStacks.
set -euo pipefail

usage() {
    cat >&2 <<'END'
usage: submit-array.sh --stack NAME --manifest s3://BUCKET/KEY --size N [--job-id ID] [--region REGION] [S3HAUL_…=VALUE]…
       submit-array.sh --stack NAME --manifest s3://BUCKET/KEY --check [--region REGION] [S3HAUL_…=VALUE]…

  --size N     how many shards the manifest is dealt to, 2 to 10,000
  --check      only look at what the copy will meet, by one job; its log says what is missing
  --job-id ID  a job that was begun before goes on [default: the array's own ID]
  S3HAUL_…     any flag of `s3haul copy`, as its variable: S3HAUL_STORAGE_CLASS=STANDARD_IA
END
    exit 2
}

fail() {
    printf 'submit-array.sh: %s\n' "$1" >&2
    exit 2
}

# A JSON string. Variables hold no other control characters than these.
json() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    text=${text//$'\t'/\\t}
    printf '"%s"' "$text"
}

stack='' manifest='' size='' job_id='' check='' region=() variables=()
while [ $# -gt 0 ]; do
    case $1 in
        --check) check=yes ;;
        --stack | --manifest | --size | --job-id | --region)
            [ $# -ge 2 ] || usage
            case $1 in
                --stack) stack=$2 ;;
                --manifest) manifest=$2 ;;
                --size) size=$2 ;;
                --job-id) job_id=$2 ;;
                --region) region=(--region "$2") ;;
            esac
            shift
            ;;
        S3HAUL_JOB_ID=*) fail 'say --job-id instead of S3HAUL_JOB_ID: the merge must know it' ;;
        S3HAUL_REPORT=* | S3HAUL_SHARD=* | S3HAUL_SHARDS=* | S3HAUL_FAILED_ROWS_EXIT=*)
            fail "${1%%=*} is the stack's and the array's: the merge would not find its shards" ;;
        S3HAUL_*=*) variables+=("$1") ;;
        *) usage ;;
    esac
    shift
done
[ -n "$stack" ] && [ -n "$manifest" ] || usage
if [ -n "$check" ]; then
    [ -z "$size" ] && [ -z "$job_id" ] || fail '--check submits no array: leave --size and --job-id out'
else
    [[ $size =~ ^[1-9][0-9]{0,4}$ ]] || fail '--size takes a number of shards, 2 to 10000'
    # AWS Batch has no arrays of one.
    ((size >= 2 && size <= 10000)) || fail "an array has 2 to 10000 shards, not $size"
fi
[[ -z $job_id || $job_id =~ ^[A-Za-z0-9_-][A-Za-z0-9._-]{0,39}$ ]] ||
    fail '--job-id takes 1 to 40 of A-Z a-z 0-9 . _ -, no dot first'
[ -z "$job_id" ] || variables+=("S3HAUL_JOB_ID=$job_id")

# An output of the stack.
output() {
    local value
    value=$(aws ${region[@]+"${region[@]}"} cloudformation describe-stacks --stack-name "$stack" --output text \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue | [0]")
    [ -n "$value" ] && [ "$value" != None ] || fail "stack $stack has no output $1: is it of aws-batch.yaml?"
    printf '%s' "$value"
}

# submit ARGUMENT…: submits a job and prints its ID.
submit() {
    aws ${region[@]+"${region[@]}"} batch submit-job --output text --query jobId "$@"
}

environment=
for variable in ${variables[@]+"${variables[@]}"}; do
    environment+=${environment:+,}"{\"name\":$(json "${variable%%=*}"),\"value\":$(json "${variable#*=}")}"
done
environment="\"environment\":[$environment]"
queue=$(output Queue)
copy=$(output CopyDefinition)
report=$(output Report)

if [ -n "$check" ]; then
    id=$(submit --job-name "$stack-check" --job-queue "$queue" --job-definition "$copy" \
        --container-overrides "{\"command\":[\"check\",\"--manifest\",$(json "$manifest")],$environment}")
    printf 'check %s\n' "$id"
    exit 0
fi

merge_queue=$(output MergeQueue)
merge=$(output MergeDefinition)
array=$(submit --job-name "$stack-copy" --job-queue "$queue" --job-definition "$copy" \
    --array-properties "size=$size" --parameters "{\"manifest\":$(json "$manifest"),\"shards\":\"$size\"}" \
    --container-overrides "{$environment}")
printf 'copy %s\n' "$array"
# It runs when every shard has ended with code 0, and says 0 or 1 for all of them.
report=$report/job-${job_id:-$array}
id=$(submit --job-name "$stack-merge" --job-queue "$merge_queue" --job-definition "$merge" \
    --depends-on "jobId=$array" --parameters "{\"report\":$(json "$report")}")
printf 'merge %s\nreport %s\n' "$id" "$report"
