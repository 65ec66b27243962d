-- Which outside identity somebody signed in by: what was begun by it goes with it. Null: by a password, or before this was written down.

ALTER TABLE sessions ADD COLUMN identity_id uuid;
ALTER TABLE sessions ADD FOREIGN KEY (tenant_id, identity_id) REFERENCES identities (tenant_id, id) ON DELETE CASCADE;
CREATE INDEX sessions_identity ON sessions (tenant_id, identity_id) WHERE identity_id IS NOT NULL;

ALTER TABLE authorization_codes ADD COLUMN identity_id uuid;
ALTER TABLE authorization_codes ADD FOREIGN KEY (tenant_id, identity_id) REFERENCES identities (tenant_id, id) ON DELETE CASCADE;
CREATE INDEX authorization_codes_identity ON authorization_codes (tenant_id, identity_id) WHERE identity_id IS NOT NULL;

-- A device waits in the operator's tenant, wherever its user is.
ALTER TABLE device_codes ADD COLUMN identity_id uuid;
GRANT UPDATE (identity_id) ON device_codes TO devops_mcp_app;
