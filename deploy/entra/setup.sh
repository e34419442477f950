#!/usr/bin/env bash
# The app registration in Microsoft Entra ID that Portcullis signs people in with, by the Azure CLI. Sign in first (`az login`).
#   deploy/entra/setup.sh create NAME PUBLIC_URL ROLE...             the registration; prints what gateway.yaml needs
#   deploy/entra/setup.sh consent APP_ID                             agrees to its permissions for everybody, so that nobody is asked
#   deploy/entra/setup.sh secret APP_ID FILE                         a client secret, written to FILE
#   deploy/entra/setup.sh certificate APP_ID CERTIFICATE             lets a certificate (PEM) stand in for the secret
#   deploy/entra/setup.sh federated APP_ID NAME ISSUER SUBJECT       lets a Kubernetes service account stand in for it
#   deploy/entra/setup.sh assign APP_ID ROLE PRINCIPAL_ID            gives a role to a user, a group or a service principal
#   deploy/entra/setup.sh retire APP_ID ROLE                         takes a role out, and with it from all who have it
# Every step can be run again: what is missing is added, and what somebody else has added stays. Names are not unique at Entra:
# `create` goes on with a registration of that name only where it has the redirect URI of PUBLIC_URL, or is named by APP_ID=…
# before the command, as for a gateway that moves. Another cloud: GRAPH=https://graph.microsoft.us.
set -euo pipefail
readonly GRAPH=${GRAPH:-https://graph.microsoft.com}
readonly AUDIENCE=${AUDIENCE:-api://AzureADTokenExchange}
# Microsoft Graph, and its delegated permissions openid, profile and offline_access: the same in every directory.
readonly GRAPH_ID=00000003-0000-0000-c000-000000000000
readonly SIGN_IN=(37f7f235-527c-4136-accd-4a02d197296e 14dad69e-099b-42c9-810b-d002981feec1 7427e0e9-2fba-42fe-b0c0-848c9e6a8182)

fail() {
  echo "$*" >&2
  exit 1
}

guid() {
  if [ -r /proc/sys/kernel/random/uuid ]; then cat /proc/sys/kernel/random/uuid; else uuidgen | tr '[:upper:]' '[:lower:]'; fi
}

# object_of APP_ID: the registration's object ID.
object_of() {
  az ad app show --id "$1" --query id --output tsv
}

# role_id APP_ID ROLE: the ID of an app role that the registration has, or nothing.
role_id() {
  az ad app show --id "$1" --query "appRoles[?value=='$2'].id | [0]" --output tsv
}

# role_json ID ROLE ENABLED: one app role.
role_json() {
  printf '{"id":"%s","value":"%s","displayName":"%s","description":"Portcullis: %s","isEnabled":%s,"allowedMemberTypes":["User","Application"]}' \
    "$1" "$2" "$2" "$2" "$3"
}

# others APP_ID LIST KEY VALUE...: what is in a list of the registration beside the items whose KEY is one of these, as JSON
# with a comma before each; `@` is the item itself. A question that fails ends the script here and wherever it is asked: an empty
# answer would be taken for an empty list, and what is in it be lost.
others() {
  local app_id=$1 list=$2 key=$3 terms='' value found
  shift 3
  for value in "$@"; do
    terms+="${terms:+ && }$key!='$value'"
  done
  found=$(az ad app show --id "$app_id" --query "${list}[?$terms]" --output json) || exit 1
  found=${found#\[} found=${found%\]}
  [[ ! $found =~ [^[:space:]] || $found == null ]] || printf ',%s' "$found"
}

# roles APP_ID ROLE...: the registration's app roles as JSON; a role that is there keeps its ID, and one that is not named stays.
roles() {
  local app_id=$1 separator='' id role rest
  shift
  printf '['
  for role in "$@"; do
    id=$(role_id "$app_id" "$role") || exit 1
    printf '%s%s' "$separator" "$(role_json "${id:-$(guid)}" "$role" true)"
    separator=,
  done
  rest=$(others "$app_id" appRoles value "$@") || exit 1
  printf '%s]' "$rest"
}

# patch OBJECT JSON: changes the registration.
patch() {
  az rest --method PATCH --url "$GRAPH/v1.0/applications/$1" --headers Content-Type=application/json --body "$2" >/dev/null
}

# scope_id APP_ID: the ID of the delegated permission `access_as_user`, a new one where it is not there yet.
scope_id() {
  local id
  id=$(az ad app show --id "$1" --query "api.oauth2PermissionScopes[?value=='access_as_user'].id | [0]" --output tsv) || exit 1
  printf '%s' "${id:-$(guid)}"
}

# permissions APP_ID: what the gateway asks Entra for at a sign-in, as JSON: its own scope, and to know who signs in.
permissions() {
  local id scope own graph rest separator=''
  scope=$(scope_id "$1") || exit 1
  own=$(others "$1" "$(access_of "$1")" id "$scope") || exit 1
  graph=$(others "$1" "$(access_of "$GRAPH_ID")" id "${SIGN_IN[@]}") || exit 1
  rest=$(others "$1" requiredResourceAccess resourceAppId "$1" "$GRAPH_ID") || exit 1
  printf '[{"resourceAppId":"%s","resourceAccess":[{"id":"%s","type":"Scope"}%s]},{"resourceAppId":"%s","resourceAccess":[' \
    "$1" "$scope" "$own" "$GRAPH_ID"
  for id in "${SIGN_IN[@]}"; do
    printf '%s{"id":"%s","type":"Scope"}' "$separator" "$id"
    separator=,
  done
  printf '%s]}%s]' "$graph" "$rest"
}

# access_of RESOURCE: the list of what is asked for of one API.
access_of() {
  printf "requiredResourceAccess[?resourceAppId=='%s'].resourceAccess[] | " "$1"
}

# claims APP_ID TOKEN NAME...: the optional claims of a kind of token, as JSON.
claims() {
  local app_id=$1 token=$2 name rest separator=''
  shift 2
  rest=$(others "$app_id" "optionalClaims.$token" name "$@") || exit 1
  printf '['
  for name in "$@"; do
    printf '%s{"name":"%s"}' "$separator" "$name"
    separator=,
  done
  printf '%s]' "$rest"
}

# found NAME CALLBACK: the registration to go on with, or nothing where there is none of that name.
found() {
  local name=$1 callback=$2 ids uris
  if [ -n "${APP_ID:-}" ]; then
    az ad app show --id "$APP_ID" --query appId --output tsv
    return
  fi
  ids=$(az ad app list --filter "displayName eq '${name//\'/\'\'}'" --query '[].appId' --output tsv) || exit 1
  [ -n "$ids" ] || return 0
  [ "$(wc -l <<<"$ids")" -eq 1 ] ||
    fail "several registrations are called \`$name\`: ${ids//$'\n'/, }. Say which one is meant by APP_ID=… before the command, or take another name"
  uris=$(az ad app show --id "$ids" --query 'web.redirectUris' --output tsv) || exit 1
  grep -qxF "$callback" <<<"$uris" ||
    fail "there is a registration \`$name\` ($ids), and it sends people to ${uris:-nowhere}, not to $callback. Is it yours? Then \
put APP_ID=$ids before the command; otherwise take another name"
  printf '%s' "$ids"
}

create() {
  local name=$1 public_url=${2%/} app_id object role callback uris ids scope scopes roles access_claims id_claims permissions
  shift 2
  callback=$public_url/auth/callback
  [[ $public_url =~ ^https://[A-Za-z0-9.-]+(:[0-9]+)?$ || $public_url =~ ^http://(localhost|127\.0\.0\.1)(:[0-9]+)?$ ]] ||
    fail "\`$public_url\` cannot be the public URL; write https:// and a host, without a path"
  [ $# -gt 0 ] || fail 'name at least one app role, as in Task.Read'
  for role in "$@"; do
    [[ $role =~ ^[A-Za-z0-9._-]+$ ]] || fail "\`$role\` cannot be an app role; write letters, digits, dots, dashes and underscores"
  done
  app_id=$(found "$name" "$callback")
  if [ -z "$app_id" ]; then
    # With the redirect URI from the first moment on: by it the next run knows it, should this one end here.
    app_id=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --web-redirect-uris "$callback" --query appId --output tsv)
  fi
  object=$(object_of "$app_id")
  uris=$(others "$app_id" web.redirectUris @ "$callback")
  ids=$(others "$app_id" identifierUris @ "api://$app_id")
  scope=$(scope_id "$app_id")
  scopes=$(others "$app_id" api.oauth2PermissionScopes value access_as_user)
  roles=$(roles "$app_id" "$@")
  access_claims=$(claims "$app_id" accessToken idtyp acct auth_time acrs)
  id_claims=$(claims "$app_id" idToken acct auth_time acrs)
  # requestedAccessTokenVersion 2: without it Entra issues tokens of version 1, which the gateway refuses.
  patch "$object" "{
    \"web\": { \"redirectUris\": [\"$callback\"$uris] },
    \"identifierUris\": [\"api://$app_id\"$ids],
    \"api\": {
      \"requestedAccessTokenVersion\": 2,
      \"oauth2PermissionScopes\": [{
        \"id\": \"$scope\", \"value\": \"access_as_user\", \"type\": \"User\", \"isEnabled\": true,
        \"adminConsentDisplayName\": \"Use MCP servers\", \"adminConsentDescription\": \"Use the MCP servers behind Portcullis as the signed-in user.\",
        \"userConsentDisplayName\": \"Use MCP servers\", \"userConsentDescription\": \"Use the MCP servers behind Portcullis as you.\"
      }$scopes]
    },
    \"appRoles\": $roles,
    \"optionalClaims\": { \"accessToken\": $access_claims, \"idToken\": $id_claims }
  }"
  # Apart, for it names the scope that has to be there by then.
  permissions=$(permissions "$app_id")
  patch "$object" "{ \"requiredResourceAccess\": $permissions }"
  az ad sp show --id "$app_id" >/dev/null 2>&1 || az ad sp create --id "$app_id" >/dev/null
  # Only who was given a role can sign in; the others are told so by Entra.
  az ad sp update --id "$app_id" --set appRoleAssignmentRequired=true >/dev/null
  printf 'entra:\n  tenant_id: %s\n  client_id: %s\n' "$(az account show --query tenantId --output tsv)" "$app_id"
}

consent() {
  az ad app permission admin-consent --id "$1"
}

# secret APP_ID FILE: what is in FILE counts until the new one is there as a whole, for a gateway may read it meanwhile.
secret() {
  fresh=$(mktemp "$2.XXXXXX")
  trap 'rm -f "$fresh"' EXIT
  # Owner and mode of the one before, so that whoever read that reads this; but never everybody.
  if [ -e "$2" ]; then cp -p "$2" "$fresh"; fi
  chmod o-rwx "$fresh"
  az ad app credential reset --id "$1" --append --display-name portcullis --years 1 --query password --output tsv >"$fresh" ||
    fail "az made no secret; $2 is as it was"
  grep -q '[^[:space:]]' "$fresh" || fail "az printed no secret; $2 is as it was. Look at Entra for one too many"
  mv -f "$fresh" "$2"
  echo "the secret is in $2, good for one year; entra: { client_secret_file: $2 }"
}

certificate() {
  az ad app credential reset --id "$1" --append --cert "@$2" >/dev/null
  openssl x509 -in "$2" -noout -enddate
}

federated() {
  local parameters known
  parameters=$(printf '{"name":"%s","issuer":"%s","subject":"%s","audiences":["%s"]}' "$2" "$3" "$4" "$AUDIENCE")
  known=$(az ad app federated-credential list --id "$1" --query "[?name=='$2'].id | [0]" --output tsv)
  if [ -n "$known" ]; then
    az ad app federated-credential update --id "$1" --federated-credential-id "$known" --parameters "$parameters" >/dev/null
  else
    az ad app federated-credential create --id "$1" --parameters "$parameters" >/dev/null
  fi
}

assign() {
  local role resource url known
  role=$(role_id "$1" "$2")
  [ -n "$role" ] || fail "the registration $1 has no app role \`$2\`"
  resource=$(az ad sp show --id "$1" --query id --output tsv)
  url="$GRAPH/v1.0/servicePrincipals/$resource/appRoleAssignedTo"
  known=$(az rest --method GET --url "$url?\$top=999" --query "value[?principalId=='$3' && appRoleId=='$role'].id | [0]" --output tsv)
  [ -z "$known" ] || return 0
  az rest --method POST --url "$url" --headers Content-Type=application/json \
    --body "{\"principalId\":\"$3\",\"resourceId\":\"$resource\",\"appRoleId\":\"$role\"}" >/dev/null
}

# Entra removes no role that is enabled.
retire() {
  local id object rest
  id=$(role_id "$1" "$2")
  [ -n "$id" ] || fail "the registration $1 has no app role \`$2\`"
  object=$(object_of "$1")
  rest=$(others "$1" appRoles value "$2")
  patch "$object" "{ \"appRoles\": [$(role_json "$id" "$2" false)$rest] }"
  patch "$object" "{ \"appRoles\": [${rest#,}] }"
}

usage() {
  sed -n 's/^#   //p' "$0" >&2
  exit 2
}

case "${1:-} $#" in
  create\ [4-9] | create\ [1-9][0-9]) create "${@:2}" ;;
  consent\ 2) consent "${@:2}" ;;
  secret\ 3) secret "${@:2}" ;;
  certificate\ 3) certificate "${@:2}" ;;
  federated\ 5) federated "${@:2}" ;;
  assign\ 4) assign "${@:2}" ;;
  retire\ 3) retire "${@:2}" ;;
  *) usage ;;
esac
