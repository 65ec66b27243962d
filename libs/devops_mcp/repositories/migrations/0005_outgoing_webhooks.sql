-- What is to be published later waits in the outbox, where the relay finds it when it is due. An older relay, which does not know the column,
-- publishes it at once; that is early and does no harm.
ALTER TABLE outbox ADD COLUMN due_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX outbox_due ON outbox (due_at, id);

-- Where integrators hear of events. `filter` is NULL where only rules send there. The secrets are sealed with a master key, for this row and version:
-- `previous_secret` is of the version before, and signs besides the new one until `previous_until`.
CREATE TABLE webhook_endpoints (
    tenant_id       uuid NOT NULL DEFAULT current_tenant(),
    id              uuid NOT NULL,
    name            text NOT NULL,
    url             text NOT NULL,
    filter          jsonb,
    enabled         boolean NOT NULL,
    disabled_reason text,
    secret          bytea NOT NULL,
    secret_version  integer NOT NULL DEFAULT 1,
    previous_secret bytea,
    previous_until  timestamptz,
    failures        integer NOT NULL DEFAULT 0,
    failing_since   timestamptz,
    held_until      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

-- One event goes to one endpoint once, whatever chose it.
CREATE TABLE webhook_deliveries (
    tenant_id       uuid NOT NULL DEFAULT current_tenant(),
    id              uuid NOT NULL,
    endpoint_id     uuid NOT NULL,
    event_id        uuid NOT NULL,
    status          text NOT NULL DEFAULT 'pending',
    attempts        integer NOT NULL DEFAULT 0,
    next_at         timestamptz,
    last_at         timestamptz,
    last_status     integer,
    last_error      text,
    last_duration_ms double precision,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, endpoint_id, event_id),
    FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_endpoint ON webhook_deliveries (tenant_id, endpoint_id, id);
CREATE INDEX webhook_deliveries_age ON webhook_deliveries (tenant_id, created_at);

ALTER TABLE webhook_endpoints ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON webhook_endpoints USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY tenant ON webhook_deliveries USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, UPDATE ON webhook_endpoints TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT, DELETE ON webhook_endpoints TO devops_mcp_app;
GRANT SELECT, UPDATE ON webhook_deliveries TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT, DELETE ON webhook_deliveries TO devops_mcp_worker;
