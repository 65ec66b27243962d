-- What tools were called, by day (UTC), added up from the same batches as the audit log. duration_ms and tokens are sums: of the time that the calls
-- took, and of what they gave back, as a language model counts it.
CREATE TABLE tool_usage (
    tenant_id    uuid NOT NULL DEFAULT current_tenant(),
    principal_id uuid NOT NULL,
    tool         text NOT NULL,
    day          timestamptz NOT NULL,
    system       text NOT NULL,
    calls        bigint NOT NULL,
    errors       bigint NOT NULL,
    duration_ms  double precision NOT NULL,
    tokens       bigint NOT NULL,
    PRIMARY KEY (tenant_id, principal_id, tool, day)
);
CREATE INDEX tool_usage_day ON tool_usage (tenant_id, day);
ALTER TABLE tool_usage ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tool_usage USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT, UPDATE ON tool_usage TO devops_mcp_app, devops_mcp_worker;
GRANT DELETE ON tool_usage TO devops_mcp_worker;
