#!/usr/bin/env bash
# Deploys or updates Token Keeper without SAM. It needs the AWS CLI and cargo-lambda:
#
#   infra/deploy.sh [Parameter=Value ...]
#
# The parameters are those of infra/foundation.yaml and infra/operation.yaml. Variables of the
# environment set everything else:
#
#   TOKEN_KEEPER_...      the settings of the functions
#   NAME                  first part of the names of all resources (token-keeper)
#   BUILD_FLAGS           how to build the functions (--release --arm64)
#   CALLBACK_CONCURRENCY  reserved concurrency of the callback (none)
#
# After a failure, type the same command again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=${NAME:-token-keeper}
prefix=${TOKEN_KEEPER_PREFIX:-token-keeper}
parameters=(
    "Name=$name"
    "Prefix=$prefix"
    "KmsKeyArn=${TOKEN_KEEPER_KMS_KEY_ID:-}"
    "CallbackUrl=${TOKEN_KEEPER_CALLBACK_URL:-}"
    "MarginSeconds=${TOKEN_KEEPER_MARGIN_S:-2100}"
    "DataCenters=${TOKEN_KEEPER_DATA_CENTERS:-}"
    "RotatingProviders=${TOKEN_KEEPER_ROTATING_PROVIDERS:-false}"
    "Publish=${TOKEN_KEEPER_PUBLISH:-document}"
    "Tier=${TOKEN_KEEPER_TIER:-Standard}"
    "SsmRate=${TOKEN_KEEPER_SSM_RATE:-40}"
    "$@"
)

refuse() {
    echo "$1" >&2
    exit 2
}

# cargo-lambda reads one setting from each line, in quotes.
for variable in "${!TOKEN_KEEPER_@}"; do
    case ${!variable} in
        *[$'\n\r"\\$']*) refuse "$variable has a line break, a quote, a backslash or a dollar sign. No setting needs these characters." ;;
    esac
done

for parameter in "$@"; do
    key=${parameter%%=*}
    # The functions need these too. They get only variables, not parameters.
    case $key in
        Name) variable=NAME ;;
        Prefix) variable=TOKEN_KEEPER_PREFIX ;;
        KmsKeyArn) variable=TOKEN_KEEPER_KMS_KEY_ID ;;
        CallbackUrl) variable=TOKEN_KEEPER_CALLBACK_URL ;;
        MarginSeconds) variable=TOKEN_KEEPER_MARGIN_S ;;
        DataCenters) variable=TOKEN_KEEPER_DATA_CENTERS ;;
        RotatingProviders) variable=TOKEN_KEEPER_ROTATING_PROVIDERS ;;
        Publish) variable=TOKEN_KEEPER_PUBLISH ;;
        Tier) variable=TOKEN_KEEPER_TIER ;;
        SsmRate) variable=TOKEN_KEEPER_SSM_RATE ;;
        *) variable= ;;
    esac
    if [ -n "$variable" ]; then
        refuse "Set $key by a variable of the environment: $variable=… infra/deploy.sh"
    fi
    # The AWS CLI silently ignores a parameter that the template does not have.
    if ! sed -n '/^Parameters:/,/^Conditions:/p' infra/foundation.yaml infra/operation.yaml | grep -xF "  $key:" >/dev/null; then
        refuse "Unknown parameter $key. infra/README.md lists all parameters, and which of them are variables of the environment."
    fi
done

say() { printf '\n== %s\n' "$1"; }

stack() {
    # If the first creation of a stack failed, the rest of it can only be deleted.
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

# Prints a property of an installed function. Prints nothing if the function is not installed.
installed() { # binary, property
    local answer
    if answer=$(aws lambda get-function-configuration --function-name "$name-$1" --query "$2" --output text 2>&1); then
        echo "$answer"
    elif ! grep -q ResourceNotFoundException <<<"$answer"; then
        echo "AWS did not say whether $name-$1 is installed, so nothing was changed. AWS said: $answer" >&2
        return 1
    fi
}

# cargo-lambda sets the processor only when it creates a function. Later it uploads any build, even
# one that the function cannot run.
same_processor() { # binary
    local built here
    case $(od -An -tx1 -j18 -N1 "${CARGO_TARGET_DIR:-target}/lambda/$1/bootstrap") in
        *b7*) built=arm64 ;;
        *) built=x86_64 ;;
    esac
    here=$(installed "$1" 'Architectures[0]')
    if [ -n "$here" ] && [ "$here" != "$built" ]; then
        echo "$name-$1 is installed for $here, but this build is for $built. Nothing was changed. Either build for $here:" >&2
        echo "  BUILD_FLAGS='--release --${here/_/-}' infra/deploy.sh" >&2
        echo "or type infra/undeploy.sh first. It keeps connections, clients and tokens." >&2
        exit 1
    fi
}

# Prints the whole environment of a function. cargo-lambda reads it from a file, because it splits
# --env-var at commas. The prefix is always in it, because with an empty file cargo-lambda would
# keep the old environment.
settings() { # one more setting
    local variable
    for variable in "${!TOKEN_KEEPER_@}"; do
        case $variable in TOKEN_KEEPER_PREFIX | TOKEN_KEEPER_QUEUE_URL) continue ;; esac
        printf '%s="%s"\n' "$variable" "${!variable}"
    done
    printf 'TOKEN_KEEPER_PREFIX="%s"\n' "$prefix"
    if [ -n "${1:-}" ]; then printf '%s="%s"\n' "${1%%=*}" "${1#*=}"; fi
}

function_of() { # binary, time-out in seconds, name of its role's output, one more setting
    local file role here
    role=$(output foundation "$3")
    here=$(installed "$1" Role)
    # cargo-lambda sets the role only when it creates a function.
    if [ -n "$here" ] && [ "$here" != "$role" ]; then
        aws lambda update-function-configuration --function-name "$name-$1" --role "$role" >/dev/null
        aws lambda wait function-updated --function-name "$name-$1"
    fi
    file=$(mktemp)
    settings "${4:-}" >"$file"
    cargo lambda deploy "$name-$1" --binary-name "$1" --memory 128 --timeout "$2" --role "$role" --env-file "$file"
    rm "$file"
}

say "1/4 building the functions"
# shellcheck disable=SC2086 # several flags
cargo lambda build ${BUILD_FLAGS:---release --arm64} --bin refresher --bin callback
same_processor refresher
same_processor callback

say "2/4 roles, keys, queues, logs ($name-foundation)"
stack foundation

say "3/4 the functions ($name-refresher, $name-callback)"
function_of refresher 300 RefresherRoleArn "TOKEN_KEEPER_QUEUE_URL=$(output foundation ChunksUrl)"
function_of callback 30 CallbackRoleArn
if [ -n "${CALLBACK_CONCURRENCY:-}" ]; then
    aws lambda put-function-concurrency --function-name "$name-callback" --reserved-concurrent-executions "$CALLBACK_CONCURRENCY" >/dev/null
else
    aws lambda delete-function-concurrency --function-name "$name-callback"
fi

say "4/4 schedule, callback's front, alarms ($name-operation)"
stack operation

say "done"
cat <<END
Register this redirect URI in Zoho's API console: $(output operation RedirectUri)
Dashboard: $(output operation DashboardUrl)

Type these next, with the names of your client and connection:
  token-keeper client add acme-app --client-id 1000.YOURCLIENT
  token-keeper connect crm-prod --client acme-app --data-center eu --scope ZohoCRM.modules.ALL
END
