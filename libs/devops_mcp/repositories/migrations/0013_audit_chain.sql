-- The audit log becomes a chain for each tenant: every row carries the digest of itself and of the row before, made here and never by a service, so
-- that a row that is changed or missing is found. Rows from before have no `seq` and are not part of it.
ALTER TABLE audit_log
    ADD COLUMN address text,
    ADD COLUMN user_id uuid,
    ADD COLUMN seq bigint,
    ADD COLUMN prev_hash bytea,
    ADD COLUMN hash bytea;
CREATE INDEX audit_log_seq ON audit_log (tenant_id, seq);
CREATE INDEX audit_log_target ON audit_log (tenant_id, target, id);

-- The end of each chain. Only the functions below write it.
CREATE TABLE audit_chains (
    tenant_id uuid PRIMARY KEY DEFAULT current_tenant(),
    seq       bigint NOT NULL,
    hash      bytea NOT NULL
);
ALTER TABLE audit_chains ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_chains USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT ON audit_chains TO devops_mcp_app, devops_mcp_worker;

CREATE FUNCTION audit_digest(entry audit_log) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(entry.prev_hash || convert_to(jsonb_build_array(
        entry.seq, entry.tenant_id, entry.id, extract(epoch FROM entry.at), entry.actor_id, entry.actor, entry.action, entry.target,
        entry.outcome, entry.error_code, entry.duration_ms, entry.arguments, entry.trace_id, entry.address, entry.user_id)::text, 'UTF8'));

-- The end of the tenant's chain, which nobody else moves until the transaction ends.
CREATE FUNCTION audit_chain_end() RETURNS audit_chains
    LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    found public.audit_chains;
BEGIN
    SELECT * INTO found FROM public.audit_chains WHERE tenant_id = public.current_tenant() FOR UPDATE;
    IF found.tenant_id IS NULL THEN
        INSERT INTO public.audit_chains (seq, hash) VALUES (0, '') ON CONFLICT DO NOTHING;
        SELECT * INTO found FROM public.audit_chains WHERE tenant_id = public.current_tenant() FOR UPDATE;
    END IF;
    RETURN found;
END $$;

-- Appends a batch to the current tenant's chain: one lock and one move of its end, however many rows. Rows that are there already are passed over.
CREATE FUNCTION append_audit(records jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    chain public.audit_chains := public.audit_chain_end();
    entry public.audit_log;
    added public.audit_log[] := '{}';
BEGIN
    FOR entry IN
        SELECT chain.tenant_id, g.id, g.at, g.actor_id, g.actor, g.action, g.target, g.outcome, g.error_code, g.duration_ms, g.arguments,
               g.trace_id, g.address, g.user_id
        FROM jsonb_to_recordset(records) AS g(
            id uuid, at timestamptz, actor_id uuid, actor text, action text, target text, outcome text, error_code text,
            duration_ms double precision, arguments jsonb, trace_id text, address text, user_id uuid)
        WHERE NOT EXISTS (SELECT FROM public.audit_log AS l WHERE l.tenant_id = chain.tenant_id AND l.id = g.id)
    LOOP
        chain.seq := chain.seq + 1;
        entry.seq := chain.seq;
        entry.prev_hash := chain.hash;
        chain.hash := public.audit_digest(entry);
        entry.hash := chain.hash;
        added := added || entry;
    END LOOP;
    INSERT INTO public.audit_log SELECT (a).* FROM unnest(added) AS a;
    UPDATE public.audit_chains SET seq = chain.seq, hash = chain.hash WHERE tenant_id = chain.tenant_id;
END $$;

-- A service of the version before inserts by itself; its rows are chained one by one.
CREATE FUNCTION chain_audit_row() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    chain public.audit_chains := public.audit_chain_end();
BEGIN
    IF EXISTS (SELECT FROM public.audit_log AS l WHERE l.tenant_id = NEW.tenant_id AND l.id = NEW.id) THEN
        RETURN NULL;
    END IF;
    NEW.seq := chain.seq + 1;
    NEW.prev_hash := chain.hash;
    NEW.hash := public.audit_digest(NEW);
    UPDATE public.audit_chains SET seq = NEW.seq, hash = NEW.hash WHERE tenant_id = NEW.tenant_id;
    RETURN NEW;
END $$;
CREATE TRIGGER chain BEFORE INSERT ON audit_log FOR EACH ROW WHEN (NEW.hash IS NULL) EXECUTE FUNCTION chain_audit_row();

REVOKE ALL ON FUNCTION append_audit, audit_chain_end, chain_audit_row FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_audit TO devops_mcp_app, devops_mcp_worker;
REVOKE INSERT ON audit_log FROM devops_mcp_app, devops_mcp_worker;
GRANT INSERT (id, at, actor_id, actor, action, target, outcome, error_code, duration_ms, arguments, trace_id) ON audit_log
    TO devops_mcp_app, devops_mcp_worker;
