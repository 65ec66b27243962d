-- How much of the question a passage holds, as the share of its words: one word of six in common says little, all six say much. And the words of a
-- title count as those of the text: it is short, and says again what the text says. As before in all else; who knows two columns finds them.
DROP FUNCTION passages_by_words;
CREATE FUNCTION passages_by_words(
    question text, principal uuid, any_owner boolean, owner uuid, kinds text[], context uuid, systems text[], sources text[],
    about text, having_metadata jsonb, since timestamptz, until timestamptz, candidates integer
) RETURNS TABLE (passage_id uuid, relevance real, coverage real)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 60 SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = 'force_custom_plan' AS $$
DECLARE
    tenant uuid := public.current_tenant();
    each   tsquery[] := ARRAY(SELECT quote_literal(lexeme)::tsquery FROM unnest(to_tsvector('english', question)));
    words  tsquery;
BEGIN
    SELECT string_agg(w::text, ' | ')::tsquery INTO words FROM unnest(each) AS w;
    RETURN QUERY
        SELECT f.id, f.rank, ((SELECT count(*) FROM unnest(each) AS w WHERE f.lexemes @@ w) / cardinality(each)::real)::real
        FROM (SELECT p.id, p.lexemes, ts_rank('{0.1, 0.2, 0.6, 0.6}', p.lexemes, words) AS rank FROM public.passages AS p
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
              ORDER BY rank DESC, p.id DESC LIMIT candidates) AS f;
END $$;
REVOKE ALL ON FUNCTION passages_by_words FROM PUBLIC;
GRANT EXECUTE ON FUNCTION passages_by_words TO devops_mcp_app, devops_mcp_worker;
