-- Calls that go on without the connection they came by. A task is run by one worker at a time: whoever claims it raises `attempt` and holds it
-- until `lease_until`; what an earlier attempt writes afterwards changes nothing.
CREATE TABLE tasks (
    tenant_id   uuid NOT NULL DEFAULT current_tenant(),
    id          uuid NOT NULL,
    owner_id    uuid NOT NULL,
    tool        text NOT NULL,
    arguments   jsonb NOT NULL,
    priority    text NOT NULL,
    status      text NOT NULL,
    message     text,
    progress    double precision,
    total       double precision,
    answerable  text[] NOT NULL,
    questions   jsonb NOT NULL DEFAULT '{}',
    answers     jsonb NOT NULL DEFAULT '{}',
    result      jsonb,
    attempt     integer NOT NULL DEFAULT 0,
    lease_until timestamptz,
    context_id  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX tasks_owner ON tasks (tenant_id, owner_id, id);
CREATE INDEX tasks_expiry ON tasks (tenant_id, expires_at);
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tasks USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT, UPDATE ON tasks TO devops_mcp_app, devops_mcp_worker;
GRANT DELETE ON tasks TO devops_mcp_worker;
