-- The table of the audit trail, and a role that can add to it and read it, and change nothing:
--   psql -v password="$AUDIT_PASSWORD" -f deploy/postgres/audit.sql postgres://admin@host/audit
-- Then: audit: { postgres: { url_file: … } } with postgres://portcullis_audit:<password>@host/audit
CREATE TABLE IF NOT EXISTS portcullis_audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, node TEXT NOT NULL, instance TEXT NOT NULL,
    number BIGINT NOT NULL, time TIMESTAMPTZ NOT NULL, type TEXT NOT NULL, request_id TEXT, line TEXT NOT NULL,
    UNIQUE (instance, number));
CREATE INDEX IF NOT EXISTS portcullis_audit_time ON portcullis_audit (time);
CREATE INDEX IF NOT EXISTS portcullis_audit_request ON portcullis_audit (request_id);
CREATE ROLE portcullis_audit LOGIN PASSWORD :'password' CONNECTION LIMIT 50;
GRANT SELECT, INSERT ON portcullis_audit TO portcullis_audit;
