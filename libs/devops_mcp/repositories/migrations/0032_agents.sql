-- Agents as they present themselves. An agent is a principal, so its id is that of the API key or the user it calls as: by it go its contexts, tasks,
-- embedding model and usage. key_id or user_id says it again, so that it goes with either. Whether it lives is computed from its last heartbeat and
-- never written; heartbeats change nothing that is indexed, and find room on their page.
CREATE TABLE agents (
    tenant_id     uuid NOT NULL DEFAULT current_tenant(),
    id            uuid NOT NULL,
    key_id        uuid,
    user_id       uuid,
    name          text NOT NULL,
    description   text NOT NULL,
    metadata      jsonb NOT NULL,
    state         text,
    able          text[],
    seen_at       timestamptz,
    registered_at timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, key_id) REFERENCES api_keys (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 70);

-- Who can do what: looked up by equality alone, which row security lets an index answer.
CREATE TABLE agent_capabilities (
    tenant_id  uuid NOT NULL DEFAULT current_tenant(),
    capability text NOT NULL,
    agent_id   uuid NOT NULL,
    PRIMARY KEY (tenant_id, capability, agent_id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents ON DELETE CASCADE
);
CREATE INDEX agent_capabilities_agent ON agent_capabilities (tenant_id, agent_id);

ALTER TABLE agents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE agent_capabilities ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON agents USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY tenant ON agent_capabilities USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON agents, agent_capabilities TO devops_mcp_app;
GRANT SELECT ON agents, agent_capabilities TO devops_mcp_worker;
