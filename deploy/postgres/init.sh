#!/usr/bin/env bash
# Runs once, when the database's volume is new; see the compose file.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v password="$AUDIT_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -f "${AUDIT_SQL:-/audit.sql}"
