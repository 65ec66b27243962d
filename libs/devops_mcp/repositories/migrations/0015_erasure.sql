-- A tenant's rows are removed for good by the worker, some at a time; `removed` counts them by table with the rows' own removal, so that it is the
-- proof whatever dies in between. What stays: the tenant's own row, its audit log, and this.
CREATE TABLE erasures (
    tenant_id    uuid NOT NULL DEFAULT current_tenant(),
    id           uuid NOT NULL,
    requested_by uuid NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    removed      jsonb NOT NULL DEFAULT '{}',
    finished_at  timestamptz,
    PRIMARY KEY (tenant_id, id)
);
ALTER TABLE erasures ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON erasures USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT ON erasures TO devops_mcp_app;
GRANT SELECT, UPDATE (removed, finished_at) ON erasures TO devops_mcp_worker;

-- Removes rows of the transaction's tenant from the first table that has any, and says from which and how many; no row: there are none left. Only of a
-- suspended tenant with an erasure under way. Blobs are left to who can also remove their bytes. Tables that others refer to come last, and
-- are passed over while somebody does.
CREATE FUNCTION erase_some(up_to integer) RETURNS TABLE (name text, removed bigint)
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
            AND c.relname NOT IN ('tenants', 'audit_log', 'audit_chains', 'erasures', 'blobs', 'blob_contents')
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
REVOKE ALL ON FUNCTION erase_some FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_some TO devops_mcp_worker;
