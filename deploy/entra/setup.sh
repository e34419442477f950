#!/usr/bin/env bash
# The app registration in Microsoft Entra ID that Portcullis signs people in with, by the Azure CLI. Sign in first (`az login`).
#   deploy/entra/setup.sh create NAME PUBLIC_URL ROLE...             the registration; prints what gateway.yaml needs
#   deploy/entra/setup.sh consent APP_ID                             agrees to its permissions for everybody, so that nobody is asked
#   deploy/entra/setup.sh secret APP_ID FILE                         a client secret, written to FILE
#   deploy/entra/setup.sh certificate APP_ID CERTIFICATE             lets a certificate (PEM) stand in for the secret
#   deploy/entra/setup.sh federated APP_ID NAME ISSUER SUBJECT       lets a Kubernetes service account stand in for it
#   deploy/entra/setup.sh assign APP_ID ROLE PRINCIPAL_ID            gives a role to a user, a group or a service principal
# Every step can be run again: what is there is changed to what is wanted. Another cloud: GRAPH=https://graph.microsoft.us.
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

# roles APP_ID ROLE...: the registration's app roles as JSON; a role that is there keeps its ID.
roles() {
  local app_id=$1 separator='' id role
  shift
  printf '['
  for role in "$@"; do
    id=$(role_id "$app_id" "$role")
    printf '%s%s' "$separator" "$(role_json "${id:-$(guid)}" "$role" true)"
    separator=,
  done
  printf ']'
}

# retire APP_ID OBJECT ROLE...: disables the roles that are there and are not wanted, for Entra removes no enabled one.
retire() {
  local app_id=$1 object=$2 all='' separator='' goes='' id role enabled
  shift 2
  while IFS=$'\t' read -r id role; do
    enabled=true
    [[ " $* " == *" $role "* ]] || enabled=false goes=yes
    all+=$separator$(role_json "$id" "$role" "$enabled")
    separator=,
  done < <(az ad app show --id "$app_id" --query 'appRoles[].[id,value]' --output tsv)
  [ -z "$goes" ] || patch "$object" "{ \"appRoles\": [$all] }"
}

# patch OBJECT JSON: changes the registration.
patch() {
  az rest --method PATCH --url "$GRAPH/v1.0/applications/$1" --headers Content-Type=application/json --body "$2" >/dev/null
}

# scope_id APP_ID: the ID of the delegated permission `access_as_user`, a new one where it is not there yet.
scope_id() {
  local id
  id=$(az ad app show --id "$1" --query "api.oauth2PermissionScopes[?value=='access_as_user'].id | [0]" --output tsv)
  printf '%s' "${id:-$(guid)}"
}

# permissions APP_ID: what the gateway asks Entra for at a sign-in, as JSON: its own scope, and to know who signs in.
permissions() {
  local id separator=''
  printf '[{"resourceAppId":"%s","resourceAccess":[{"id":"%s","type":"Scope"}]},{"resourceAppId":"%s","resourceAccess":[' \
    "$1" "$(scope_id "$1")" "$GRAPH_ID"
  for id in "${SIGN_IN[@]}"; do
    printf '%s{"id":"%s","type":"Scope"}' "$separator" "$id"
    separator=,
  done
  printf ']}]'
}

create() {
  local name=$1 public_url=${2%/} app_id object role
  shift 2
  [[ $public_url =~ ^https://[^/]+$ || $public_url =~ ^http://(localhost|127\.0\.0\.1)(:[0-9]+)?$ ]] ||
    fail "\`$public_url\` cannot be the public URL; write https:// and a host, without a path"
  [ $# -gt 0 ] || fail 'name at least one app role, as in Task.Read'
  for role in "$@"; do
    [[ $role =~ ^[A-Za-z0-9._-]+$ ]] || fail "\`$role\` cannot be an app role; write letters, digits, dots, dashes and underscores"
  done
  app_id=$(az ad app list --filter "displayName eq '$name'" --query '[0].appId' --output tsv)
  if [ -z "$app_id" ]; then
    app_id=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
  fi
  object=$(object_of "$app_id")
  retire "$app_id" "$object" "$@"
  # requestedAccessTokenVersion 2: without it Entra issues tokens of version 1, which the gateway refuses.
  patch "$object" "{
    \"web\": { \"redirectUris\": [\"$public_url/auth/callback\"] },
    \"identifierUris\": [\"api://$app_id\"],
    \"api\": {
      \"requestedAccessTokenVersion\": 2,
      \"oauth2PermissionScopes\": [{
        \"id\": \"$(scope_id "$app_id")\", \"value\": \"access_as_user\", \"type\": \"User\", \"isEnabled\": true,
        \"adminConsentDisplayName\": \"Use MCP servers\", \"adminConsentDescription\": \"Use the MCP servers behind Portcullis as the signed-in user.\",
        \"userConsentDisplayName\": \"Use MCP servers\", \"userConsentDescription\": \"Use the MCP servers behind Portcullis as you.\"
      }]
    },
    \"appRoles\": $(roles "$app_id" "$@"),
    \"optionalClaims\": { \"accessToken\": [{ \"name\": \"idtyp\" }, { \"name\": \"acct\" }, { \"name\": \"auth_time\" }, { \"name\": \"acrs\" }],
      \"idToken\": [{ \"name\": \"acct\" }, { \"name\": \"auth_time\" }, { \"name\": \"acrs\" }] }
  }"
  # Apart, for it names the scope that has to be there by then.
  patch "$object" "{ \"requiredResourceAccess\": $(permissions "$app_id") }"
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
  *) usage ;;
esac
