-- Who manages users links identities and takes them away, by an id.
ALTER TABLE identities ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid();
ALTER TABLE identities ADD UNIQUE (tenant_id, id);
GRANT DELETE ON identities TO devops_mcp_app;
