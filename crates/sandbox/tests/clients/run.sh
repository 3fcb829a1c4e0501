#!/bin/sh
# Checks the sandbox with boto3 and the AWS CLI. Needs python3 with venv and a package index; keeps the clients in
# the target directory, outside the tree.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
workspace=$(cd "$here/../../../.." && pwd)
target=${CARGO_TARGET_DIR:-$workspace/target}
clients=$target/sandbox-clients

if [ ! -x "$clients/bin/aws" ]; then
    python3 -m venv "$clients"
    "$clients/bin/pip" install --quiet --disable-pip-version-check boto3==1.44.5 awscli==1.46.3
fi
(cd "$workspace" && cargo build --quiet --package s3haul-sandbox)
exec "$clients/bin/python" "$here/check.py" "$target/debug/s3haul-sandbox" "$clients/bin/aws" "$@"
