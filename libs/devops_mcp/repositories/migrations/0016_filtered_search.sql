-- Row security applies a tenant's rule before any operator that might leak a value, and @@ counts as one: so no query of the services' roles can
-- use the index over words, however small its answer. This function runs as the owner, who may see every passage (and is nobody that serves a
-- request), and names the tenant itself. Its filters are those of a search; each plan is made for the values it is called with.
CREATE POLICY words ON passages FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION passages_by_words(
    question text, principal uuid, any_owner boolean, owner uuid, kinds text[], context uuid, systems text[], sources text[],
    about text, having_metadata jsonb, since timestamptz, until timestamptz, candidates integer
) RETURNS TABLE (passage_id uuid, relevance real)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 60 SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = 'force_custom_plan' AS $$
DECLARE
    tenant uuid := public.current_tenant();
    words  tsquery;
BEGIN
    SELECT string_agg(quote_literal(lexeme), ' | ')::tsquery INTO words FROM unnest(to_tsvector('english', question));
    RETURN QUERY
        SELECT p.id, ts_rank(p.lexemes, words) FROM public.passages AS p
        WHERE p.tenant_id = tenant AND p.lexemes @@ words
            AND (any_owner OR p.owner_id IS NULL OR p.owner_id = principal)
            AND (owner IS NULL OR p.owner_id = owner)
            AND (cardinality(kinds) = 0 OR p.kind = ANY (kinds))
            AND (context IS NULL OR p.context_id = context)
            AND (cardinality(systems) = 0 OR p.metadata->>'system' = ANY (systems))
            AND (cardinality(sources) = 0 OR p.metadata->>'source' = ANY (sources))
            AND (about IS NULL OR p.metadata->>'subject' = about)
            AND (having_metadata IS NULL OR p.metadata @> having_metadata)
            AND (since IS NULL OR p.occurred_at >= since)
            AND (until IS NULL OR p.occurred_at < until)
        ORDER BY ts_rank(p.lexemes, words) DESC, p.id DESC LIMIT candidates;
END $$;
REVOKE ALL ON FUNCTION passages_by_words FROM PUBLIC;
GRANT EXECUTE ON FUNCTION passages_by_words TO devops_mcp_app, devops_mcp_worker;

-- A filter that keeps few passages makes the nearest of them easy to find exactly, and hard by an index over all vectors: a scan that passes over
-- 99 of 100 takes long and misses some. So these are looked for first, by an index over what can be filtered, which row security keeps from use too.
CREATE INDEX passages_metadata ON passages USING gin (metadata jsonb_path_ops);
CREATE INDEX passages_time ON passages (tenant_id, occurred_at);
-- The passages that the filters leave, or NULL where they are more than `most`. Filters of one kind each allow any of their values.
CREATE FUNCTION few_passages(
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
            AND (any_owner OR p.owner_id IS NULL OR p.owner_id = principal)
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
REVOKE ALL ON FUNCTION few_passages FROM PUBLIC;
GRANT EXECUTE ON FUNCTION few_passages TO devops_mcp_app, devops_mcp_worker;
