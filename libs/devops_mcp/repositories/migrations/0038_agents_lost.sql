-- Whether it was told of an agent that it is lost; its next heartbeat takes that back. The worker asks which tenants have such an agent, then tells it
-- as that tenant.
ALTER TABLE agents ADD COLUMN told_lost boolean NOT NULL DEFAULT false;
GRANT UPDATE (told_lost) ON agents TO devops_mcp_worker;
CREATE POLICY lookup ON agents FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION tenants_with_lost_agents(after interval) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    BEGIN ATOMIC
        SELECT DISTINCT a.tenant_id FROM public.agents AS a WHERE a.seen_at < now() - after AND NOT a.told_lost;
    END;
REVOKE ALL ON FUNCTION tenants_with_lost_agents FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenants_with_lost_agents TO devops_mcp_worker;
