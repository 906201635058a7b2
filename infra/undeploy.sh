#!/usr/bin/env bash
# Removes what infra/deploy.sh made. Connections, clients and published tokens stay: they are yours (README, "Remove everything").
# NAME (token-keeper) is the first part of every resource's name. It may be run again after any failure.
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
