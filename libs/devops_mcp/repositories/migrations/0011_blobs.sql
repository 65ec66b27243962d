-- What is too large for a row: texts of items, attachments, payloads of events. `store` says where the bytes are: here in blob_contents, or in S3
-- under the tenant and the id. A blob that nothing refers to is removed, its bytes first; whoever refers to one is checked by its foreign key.
CREATE TABLE blobs (
    tenant_id  uuid NOT NULL DEFAULT current_tenant(),
    id         uuid NOT NULL,
    store      text NOT NULL,
    size       integer NOT NULL,
    sha256     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE blob_contents (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id        uuid NOT NULL,
    body      bytea NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, id) REFERENCES blobs ON DELETE CASCADE
);
-- Compressing again what is mostly compressed, or read once, costs more than it saves.
ALTER TABLE blob_contents ALTER COLUMN body SET STORAGE EXTERNAL;

-- With a blob, `text` is the beginning of the item's; with an attachment, the blob is the file.
ALTER TABLE context_items ADD COLUMN blob_id uuid, ADD COLUMN attachment jsonb,
    ADD FOREIGN KEY (tenant_id, blob_id) REFERENCES blobs;
CREATE INDEX context_items_blob ON context_items (tenant_id, blob_id) WHERE blob_id IS NOT NULL;
ALTER TABLE events ADD COLUMN payload_blob uuid, ADD FOREIGN KEY (tenant_id, payload_blob) REFERENCES blobs;
CREATE INDEX events_payload_blob ON events (tenant_id, payload_blob) WHERE payload_blob IS NOT NULL;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['blobs', 'blob_contents'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())',
                       name);
    END LOOP;
END $$;
GRANT SELECT, INSERT ON blobs, blob_contents TO devops_mcp_app, devops_mcp_worker;
GRANT DELETE ON blobs, blob_contents TO devops_mcp_worker;
