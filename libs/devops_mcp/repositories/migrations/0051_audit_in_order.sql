-- As before (0013), but that a batch is numbered in the order in which it is given: the planner may look for those that are there already
-- by a hash, and hand them on in the order of that.
CREATE OR REPLACE FUNCTION append_audit(records jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    chain public.audit_chains := public.audit_chain_end();
    entry public.audit_log;
    added public.audit_log[] := '{}';
BEGIN
    FOR entry IN
        SELECT chain.tenant_id, g.id, g.at, g.actor_id, g.actor, g.action, g.target, g.outcome, g.error_code, g.duration_ms, g.arguments,
               g.trace_id, g.address, g.user_id
        FROM ROWS FROM (jsonb_to_recordset(records) AS (
            id uuid, at timestamptz, actor_id uuid, actor text, action text, target text, outcome text, error_code text,
            duration_ms double precision, arguments jsonb, trace_id text, address text, user_id uuid)) WITH ORDINALITY
            AS g (id, at, actor_id, actor, action, target, outcome, error_code, duration_ms, arguments, trace_id, address, user_id, number)
        WHERE NOT EXISTS (SELECT FROM public.audit_log AS l WHERE l.tenant_id = chain.tenant_id AND l.id = g.id)
        ORDER BY g.number
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
