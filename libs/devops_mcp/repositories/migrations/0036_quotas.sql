-- How much a tenant may use by day and month (UTC), and how much each of its principals, as far as somebody has said; NULL: as much as it likes.
-- principal_id is the nil UUID for the tenant as a whole, which only the operator of the platform limits. What was used is in the usage tables.
CREATE TABLE quotas (
    tenant_id                  uuid NOT NULL DEFAULT current_tenant(),
    principal_id               uuid NOT NULL,
    tool_calls_per_day         bigint,
    tool_calls_per_month       bigint,
    tool_tokens_per_day        bigint,
    tool_tokens_per_month      bigint,
    embedding_tokens_per_day   bigint,
    embedding_tokens_per_month bigint,
    updated_at                 timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, principal_id)
);
ALTER TABLE quotas ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON quotas USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT ON quotas TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT, UPDATE, DELETE ON quotas TO devops_mcp_app;

-- Every process asks again and again whose quotas have changed, and then reads them as that tenant. Nothing of what they are is told here.
CREATE POLICY lookup ON quotas FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION quota_versions() RETURNS TABLE (tenant_id uuid, version text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    BEGIN ATOMIC
        SELECT q.tenant_id, count(*) || ' ' || extract(epoch FROM max(q.updated_at)) FROM public.quotas AS q GROUP BY q.tenant_id;
    END;
REVOKE ALL ON FUNCTION quota_versions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION quota_versions TO devops_mcp_app, devops_mcp_worker;
