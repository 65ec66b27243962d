-- How far a vector that comes in looks for those that it is linked with, 64 by default. Among 300,000 a search finds .999 of the nearest with 128,
-- where it finds .969 with 64. What is in an index stays linked as it is until that is built anew: REINDEX INDEX CONCURRENTLY passages_minilm.
DO $$
DECLARE
    index_name text;
BEGIN
    FOR index_name IN SELECT c.relname FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam JOIN pg_index AS i ON i.indexrelid = c.oid
                      WHERE a.amname = 'hnsw' AND i.indrelid = 'public.passages'::regclass
                      ORDER BY c.oid LOOP
        EXECUTE format('ALTER INDEX public.%I SET (ef_construction = 128)', index_name);
    END LOOP;
END $$;

-- As in 0010, with that.
CREATE OR REPLACE FUNCTION ensure_space_index(wanted text, dimensions integer) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    index_name text := 'passages_space_' || left(md5(wanted), 16);
BEGIN
    IF wanted = 'all-MiniLM-L6-v2/int8/384' OR to_regclass('public.' || index_name) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('devops_mcp.ensure_space_index'));
    IF to_regclass('public.' || index_name) IS NOT NULL THEN
        RETURN false;
    END IF;
    IF dimensions NOT BETWEEN 1 AND 4000 OR length(wanted) > 120
       OR (SELECT count(*) FROM pg_class WHERE relname LIKE 'passages\_space\_%') >= 32 THEN
        RAISE EXCEPTION 'no index is made for the space %', left(wanted, 120) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('CREATE INDEX %I ON public.passages USING hnsw ((embedding::public.halfvec(%s)) public.halfvec_cosine_ops) '
                   'WITH (ef_construction = 128) WHERE space = %L', index_name, dimensions, wanted);
    RETURN true;
END $$;
