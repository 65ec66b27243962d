-- A name is one word to PostgreSQL's parser: `PaymentService`, `acme/shop` and `java/sql-injection` were found by the whole of it only. Passages are
-- indexed, and questions asked, by the words within names as well. Such a name has a capital, a point or a slash within. Snakes and hyphens the
-- parser takes apart by itself; of addresses of the web and of times nothing is taken, nor of numbers.
CREATE FUNCTION words_of(said text) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    apart text;
BEGIN
    IF said ~ '[[:alnum:]][./][[:alnum:]]|[[:lower:]][[:upper:]]|[[:upper:]]{2}[[:lower:]]{2}' THEN
        SELECT string_agg(regexp_replace(regexp_replace(regexp_replace(name[1],
                   '([[:lower:][:digit:]])([[:upper:]])', '\1 \2', 'g'), '([[:upper:]])([[:upper:]][[:lower:]]{2})', '\1 \2', 'g'),
                   '[^[:alnum:]]+', ' ', 'g'), ' ')
        INTO apart
        FROM regexp_matches(said, '(\S*(?:[[:alnum:]][./][[:alnum:]]|[[:lower:]][[:upper:]]|[[:upper:]]{2}[[:lower:]]{2})\S*)', 'g') AS name
        WHERE name[1] ~ '[[:alpha:]]{2}' AND name[1] !~ '://|^\d{4}-\d\d-\d\dT';
    END IF;
    RETURN CASE WHEN apart IS NULL THEN to_tsvector('english', said)
                ELSE to_tsvector('english', said) || to_tsvector('english', apart) END;
END $$;

CREATE FUNCTION keep_words() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.lexemes := setweight(public.words_of(NEW.title), 'A') || setweight(public.words_of(NEW.text), 'B');
    RETURN NEW;
END $$;
-- What is indexed already stays as it is, and is found as before: to index it anew would write every index of the table.
ALTER TABLE passages ALTER COLUMN lexemes DROP EXPRESSION;
CREATE TRIGGER words BEFORE INSERT OR UPDATE OF title, text ON passages FOR EACH ROW EXECUTE FUNCTION keep_words();

-- As in 0049, but for the question's words.
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
    each     tsquery[] := ARRAY(SELECT quote_literal(lexeme)::tsquery FROM unnest(public.words_of(question)));
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
