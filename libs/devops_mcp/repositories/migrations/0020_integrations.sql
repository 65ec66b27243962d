-- Integrations that a tenant makes itself; those of the configuration file are not here. `sealed` holds the credentials and the webhook secrets, for
-- this row, its version and the addresses in `options` only. `version` grows with every change, and with it all that was made of the row ends.
CREATE TABLE integrations (
    tenant_id         uuid NOT NULL DEFAULT current_tenant() REFERENCES tenants,
    id                uuid NOT NULL,
    name              text NOT NULL,
    system            text NOT NULL,
    read_only         boolean NOT NULL,
    credential_policy text NOT NULL,
    options           jsonb NOT NULL,
    sealed            bytea NOT NULL,
    version           integer NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);

-- What a person has for an integration, by whose name since those of the configuration file have no row. It is sealed for the integration's
-- addresses, so that it is never shown to another place.
CREATE TABLE personal_credentials (
    tenant_id   uuid NOT NULL DEFAULT current_tenant(),
    integration text NOT NULL,
    user_id     uuid NOT NULL,
    sealed      bytea NOT NULL,
    version     uuid NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, integration, user_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX personal_credentials_user ON personal_credentials (tenant_id, user_id);

ALTER TABLE integrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE personal_credentials ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON integrations USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY tenant ON personal_credentials USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT ON integrations, personal_credentials TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT, UPDATE, DELETE ON integrations, personal_credentials TO devops_mcp_app;
GRANT UPDATE (sealed) ON integrations, personal_credentials TO devops_mcp_worker;

-- Every process asks again and again which integrations there are and whose tenants are suspended, and then reads what changed as that tenant.
-- Nothing of what is in a row is told here.
CREATE POLICY lookup ON integrations FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION installed_integrations() RETURNS TABLE (tenant_id uuid, suspended boolean, id uuid, version integer)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    BEGIN ATOMIC
        SELECT t.tenant_id, t.suspended_at IS NOT NULL, i.id, i.version
        FROM public.tenants AS t LEFT JOIN public.integrations AS i ON i.tenant_id = t.tenant_id
        WHERE t.suspended_at IS NOT NULL OR i.id IS NOT NULL;
    END;
REVOKE ALL ON FUNCTION installed_integrations FROM PUBLIC;
GRANT EXECUTE ON FUNCTION installed_integrations TO devops_mcp_app, devops_mcp_worker;
