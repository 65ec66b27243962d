-- What is appended to contexts is recorded with it, in one statement. Such a record waits here to be chained: were it chained at once, each append would
-- wait for the commit of the tenant's append before, at the end of the chain. The services' role adds records and can do nothing else to them.
CREATE TABLE audit_waiting (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id        uuid NOT NULL,
    record    jsonb NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
ALTER TABLE audit_waiting ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_waiting USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT INSERT ON audit_waiting TO devops_mcp_app, devops_mcp_worker;

-- Chains up to so many of the current tenant's records that wait, the oldest, and says how many. Nobody is waited for where none wait.
CREATE FUNCTION chain_waiting_audit(up_to integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    records jsonb;
BEGIN
    IF NOT EXISTS (SELECT FROM public.audit_waiting WHERE tenant_id = public.current_tenant()) THEN
        RETURN 0;
    END IF;
    PERFORM public.audit_chain_end();
    WITH taken AS (
        DELETE FROM public.audit_waiting WHERE tenant_id = public.current_tenant() AND id IN (
            SELECT id FROM public.audit_waiting WHERE tenant_id = public.current_tenant() ORDER BY id LIMIT up_to)
        RETURNING id, record
    )
    SELECT coalesce(jsonb_agg(record ORDER BY id), '[]') INTO records FROM taken;
    PERFORM public.append_audit(records);
    RETURN jsonb_array_length(records);
END $$;
REVOKE ALL ON FUNCTION chain_waiting_audit FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chain_waiting_audit TO devops_mcp_app, devops_mcp_worker;

-- As before (0015), but that records that wait stay, as those do that are chained.
CREATE OR REPLACE FUNCTION erase_some(up_to integer) RETURNS TABLE (name text, removed bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    erased record;
    gone   bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM public.tenants AS t WHERE t.tenant_id = public.current_tenant() AND t.suspended_at IS NOT NULL)
        OR NOT EXISTS (SELECT FROM public.erasures AS e WHERE e.tenant_id = public.current_tenant() AND e.finished_at IS NULL) THEN
        RAISE EXCEPTION 'there is no erasure under way';
    END IF;
    FOR erased IN
        SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relname NOT IN ('tenants', 'audit_log', 'audit_chains', 'audit_waiting', 'erasures', 'blobs', 'blob_contents')
        ORDER BY (SELECT count(*) FROM pg_constraint AS k WHERE k.confrelid = c.oid AND k.conrelid <> c.oid AND k.conparentid = 0), c.relname
    LOOP
        BEGIN
            EXECUTE format(
                'DELETE FROM public.%1$I WHERE tenant_id = $1 AND (tableoid, ctid) IN (
                    SELECT tableoid, ctid FROM public.%1$I WHERE tenant_id = $1 LIMIT $2)', erased.relname)
                USING public.current_tenant(), up_to;
            GET DIAGNOSTICS gone = ROW_COUNT;
        EXCEPTION WHEN foreign_key_violation THEN
            CONTINUE;
        END;
        IF gone > 0 THEN
            RETURN QUERY SELECT erased.relname::text, gone;
            RETURN;
        END IF;
    END LOOP;
END $$;
