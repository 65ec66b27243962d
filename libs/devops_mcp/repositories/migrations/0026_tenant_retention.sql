-- How long a tenant wants its events and contexts kept; NULL, or no row: as long as the installation keeps them.
CREATE TABLE tenant_retention (
    tenant_id    uuid PRIMARY KEY DEFAULT current_tenant(),
    event_days   integer CHECK (event_days > 30),
    context_days integer CHECK (context_days > 0),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE tenant_retention ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tenant_retention USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT, UPDATE ON tenant_retention TO devops_mcp_app;
GRANT SELECT ON tenant_retention TO devops_mcp_worker;

-- Removes up to `up_to` events of the transaction's tenant that are older than `bound`; how many. As with whole months, recent ones stay.
CREATE FUNCTION forget_events(bound timestamptz, up_to integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    IF bound > now() - public.least_age('events') THEN
        RAISE EXCEPTION 'events are kept for % at least', public.least_age('events');
    END IF;
    DELETE FROM public.events WHERE tenant_id = public.current_tenant() AND id IN (
        SELECT e.id FROM public.events AS e
        WHERE e.tenant_id = public.current_tenant() AND e.id < public.uuid_floor(bound) ORDER BY e.id LIMIT up_to);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
REVOKE ALL ON FUNCTION forget_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_events TO devops_mcp_worker;
