-- What a question's words mark in a text: also the names that hold one of them, which the parser takes for one word (see 0055).
CREATE FUNCTION words_or_names(words tsquery, said text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(words || string_agg(quote_literal(whole.lexeme), ' | ')::tsquery, words)
    FROM (SELECT DISTINCT found[1] AS name
          FROM regexp_matches(said, '(\S*(?:[[:alnum:]][./][[:alnum:]]|[[:lower:]][[:upper:]]|[[:upper:]]{2}[[:lower:]]{2})\S*)', 'g') AS found) AS names,
         unnest(to_tsvector('english', name)) AS whole
    WHERE EXISTS (SELECT FROM unnest(public.words_of(name)) AS part
                  WHERE array_to_tsvector(ARRAY[part.lexeme]) @@ words AND strpos(whole.lexeme, part.lexeme) > 0)
$$;
