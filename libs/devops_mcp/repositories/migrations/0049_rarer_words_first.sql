-- To rank a passage its words have to be unpacked, some 3 µs each, and a question in a sentence has words that stand in half of all passages: ranking
-- whatever holds any of them took the longer the more there are. Now about a thousand are ranked at most: those that hold one of the question's rarer
-- words and, where these are too few to choose from, the newest of those that hold another.

-- A tenant's passages under a search's filters; it is a part of the query that calls it.
CREATE FUNCTION passages_within(
    tenant uuid, principal uuid, any_owner boolean, owner uuid, kinds text[], context uuid, systems text[], sources text[],
    about text, having_metadata jsonb, since timestamptz, until timestamptz
) RETURNS TABLE (id uuid, lexemes tsvector) LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT p.id, p.lexemes FROM passages AS p
    WHERE p.tenant_id = tenant
        AND (any_owner OR p.owner_id IS NULL OR p.owner_id = principal)
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
REVOKE ALL ON FUNCTION passages_within FROM PUBLIC;

-- How many of them the planner expects to hold one of the words, which costs no look at a passage.
CREATE FUNCTION passages_expected(
    words tsquery, tenant uuid, principal uuid, any_owner boolean, owner uuid, kinds text[], context uuid, systems text[], sources text[],
    about text, having_metadata jsonb, since timestamptz, until timestamptz
) RETURNS double precision LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON)
             SELECT FROM public.passages_within($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) AS p WHERE p.lexemes @@ $1'
        INTO plan USING words, tenant, principal, any_owner, owner, kinds, context, systems, sources, about, having_metadata, since, until;
    RETURN plan->0->'Plan'->>'Plan Rows';
END $$;
REVOKE ALL ON FUNCTION passages_expected FROM PUBLIC;

-- The same among all passages, whoever's: beside one another these say how rare a word is.
CREATE FUNCTION passages_holding(words tsquery) RETURNS double precision LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) SELECT FROM public.passages WHERE lexemes @@ $1' INTO plan USING words;
    RETURN plan->0->'Plan'->>'Plan Rows';
END $$;
REVOKE ALL ON FUNCTION passages_holding FROM PUBLIC;

-- As in 0037, but for which passages are ranked. No plan reads the whole table, as the planner does not know what unpacking costs.
CREATE OR REPLACE FUNCTION passages_by_words(
    question text, principal uuid, any_owner boolean, owner uuid, kinds text[], context uuid, systems text[], sources text[],
    about text, having_metadata jsonb, since timestamptz, until timestamptz, candidates integer
) RETURNS TABLE (passage_id uuid, relevance real, coverage real)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 60 SET search_path = pg_catalog, public, pg_temp
    SET plan_cache_mode = 'force_custom_plan' SET enable_seqscan = off AS $$
DECLARE
    most     CONSTANT double precision := 1000;
    enough   CONSTANT integer := 5 * candidates;
    tenant   uuid := public.current_tenant();
    each     tsquery[] := ARRAY(SELECT quote_literal(lexeme)::tsquery FROM unnest(to_tsvector('english', question)));
    words    tsquery;
    rarer    tsquery;
    others   tsquery;
    expected double precision;
BEGIN
    SELECT string_agg(w::text, ' | ')::tsquery INTO words FROM unnest(each) AS w;
    IF words IS NULL THEN
        RETURN;
    END IF;
    expected := public.passages_expected(
        words, tenant, principal, any_owner, owner, kinds, context, systems, sources, about, having_metadata, since, until);
    IF expected <= most THEN
        rarer := words;
    ELSE
        SELECT string_agg(word::text, ' | ') FILTER (WHERE so_far <= most),
               CASE WHEN count(*) FILTER (WHERE so_far BETWEEN enough AND most) = 0
                    THEN string_agg(word::text, ' | ') FILTER (WHERE so_far > most) END
        INTO rarer, others
        FROM (SELECT word, sum(holding) OVER (ORDER BY holding, word::text) * expected / public.passages_holding(words) AS so_far
              FROM (SELECT w AS word, public.passages_holding(w) AS holding FROM unnest(each) AS w) AS one) AS counted;
    END IF;
    RETURN QUERY
        SELECT best.id, best.rank, ((SELECT count(*) FROM unnest(each) AS w WHERE best.lexemes @@ w) / cardinality(each)::real)::real
        FROM (SELECT p.id, p.lexemes, ts_rank('{0.1, 0.2, 0.6, 0.6}', p.lexemes, words) AS rank
              FROM (SELECT h.id, h.lexemes
                    FROM public.passages_within(tenant, principal, any_owner, owner, kinds, context, systems, sources, about,
                                                having_metadata, since, until) AS h
                    WHERE h.lexemes @@ rarer
                    UNION ALL
                    (SELECT h.id, h.lexemes
                     FROM public.passages_within(tenant, principal, any_owner, owner, kinds, context, systems, sources, about,
                                                 having_metadata, since, until) AS h
                     WHERE h.lexemes @@ others AND (h.lexemes @@ rarer) IS NOT TRUE
                     ORDER BY h.id DESC LIMIT most)) AS p
              ORDER BY rank DESC, p.id DESC LIMIT candidates) AS best;
END $$;
