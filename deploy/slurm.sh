#!/bin/bash
#SBATCH --job-name=s3haul
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --requeue
#SBATCH --open-mode=append
# One copy as a Slurm array, and the merge of its reports behind it:
#
#     S3HAUL_REPORT=s3://BUCKET/PREFIX S3HAUL_ROLE_ARN=… deploy/slurm.sh SHARDS --manifest … --to …
#
# Behind SHARDS stand flags of `s3haul copy`, or none where S3HAUL_… variables say them. What the merge needs too is
# said by variables alone: where the report lies, and how it is reached if that is in S3 (S3HAUL_ROLE_ARN,
# S3HAUL_EXTERNAL_ID, S3HAUL_PROFILE, S3HAUL_REPORT_PROFILE, S3HAUL_ENDPOINT_URL, …). It lies where all nodes reach
# it: in S3, or in a folder that they share. S3HAUL_PROGRAM is s3haul's path on the nodes. Partition, account, time
# limit and so on are sbatch's own variables (SBATCH_PARTITION, SBATCH_TIMELIMIT).
# With S3HAUL_JOB_ID an earlier job goes on; else the ID is the array's.
set -uo pipefail

# Code 4, stopped with everything done in the report, is the one that is worth another try.
RETRIED=4
MOST_RESTARTS=20

s3haul=${S3HAUL_PROGRAM:-s3haul}

submit() {
    local shards=$1 array merge report
    shift
    [[ $shards =~ ^[1-9][0-9]{0,4}$ ]] || { echo "slurm.sh: SHARDS is a number, not $shards" >&2; exit 2; }
    local flag
    for flag in "$@"; do
        case ${flag%%=*} in
            --shard | --shards | --failed-rows-exit | --progress)
                echo "slurm.sh: ${flag%%=*} is said by this script" >&2
                exit 2
                ;;
            --report | --report-profile | --report-account | --job-id | --role-arn | --external-id | --profile | \
                --region | --endpoint-url | --sts-endpoint-url | --force-path-style)
                flag=${flag%%=*} flag=${flag#--} flag=${flag^^}
                echo "slurm.sh: the merge needs it too: give S3HAUL_${flag//-/_} instead of the flag" >&2
                exit 2
                ;;
        esac
    done
    [ -n "${S3HAUL_REPORT-}" ] || { echo 'slurm.sh: S3HAUL_REPORT says where the reports lie' >&2; exit 2; }
    case $S3HAUL_REPORT in
        s3://* | /*) ;;
        *) export S3HAUL_REPORT=$PWD/$S3HAUL_REPORT ;;
    esac
    while [[ $S3HAUL_REPORT == ?*/ ]]; do S3HAUL_REPORT=${S3HAUL_REPORT%/}; done
    # USR1 comes to this script alone, two minutes before the time limit.
    array=$(sbatch --parsable --array="0-$((shards - 1))" --signal=B:USR1@120 "$0" shard "$shards" "$@") || exit
    array=${array%%;*}
    report=$S3HAUL_REPORT/job-${S3HAUL_JOB_ID:-$array}
    # Behind all shards, however they ended: it names those that are missing.
    merge=$(sbatch --parsable --job-name=s3haul-merge --dependency="afterany:$array" "$0" merge "$report") || exit
    printf 'copy %s\nmerge %s\nreport %s\n' "$array" "${merge%%;*}" "$report"
}

shard() {
    local shards=$1 child code told=''
    shift
    "$s3haul" copy --shards "$shards" --failed-rows-exit 0 --progress none "$@" &
    child=$!
    # Slurm's own TERM (scancel, preemption, the limit) reaches s3haul too: a second one would end it in the middle.
    trap 'told=yes' TERM
    trap 'kill -TERM "$child"' USR1
    # A trap ends the wait, not the child.
    while wait "$child"; kill -0 "$child" 2>/dev/null; do :; done
    trap - USR1
    # It has ended, maybe in the middle of a trap: this is its own code.
    wait "$child"
    code=$?
    # Who was told to end by Slurm is requeued by Slurm, or is not to run again.
    if [ "$code" = "$RETRIED" ] && [ -z "$told" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$MOST_RESTARTS" ]; then
        echo "slurm.sh: code $code, shard ${SLURM_ARRAY_TASK_ID} is requeued" >&2
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$code"
}

case ${1-} in
    shard) shift && shard "$@" ;;
    merge) exec "$s3haul" report merge "$2" --output json ;;
    '' | -*) sed -n '/^# One/,/^# With/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) submit "$@" ;;
esac
