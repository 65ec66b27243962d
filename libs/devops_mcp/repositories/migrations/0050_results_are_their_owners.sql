-- A kept result is shown to nobody but who called the tool, whoever may see every context: it was read with that one's rights, and perhaps credential.
-- As in 0049 and 0016 in all else.
CREATE OR REPLACE FUNCTION passages_within(
    tenant uuid, principal uuid, any_owner boolean, owner uuid, kinds text[], context uuid, systems text[], sources text[],
    about text, having_metadata jsonb, since timestamptz, until timestamptz
) RETURNS TABLE (id uuid, lexemes tsvector) LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT p.id, p.lexemes FROM passages AS p
    WHERE p.tenant_id = tenant
        AND ((any_owner AND p.kind <> 'result') OR p.owner_id IS NULL OR p.owner_id = principal)
        AND (owner IS NULL OR p.owner_id = owner)
        AND (cardinality(kinds) = 0 OR p.kind = ANY (kinds))
        AND (context IS NULL OR p.context_id = context)
        AND (cardinality(systems) = 0 OR p.metadata->>'system' = ANY (systems))
        AND (cardinality(sources) = 0 OR p.metadata->>'source' = ANY (sources))
        AND (about IS NULL OR p.metadata->>'subject' = about)
        AND (having_metadata IS NULL OR p.metadata @> having_metadata)
        AND (since IS NULL OR p.occurred_at >= since)
        AND (until IS NULL OR p.occurred_at < until);
END;
CREATE OR REPLACE FUNCTION few_passages(
    principal uuid, any_owner boolean, owner uuid, kinds text[], context uuid, systems text[], sources text[],
    about text, having_metadata jsonb, since timestamptz, until timestamptz, most integer
) RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = 'force_custom_plan' AS $$
DECLARE
    tenant     uuid := public.current_tenant();
    of_system  jsonb[] := ARRAY(SELECT jsonb_build_object('system', s) FROM unnest(systems) AS s);
    of_source  jsonb[] := ARRAY(SELECT jsonb_build_object('source', s) FROM unnest(sources) AS s);
    of_subject jsonb := jsonb_build_object('subject', about);
    found      uuid[];
BEGIN
    SELECT array_agg(few.id) INTO found FROM (
        SELECT p.id FROM public.passages AS p
        WHERE p.tenant_id = tenant
            AND ((any_owner AND p.kind <> 'result') OR p.owner_id IS NULL OR p.owner_id = principal)
            AND (owner IS NULL OR p.owner_id = owner)
            AND (cardinality(kinds) = 0 OR p.kind = ANY (kinds))
            AND (context IS NULL OR p.context_id = context)
            AND (cardinality(systems) = 0 OR p.metadata @> ANY (of_system))
            AND (cardinality(sources) = 0 OR p.metadata @> ANY (of_source))
            AND (about IS NULL OR p.metadata @> of_subject)
            AND (having_metadata IS NULL OR p.metadata @> having_metadata)
            AND (since IS NULL OR p.occurred_at >= since)
            AND (until IS NULL OR p.occurred_at < until)
        LIMIT most + 1) AS few;
    RETURN CASE WHEN coalesce(cardinality(found), 0) <= most THEN coalesce(found, '{}') END;
END $$;
