-- Which model embeds what is an owner's, and how far its passages have been brought into that model's space. owner_id is the nil UUID for the
-- tenant: what has no owner, and the owners that have chosen nothing. model NULL: the installation's default.
-- All up to `settled` lie in `space`; for those behind it and up to `reached`, vectors were asked for at asked_at. finished_at NULL: under way.
CREATE TABLE embedding_choices (
    tenant_id   uuid NOT NULL DEFAULT current_tenant(),
    owner_id    uuid NOT NULL,
    model       text,
    space       text NOT NULL,
    settled     uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    reached     uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    asked_at    timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, owner_id)
);

-- Vectors that were paid for, by the digest of what was embedded: a text is paid for once a tenant.
CREATE TABLE embedding_cache (
    tenant_id  uuid NOT NULL DEFAULT current_tenant(),
    space      text NOT NULL,
    digest     bytea NOT NULL,
    embedding  vector NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, space, digest)
);
CREATE INDEX embedding_cache_age ON embedding_cache (tenant_id, created_at);

-- What services were asked to embed, by day (UTC); principal_id is the nil UUID for what is the tenant's. cost is in US dollars, at the price
-- that was configured at the time.
CREATE TABLE embedding_usage (
    tenant_id    uuid NOT NULL DEFAULT current_tenant(),
    principal_id uuid NOT NULL,
    model        text NOT NULL,
    day          timestamptz NOT NULL,
    texts        bigint NOT NULL DEFAULT 0,
    cached       bigint NOT NULL DEFAULT 0,
    tokens       bigint NOT NULL DEFAULT 0,
    cost         numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, principal_id, model, day)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['embedding_choices', 'embedding_cache', 'embedding_usage'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())',
                       name);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON embedding_choices, embedding_cache, embedding_usage TO devops_mcp_app, devops_mcp_worker;

-- Which spaces a tenant's passages lie in, and how many of whose.
CREATE INDEX passages_space ON passages (tenant_id, space, owner_id);

-- Creates the index of a space that has none, before its first vector is stored: then there is nothing to build, and writers wait no longer
-- than a look at each row takes. (An index cannot be created CONCURRENTLY in a function, and the services own nothing.) The worker alone may,
-- and not without end. True: it was created now.
CREATE FUNCTION ensure_space_index(wanted text, dimensions integer) RETURNS boolean
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
                   'WHERE space = %L', index_name, dimensions, wanted);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION ensure_space_index FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_space_index TO devops_mcp_worker;
