-- Messages that were given up. The queue's own dead letters are drained into this table: the row is the truth, until it is redriven, purged or
-- too old. message_id is ours where the body could be read, else the queue's.
CREATE TABLE dead_letters (
    tenant_id  uuid NOT NULL DEFAULT current_tenant(),
    id         uuid NOT NULL,
    queue      text NOT NULL,
    message_id text NOT NULL,
    type       text,
    body       text NOT NULL,
    reason     text NOT NULL,
    attempts   integer NOT NULL,
    trace      text,
    died_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, queue, message_id)
);
CREATE INDEX dead_letters_queue ON dead_letters (tenant_id, queue, id);
ALTER TABLE dead_letters ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON dead_letters USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, DELETE ON dead_letters TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT, UPDATE ON dead_letters TO devops_mcp_worker;
