-- Which systems' tools a key's connections list, besides the suite's own; empty: none.
ALTER TABLE api_keys ADD COLUMN toolsets text[] NOT NULL DEFAULT '{}';

-- A function of SQL's own syntax has its columns fixed when it is made.
CREATE OR REPLACE FUNCTION find_api_keys(wanted text) RETURNS SETOF api_keys
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    BEGIN ATOMIC
        SELECT k.* FROM public.api_keys AS k WHERE k.prefix = wanted LIMIT 4;
    END;
