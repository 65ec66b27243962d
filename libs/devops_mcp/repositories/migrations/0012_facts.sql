-- What was so, from when until when: told by events, kept by keys (subject, predicate, qualifier). The rows of one key form a line of time: each
-- holds until the next begins, whatever the order in which the events arrived. A row without a value says that from then on nothing was so.
CREATE TABLE facts (
    tenant_id   uuid NOT NULL DEFAULT current_tenant(),
    id          uuid NOT NULL,
    subject     text NOT NULL,
    predicate   text NOT NULL,
    qualifier   text NOT NULL,
    value       jsonb,
    valid_from  timestamptz NOT NULL,
    valid_until timestamptz,
    event_id    uuid NOT NULL,
    event_type  text NOT NULL,
    source      text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, event_id, predicate, subject, qualifier)
);
CREATE INDEX facts_line ON facts (tenant_id, subject, predicate, qualifier, valid_from, event_id);
CREATE INDEX facts_time ON facts (tenant_id, predicate, valid_from);
ALTER TABLE facts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON facts USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT ON facts TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT, UPDATE, DELETE ON facts TO devops_mcp_worker;
