-- A context ends by itself at expires_at. A fork begins with the items of another context, up to the position forked_at. Items do not change,
-- so a snapshot is a name for a position.
ALTER TABLE contexts ADD COLUMN expires_at timestamptz, ADD COLUMN forked_from uuid, ADD COLUMN forked_at integer;
CREATE INDEX contexts_expiry ON contexts (tenant_id, expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE context_snapshots (
    tenant_id  uuid NOT NULL DEFAULT current_tenant(),
    id         uuid NOT NULL,
    context_id uuid NOT NULL,
    name       text NOT NULL,
    position   integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, context_id, name),
    FOREIGN KEY (tenant_id, context_id) REFERENCES contexts ON DELETE CASCADE
);
ALTER TABLE context_snapshots ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON context_snapshots USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT, DELETE ON context_snapshots TO devops_mcp_app, devops_mcp_worker;
