-- Programs that people let act for them. Whose tenant a program will serve is not known when it makes itself known, so these rows, and the codes that
-- devices wait with, are the platform's and belong to the operator's tenant. Of a client metadata document the address is the id.
CREATE TABLE oauth_clients (
    tenant_id     uuid NOT NULL DEFAULT current_tenant() REFERENCES tenants,
    id            text NOT NULL,
    source        text NOT NULL,
    name          text NOT NULL,
    uri           text,
    redirect_uris text[] NOT NULL,
    address       text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    used_at       timestamptz,
    revoked_at    timestamptz,
    PRIMARY KEY (tenant_id, id)
);

-- What a user has let a client do, the last time it was asked.
CREATE TABLE oauth_consents (
    tenant_id   uuid NOT NULL DEFAULT current_tenant() REFERENCES tenants,
    id          uuid NOT NULL,
    user_id     uuid NOT NULL,
    client_id   text NOT NULL,
    client_name text NOT NULL,
    audience    text NOT NULL,
    scopes      text[] NOT NULL,
    remembered  boolean NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, user_id, client_id, audience),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

-- A code stays for a while after its use, with the session that it began: a second use ends that.
CREATE TABLE authorization_codes (
    tenant_id    uuid NOT NULL DEFAULT current_tenant() REFERENCES tenants,
    code_hash    bytea NOT NULL,
    consent_id   uuid NOT NULL,
    user_id      uuid NOT NULL,
    client_id    text NOT NULL,
    client_name  text NOT NULL,
    redirect_uri text NOT NULL,
    challenge    text NOT NULL,
    audience     text NOT NULL,
    scopes       text[] NOT NULL,
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz,
    session_id   uuid,
    used_again   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, code_hash),
    FOREIGN KEY (tenant_id, consent_id) REFERENCES oauth_consents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX authorization_codes_consent ON authorization_codes (tenant_id, consent_id);

CREATE TABLE device_codes (
    tenant_id      uuid NOT NULL DEFAULT current_tenant() REFERENCES tenants,
    code_hash      bytea NOT NULL,
    user_code_hash bytea NOT NULL,
    client_id      text NOT NULL,
    client_name    text NOT NULL,
    audience       text NOT NULL,
    scopes         text[] NOT NULL,
    address        text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    interval_s     integer NOT NULL,
    polled_at      timestamptz,
    state          text NOT NULL DEFAULT 'pending',
    user_tenant_id uuid,
    user_id        uuid,
    PRIMARY KEY (tenant_id, code_hash),
    UNIQUE (tenant_id, user_code_hash)
);

ALTER TABLE oauth_clients ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE oauth_consents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE authorization_codes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE device_codes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON oauth_clients USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY tenant ON oauth_consents USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY tenant ON authorization_codes USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY tenant ON device_codes USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT, UPDATE ON oauth_clients TO devops_mcp_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON oauth_consents TO devops_mcp_app;
GRANT SELECT, INSERT, UPDATE (used_at, session_id, used_again) ON authorization_codes TO devops_mcp_app;
GRANT SELECT, INSERT, DELETE, UPDATE (interval_s, polled_at, state, user_tenant_id, user_id, scopes) ON device_codes TO devops_mcp_app;
GRANT SELECT, DELETE ON oauth_clients, authorization_codes, device_codes TO devops_mcp_worker;
