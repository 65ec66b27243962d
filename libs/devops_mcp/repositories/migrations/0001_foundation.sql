-- The first schema. Rules that every later migration keeps; a contract test reads the catalogue:
--   a table with tenant_id has row security enabled and forced, and its unique keys begin with tenant_id;
--   the services' roles own nothing, cannot bypass row security and have no TRUNCATE;
--   a SECURITY DEFINER function is on the list in tests/contract/test_row_security.py, or is refused.
-- The group roles exist before: devops_mcp_app (rest-api, mcp-server) and devops_mcp_worker (worker).

CREATE EXTENSION IF NOT EXISTS vector;

-- The tenant of the running transaction; NULL, and so no rows, where none is set. Once set LOCAL in a session, the setting is '' afterwards.
CREATE FUNCTION current_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.tenant', true), '')::uuid;

CREATE TABLE tenants (
    tenant_id  uuid PRIMARY KEY,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    tenant_id   uuid NOT NULL REFERENCES tenants,
    id          uuid NOT NULL,
    prefix      text NOT NULL,
    secret_hash bytea NOT NULL,
    kind        text NOT NULL,
    name        text NOT NULL,
    grants      text[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    revoked_at  timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX api_keys_prefix ON api_keys (prefix);

-- A delivery may hold several events; the first of them has the id delivery_id and keeps the vendor's bytes as payload.
-- Events and audit records are partitioned by time: their ids are UUIDv7, so a range of ids is a range of time.
CREATE TABLE events (
    tenant_id    uuid NOT NULL DEFAULT current_tenant(),
    id           uuid NOT NULL,
    type         text NOT NULL,
    system       text NOT NULL,
    source       text NOT NULL,
    subject      text NOT NULL,
    event        jsonb NOT NULL,
    delivery_id  uuid NOT NULL,
    payload      bytea,
    trace        text,
    received_at  timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX events_subject ON events (tenant_id, subject, id);
CREATE INDEX events_processed ON events (tenant_id, processed_at);

CREATE TABLE audit_log (
    tenant_id   uuid NOT NULL DEFAULT current_tenant(),
    id          uuid NOT NULL,
    at          timestamptz NOT NULL,
    actor_id    uuid NOT NULL,
    actor       text NOT NULL,
    action      text NOT NULL,
    target      text NOT NULL,
    outcome     text NOT NULL,
    error_code  text,
    duration_ms double precision NOT NULL,
    arguments   jsonb NOT NULL,
    trace_id    text,
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);

CREATE FUNCTION uuid_floor(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid;

-- Creates the monthly partitions from last month to `ahead` months from now. A partition may not be read directly: it has row security
-- and no policy.
CREATE FUNCTION ensure_partitions(ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    parent text;
    month  timestamptz;
    child  text;
    made   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('devops_mcp.ensure_partitions'));
    FOREACH parent IN ARRAY ARRAY['events', 'audit_log'] LOOP
        FOR step IN -1..ahead LOOP
            month := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => step)) AT TIME ZONE 'UTC';
            child := parent || to_char(month AT TIME ZONE 'UTC', '"_"YYYY"_"MM');
            IF to_regclass('public.' || child) IS NULL THEN
                EXECUTE format('CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)', child, parent,
                               public.uuid_floor(month),
                               public.uuid_floor((month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'));
                EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', child);
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION ensure_partitions FROM PUBLIC;

-- What was already accepted from a source: the vendor's delivery ids, and digests of bodies where the id is not signed.
CREATE TABLE delivery_keys (
    tenant_id  uuid NOT NULL DEFAULT current_tenant(),
    source     text NOT NULL,
    key        text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, source, key)
);

CREATE TABLE outbox (
    tenant_id  uuid NOT NULL DEFAULT current_tenant(),
    id         uuid NOT NULL,
    queue      text NOT NULL,
    message    text NOT NULL,
    trace      text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX outbox_order ON outbox (id);

CREATE TABLE processed_messages (
    tenant_id    uuid NOT NULL DEFAULT current_tenant(),
    consumer     text NOT NULL,
    message_id   uuid NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, consumer, message_id)
);

CREATE TABLE contexts (
    tenant_id   uuid NOT NULL DEFAULT current_tenant(),
    id          uuid NOT NULL,
    owner_id    uuid NOT NULL,
    title       text NOT NULL,
    metadata    jsonb NOT NULL DEFAULT '{}',
    item_count  integer NOT NULL DEFAULT 0,
    token_count integer NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX contexts_owner ON contexts (tenant_id, owner_id, id);

CREATE TABLE context_items (
    tenant_id  uuid NOT NULL DEFAULT current_tenant(),
    context_id uuid NOT NULL,
    position   integer NOT NULL,
    id         uuid NOT NULL,
    kind       text NOT NULL,
    role       text,
    text       text NOT NULL,
    tokens     integer NOT NULL,
    metadata   jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, context_id, position),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, context_id) REFERENCES contexts ON DELETE CASCADE
);

-- Searchable text. A passage can be found by its words from the transaction that wrote it, and by its meaning once it has its vector.
-- owner_id is set for what belongs to one principal, such as a context's items; NULL is the whole tenant's.
CREATE TABLE passages (
    tenant_id   uuid NOT NULL DEFAULT current_tenant(),
    id          uuid NOT NULL,
    kind        text NOT NULL,
    source_id   uuid NOT NULL,
    part        integer NOT NULL,
    context_id  uuid,
    owner_id    uuid,
    title       text NOT NULL,
    text        text NOT NULL,
    uri         text NOT NULL,
    occurred_at timestamptz NOT NULL,
    metadata    jsonb NOT NULL DEFAULT '{}',
    lexemes     tsvector NOT NULL GENERATED ALWAYS AS
                (setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', text), 'B')) STORED,
    space       text,
    embedding   halfvec,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, kind, source_id, part),
    FOREIGN KEY (tenant_id, context_id) REFERENCES contexts ON DELETE CASCADE
);
CREATE INDEX passages_lexemes ON passages USING gin (lexemes);
CREATE INDEX passages_context ON passages (tenant_id, context_id) WHERE context_id IS NOT NULL;
-- One partial index a space; the cast fixes the dimensions.
CREATE INDEX passages_minilm ON passages USING hnsw ((embedding::halfvec(384)) halfvec_cosine_ops)
    WHERE space = 'all-MiniLM-L6-v2/int8/384';

CREATE TABLE kept_results (
    tenant_id  uuid NOT NULL DEFAULT current_tenant(),
    id         uuid NOT NULL,
    owner_id   uuid NOT NULL,
    tool       text NOT NULL,
    body       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX kept_results_expiry ON kept_results (tenant_id, expires_at);

-- Writes that a caller marked with a key. While `answer` is NULL the call is under way, until `lease_until`; then it may be taken over.
CREATE TABLE idempotent_calls (
    tenant_id    uuid NOT NULL DEFAULT current_tenant(),
    principal_id uuid NOT NULL,
    operation    text NOT NULL,
    key          text NOT NULL,
    digest       bytea NOT NULL,
    lease_until  timestamptz NOT NULL,
    answer       jsonb,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, principal_id, operation, key)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'api_keys', 'events', 'audit_log', 'delivery_keys', 'outbox', 'processed_messages',
                                'contexts', 'context_items', 'passages', 'kept_results', 'idempotent_calls'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())',
                       name);
    END LOOP;
END $$;

-- The relay publishes for all tenants; it may take rows from the outbox and do nothing else across tenants.
CREATE POLICY relay ON outbox FOR ALL TO devops_mcp_worker USING (true) WITH CHECK (tenant_id = current_tenant());

-- A caller is unknown until its key is found, so no tenant is set yet: the owner may look a key up by its prefix, through one function.
CREATE POLICY lookup ON api_keys FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION find_api_keys(wanted text) RETURNS SETOF api_keys
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    BEGIN ATOMIC
        SELECT k.* FROM public.api_keys AS k WHERE k.prefix = wanted LIMIT 4;
    END;
REVOKE ALL ON FUNCTION find_api_keys FROM PUBLIC;

GRANT USAGE ON SCHEMA public TO devops_mcp_app, devops_mcp_worker;
GRANT EXECUTE ON FUNCTION find_api_keys TO devops_mcp_app;
GRANT EXECUTE ON FUNCTION ensure_partitions TO devops_mcp_worker;
GRANT SELECT ON tenants, api_keys, events, audit_log, delivery_keys TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT ON events, audit_log, delivery_keys, outbox TO devops_mcp_app, devops_mcp_worker;
GRANT UPDATE (processed_at) ON events TO devops_mcp_worker;
GRANT SELECT, DELETE, UPDATE ON outbox TO devops_mcp_worker;
GRANT SELECT, INSERT, DELETE ON processed_messages TO devops_mcp_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON contexts, context_items, passages, kept_results, idempotent_calls
    TO devops_mcp_app, devops_mcp_worker;

SELECT ensure_partitions(2);
INSERT INTO tenants (tenant_id, name)
    SELECT set_config('app.tenant', '00000000-0000-7000-8000-000000000001', true)::uuid, 'default';
