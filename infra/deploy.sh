#!/usr/bin/env bash
# Deploys Token Keeper without SAM, or brings it up to date:
#
#   infra/deploy.sh [Parameter=Value ...]
#
# The parameters are those of infra/foundation.yaml and infra/operation.yaml. The functions' settings are the TOKEN_KEEPER_ variables of
# the environment. NAME (token-keeper) is the first part of every resource's name, BUILD_FLAGS (--release --arm64) how the functions are
# built. It needs the AWS CLI and cargo-lambda, and may be run again after any failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=${NAME:-token-keeper}
parameters=(
    "Name=$name"
    "Prefix=${TOKEN_KEEPER_PREFIX:-token-keeper}"
    "KmsKeyArn=${TOKEN_KEEPER_KMS_KEY_ID:-}"
    "CallbackUrl=${TOKEN_KEEPER_CALLBACK_URL:-}"
    "$@"
)

# The AWS CLI would leave out what a template does not have, and say nothing.
for parameter in "$@"; do
    if ! sed -n '/^Parameters:/,/^Conditions:/p' infra/foundation.yaml infra/operation.yaml | grep "^  ${parameter%%=*}:\$" >/dev/null; then
        echo "there is no parameter ${parameter%%=*} here: infra/README.md lists them, and which of them are variables of the environment" >&2
        exit 2
    fi
done

say() { printf '\n== %s\n' "$1"; }

stack() {
    # What is left of a first creation that failed can only be deleted.
    if [ "$(aws cloudformation describe-stacks --stack-name "$name-$1" --query 'Stacks[0].StackStatus' --output text 2>/dev/null)" = ROLLBACK_COMPLETE ]; then
        aws cloudformation delete-stack --stack-name "$name-$1"
        aws cloudformation wait stack-delete-complete --stack-name "$name-$1"
    fi
    aws cloudformation deploy --stack-name "$name-$1" --template-file "infra/$1.yaml" --capabilities CAPABILITY_IAM \
        --no-fail-on-empty-changeset --parameter-overrides "${parameters[@]}"
}

output() {
    aws cloudformation describe-stacks --stack-name "$name-$1" --output text \
        --query "Stacks[0].Outputs[?OutputKey=='$2'].OutputValue"
}

# Settings go through a file, because cargo-lambda parts its --env-var at commas.
function_of() { # binary, time-out in seconds, name of its role's output, one more setting
    local settings
    settings=$(mktemp)
    { env; echo "${4:-}"; } | sed -n 's/^\(TOKEN_KEEPER_[A-Z_]*\)=\(.*\)/\1="\2"/p' >"$settings"
    cargo lambda deploy "$name-$1" --binary-name "$1" --memory 128 --timeout "$2" --role "$(output foundation "$3")" --env-file "$settings"
    rm "$settings"
}

say "1/4 roles, keys, queues, logs ($name-foundation)"
stack foundation

say "2/4 building the functions"
# shellcheck disable=SC2086 # several flags
cargo lambda build ${BUILD_FLAGS:---release --arm64} --bin refresher --bin callback

say "3/4 the functions ($name-refresher, $name-callback)"
function_of refresher 300 RefresherRoleArn "TOKEN_KEEPER_QUEUE_URL=$(output foundation ChunksUrl)"
function_of callback 30 CallbackRoleArn

say "4/4 schedule, callback's front, alarms ($name-operation)"
stack operation

say "done"
cat <<END
Redirect URI, to be registered in Zoho's API console: $(output operation RedirectUri)
Dashboard: $(output operation DashboardUrl)

Next, with the names of your own client and connection:
  token-keeper client add acme-app --client-id 1000.YOURCLIENT
  token-keeper connect crm-prod --client acme-app --data-center eu --scope ZohoCRM.modules.ALL --callback-url $(output operation CallbackUrl)
END
