#!/usr/bin/env bash
# Asks a Zoho API with the token that Token Keeper keeps: ./consumer.sh crm-prod /crm/v8/org
# It needs the AWS CLI, curl and jq, and reads the parameter at each start: what asks often keeps it, as the other examples do.
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
  # Its end decides, not `status`: the token of a connection that needs a consent may still live.
  state=$(from_document 'if (.expires_at // "1970-01-01T00:00:00Z" | fromdate) > now then "live"
    else "expires_at \(.expires_at), status \(.status), error \(.error)" end') || fail "$parameter is no document"
  [[ $state == live ]] || fail "$parameter has no live token ($state): \`token-keeper list\` says what to do"
}

# The token goes through pipes: every user of the machine could read an argument.
call() {
  url=$(from_document '.api_domain // ""')$path
  answer=$(from_document '"Authorization: \(.token_type) \(.access_token)"' |
    curl --silent --show-error --max-time 30 --header @- --write-out '\n%{http_code}' "$url")
  status=${answer##*$'\n'} body=${answer%$'\n'*}
}

# A path without its slash could make another host of `api_domain`.
[[ $# == 2 && $2 == /* ]] || fail 'usage: consumer.sh CONNECTION /PATH'
connection=$1 path=$2 parameter=/${TOKEN_KEEPER_PREFIX:-token-keeper}/tokens/$1

read_document
call
if [[ $status == 401 ]]; then
  # The token is another by now, or Zoho takes none: one more try shows it, and nobody mints here.
  read_document
  call
fi
if [[ $status != 2?? ]]; then
  code=$(jq --raw-output '.code // empty' <<<"$body" 2>/dev/null) || code=
  failure="HTTP $status (${code:-no code}) for $path"
  [[ $status == 401 ]] || fail "$failure"
  fail "$failure, with the parameter read again too: see \`token-keeper list\`, then token-keeper refresh $connection --force"
fi
printf '%s\n' "$body"
