#!/usr/bin/env bash
# Removes what infra/deploy.sh made. Connections, clients and published tokens stay, because they
# are yours. infra/README.md, "Remove everything", says how to remove these too.
#
# NAME is the first part of the names of all resources (token-keeper). After a failure, type the
# same command again.
set -euo pipefail

name=${NAME:-token-keeper}

remove_stack() {
    echo "removing $1"
    aws cloudformation delete-stack --stack-name "$1"
    aws cloudformation wait stack-delete-complete --stack-name "$1"
}

remove_stack "$name-operation"
for function in "$name-refresher" "$name-callback"; do
    if aws lambda get-function --function-name "$function" >/dev/null 2>&1; then
        echo "removing $function"
        aws lambda delete-function --function-name "$function"
    fi
done
remove_stack "$name-foundation"
