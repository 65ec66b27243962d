-- Sign-ins. What a session may is put together when its token is looked up; its refresh token is kept as a hash: the one that is good, and the one
-- before, which for a moment is answered again with the one that is good (`salt` is what that one was made with).
CREATE TABLE sessions (
    tenant_id     uuid NOT NULL DEFAULT current_tenant() REFERENCES tenants,
    id            uuid NOT NULL,
    user_id       uuid NOT NULL,
    client_id     text NOT NULL,
    client_name   text NOT NULL,
    audience      text NOT NULL,
    scopes        text[] NOT NULL,
    address       text,
    refresh_hash  bytea NOT NULL,
    previous_hash bytea,
    salt          bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    refreshed_at  timestamptz NOT NULL,
    idle_until    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX sessions_user ON sessions (tenant_id, user_id);
CREATE INDEX sessions_end ON sessions (tenant_id, expires_at);

-- The keys that sign access tokens, private part sealed. They are the platform's and so belong to the operator's tenant. Only what opens is believed:
-- a row that somebody else wrote signs and verifies nothing.
CREATE TABLE signing_keys (
    tenant_id  uuid NOT NULL DEFAULT current_tenant() REFERENCES tenants,
    kid        text NOT NULL,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    signs_from timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, kid)
);

ALTER TABLE sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE signing_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sessions USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY tenant ON signing_keys USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT ON sessions TO devops_mcp_app;
GRANT UPDATE (refresh_hash, previous_hash, salt, refreshed_at, idle_until, revoked_at) ON sessions TO devops_mcp_app;
GRANT SELECT, DELETE ON sessions TO devops_mcp_worker;
GRANT SELECT, INSERT, DELETE ON signing_keys TO devops_mcp_app;
