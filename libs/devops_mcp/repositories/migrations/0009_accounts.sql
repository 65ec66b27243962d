-- People, the roles that are made for a tenant, and what an API key has besides its own grants. Roles are named: the built-in ones are the code's,
-- the others are in `roles`. What a credential may is put together when it is looked up, so that every change counts from the next look.
ALTER TABLE tenants ADD COLUMN slug text, ADD COLUMN suspended_at timestamptz;
CREATE INDEX tenants_slug ON tenants (slug);

CREATE TABLE users (
    tenant_id     uuid NOT NULL DEFAULT current_tenant() REFERENCES tenants,
    id            uuid NOT NULL,
    username      text NOT NULL,
    email         text,
    name          text NOT NULL,
    status        text NOT NULL,
    roles         text[] NOT NULL,
    grants        text[] NOT NULL,
    password_hash text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, username),
    UNIQUE (tenant_id, email)
);

CREATE TABLE roles (
    tenant_id   uuid NOT NULL DEFAULT current_tenant() REFERENCES tenants,
    name        text NOT NULL,
    description text NOT NULL,
    grants      text[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE roles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON users USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY tenant ON roles USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());

-- A key of a user ends with the user, and never does more. The secret before stays good for a while where a rotation says so.
ALTER TABLE api_keys
    ADD COLUMN roles text[] NOT NULL DEFAULT '{}',
    ADD COLUMN user_id uuid,
    ADD COLUMN previous_hash bytea,
    ADD COLUMN previous_until timestamptz,
    ADD FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE;
CREATE INDEX api_keys_user ON api_keys (tenant_id, user_id) WHERE user_id IS NOT NULL;

-- The grants of those among `wanted` that are custom roles of the tenant.
CREATE FUNCTION custom_grants(of_tenant uuid, wanted text[]) RETURNS text[]
    LANGUAGE sql STABLE
    BEGIN ATOMIC
        SELECT coalesce(array_agg(DISTINCT g), '{}') FROM public.roles AS r, unnest(r.grants) AS g
        WHERE r.tenant_id = of_tenant AND r.name = ANY (wanted);
    END;

-- Before a caller's tenant is known, the owner looks it up by a key's prefix, or finds the tenant that a login names; a suspended tenant's
-- keys and users are not found. Old code reads the columns it knows.
CREATE POLICY lookup ON roles FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY lookup ON users FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY lookup ON tenants FOR SELECT TO CURRENT_USER USING (true);
CREATE OR REPLACE FUNCTION find_api_keys(wanted text) RETURNS SETOF api_keys
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    BEGIN ATOMIC
        SELECT k.* FROM public.api_keys AS k JOIN public.tenants AS t ON t.tenant_id = k.tenant_id
        LEFT JOIN public.users AS u ON u.tenant_id = k.tenant_id AND u.id = k.user_id
        WHERE k.prefix = wanted AND t.suspended_at IS NULL AND (k.user_id IS NULL OR u.status = 'active') LIMIT 4;
    END;
CREATE FUNCTION find_credentials(wanted text) RETURNS TABLE (
        id uuid, tenant_id uuid, prefix text, secret_hash bytea, kind text, name text, roles text[], grants text[], toolsets text[], user_id uuid,
        created_at timestamptz, expires_at timestamptz, revoked_at timestamptz, previous_hash bytea, previous_until timestamptz,
        role_grants text[], user_roles text[], user_grants text[])
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    BEGIN ATOMIC
        SELECT k.id, k.tenant_id, k.prefix, k.secret_hash, k.kind, k.name, k.roles, k.grants, k.toolsets, k.user_id,
               k.created_at, k.expires_at, k.revoked_at, k.previous_hash, k.previous_until,
               public.custom_grants(k.tenant_id, k.roles), coalesce(u.roles, '{}'),
               coalesce(u.grants || public.custom_grants(k.tenant_id, u.roles), '{}')
        FROM public.find_api_keys(wanted) AS k
        LEFT JOIN public.users AS u ON u.tenant_id = k.tenant_id AND u.id = k.user_id;
    END;
CREATE FUNCTION find_tenant(wanted text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    BEGIN ATOMIC
        SELECT t.tenant_id FROM public.tenants AS t WHERE t.slug = wanted OR t.tenant_id::text = wanted;
    END;
-- For who runs the platform; a caller of another tenant gets nothing.
CREATE FUNCTION list_tenants(after_id uuid, up_to integer) RETURNS SETOF tenants
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    BEGIN ATOMIC
        SELECT t.* FROM public.tenants AS t
        WHERE public.current_tenant() = '00000000-0000-7000-8000-000000000001' AND (after_id IS NULL OR t.tenant_id > after_id)
        ORDER BY t.tenant_id LIMIT up_to;
    END;
REVOKE ALL ON FUNCTION find_credentials, find_tenant, list_tenants FROM PUBLIC;

GRANT EXECUTE ON FUNCTION find_credentials, find_tenant, list_tenants TO devops_mcp_app;
GRANT SELECT ON users, roles TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT, UPDATE, DELETE ON users, roles TO devops_mcp_app;
GRANT INSERT, UPDATE (name, slug, suspended_at) ON tenants TO devops_mcp_app;
GRANT INSERT, UPDATE (secret_hash, previous_hash, previous_until, expires_at, revoked_at) ON api_keys TO devops_mcp_app;

SELECT set_config('app.tenant', '00000000-0000-7000-8000-000000000001', true);
UPDATE tenants SET slug = 'default' WHERE tenant_id = '00000000-0000-7000-8000-000000000001';
