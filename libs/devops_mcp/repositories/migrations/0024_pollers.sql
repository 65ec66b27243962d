-- Systems that are asked for what they do not tell: where each poller of each integration has got to, and who may move that. A worker takes a turn by
-- raising `fence`, and holds it until `lease_until`; what it found is stored with the new cursor, and only while the fence is still its own. A cursor holds
-- for the addresses that `place` is a digest of: another system under the same name is begun with anew.
CREATE TABLE pollers (
    tenant_id   uuid NOT NULL DEFAULT current_tenant(),
    integration text NOT NULL,
    poller      text NOT NULL,
    place       text NOT NULL,
    cursor      jsonb NOT NULL DEFAULT '{}',
    fence       bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    next_at     timestamptz NOT NULL DEFAULT now(),
    begun_at    timestamptz,
    ok_at       timestamptz,
    failures    integer NOT NULL DEFAULT 0,
    error_code  text,
    error       text,
    events      bigint NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, integration, poller)
);
ALTER TABLE pollers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON pollers USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT ON pollers TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT, UPDATE ON pollers TO devops_mcp_worker;

-- Which of its system's pollers an integration of a tenant runs, and how often.
ALTER TABLE integrations ADD COLUMN polls jsonb NOT NULL DEFAULT '{}';
