-- An end for what is old: months of events and of audit records are dropped as a whole, by their partition.
-- Whoever holds the worker's role still cannot make recent history disappear: the least age is fixed here.

-- Where the tenant's chain begins since its oldest months were dropped: after the last record that was.
ALTER TABLE audit_chains
    ADD COLUMN dropped_seq  bigint NOT NULL DEFAULT 0,
    ADD COLUMN dropped_hash bytea NOT NULL DEFAULT '';

CREATE FUNCTION least_age(parent text) RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE parent WHEN 'events' THEN interval '30 days' WHEN 'audit_log' THEN interval '180 days' END;

-- Lets the current tenant's chain begin behind the records of before `bound`, which are about to be dropped.
CREATE FUNCTION begin_audit_after(bound timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF bound > now() - public.least_age('audit_log') THEN
        RAISE EXCEPTION 'audit records are kept for % at least', public.least_age('audit_log');
    END IF;
    UPDATE public.audit_chains AS c SET dropped_seq = l.seq, dropped_hash = l.hash
    FROM (SELECT seq, hash FROM public.audit_log
          WHERE tenant_id = public.current_tenant() AND id < public.uuid_floor(bound) AND seq IS NOT NULL ORDER BY seq DESC LIMIT 1) AS l
    WHERE c.tenant_id = public.current_tenant() AND c.dropped_seq < l.seq;
END $$;

-- Drops the months of `parent` that ended before `bound`, and returns their names. Waits a moment only for who reads or writes the table.
CREATE FUNCTION drop_months(parent text, bound timestamptz) RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    month record;
BEGIN
    IF public.least_age(parent) IS NULL THEN
        RAISE EXCEPTION '% has no months', parent;
    END IF;
    IF bound > now() - public.least_age(parent) THEN
        RAISE EXCEPTION '% are kept for % at least', parent, public.least_age(parent);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('devops_mcp.ensure_partitions'));
    FOR month IN
        SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = format('public.%I', parent)::regclass AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'
            AND ((to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC') <= bound
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE public.%I', month.relname);
        RETURN NEXT month.relname::text;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION begin_audit_after, drop_months FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_audit_after, drop_months TO devops_mcp_worker;

-- The worker forgets what was delivered and what was called long ago.
GRANT DELETE ON delivery_keys TO devops_mcp_worker;
CREATE INDEX delivery_keys_age ON delivery_keys USING brin (created_at);
CREATE INDEX idempotent_calls_age ON idempotent_calls USING brin (created_at);
