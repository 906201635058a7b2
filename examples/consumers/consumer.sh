#!/usr/bin/env bash
# Calls a Zoho API with a token from Token Keeper: ./consumer.sh crm-prod /crm/v8/org
#
# It needs the AWS CLI, curl and jq. It reads the parameter at each start. A program that calls
# often should keep the document, as the other examples do.
set -euo pipefail

fail() {
  printf 'consumer.sh: %s\n' "$*" >&2
  exit 1
}

from_document() {
  printf '%s' "$document" | jq --raw-output "$1"
}

read_document() {
  document=$(aws ssm get-parameter --name "$parameter" --with-decryption --query Parameter.Value --output text) ||
    fail "cannot read $parameter: does \`token-keeper list\` show $connection, and may this program ssm:GetParameter it?"
  # `expires_at` decides, not `status`: a connection in trouble may still have a live token.
  state=$(from_document 'if (.expires_at // "1970-01-01T00:00:00Z" | fromdate) > now then "live"
    else "expires_at \(.expires_at), status \(.status), error \(.error)" end') || fail "$parameter does not contain a document"
  [[ $state == live ]] || fail "$parameter has no live token ($state): \`token-keeper list\` says what to do"
}

# The token goes through pipes, because every user of the machine can read arguments.
call() {
  url=$(from_document '.api_domain // ""')$path
  # Some providers have a header of their own, which takes the bare token.
  answer=$(from_document 'if .header then "\(.header): " else "Authorization: \(.token_type) " end + .access_token' |
    curl --silent --show-error --max-time 30 --header @- --write-out '\n%{http_code}' "$url")
  status=${answer##*$'\n'} body=${answer%$'\n'*}
}

# Without its slash, a path could lead to another host.
[[ $# == 2 && $2 == /* ]] || fail 'usage: consumer.sh CONNECTION /PATH'
connection=$1 path=$2 parameter=/${TOKEN_KEEPER_PREFIX:-token-keeper}/tokens/$1

read_document
call
if [[ $status == 401 ]]; then
  # Perhaps there is a newer token by now. Read it and try once more.
  read_document
  call
fi
if [[ $status != 2?? ]]; then
  code=$(jq --raw-output '.code // empty' <<<"$body" 2>/dev/null) || code=
  failure="HTTP $status (${code:-no code}) for $path"
  [[ $status == 401 ]] || fail "$failure"
  failure+=', also after reading the parameter again.'
  [[ $code != *SCOPE* ]] || fail "$failure The consent lacks a scope: token-keeper connect $connection --scope ..."
  # Token Keeper replaces a token that died early.
  [[ -z ${COMPLAINTS_QUEUE_URL-} ]] ||
    ! aws sqs send-message --queue-url "$COMPLAINTS_QUEUE_URL" --message-group-id "$connection" \
      --message-body "{\"connection\": \"$connection\", \"issued_at\": \"$(from_document .issued_at)\"}" >/dev/null ||
    fail "$failure Token Keeper has been told, so try again in a minute. If that does not help, see \`token-keeper list\`"
  fail "$failure See \`token-keeper list\`, then type: token-keeper refresh $connection --force"
fi
printf '%s\n' "$body"
