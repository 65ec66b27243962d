-- Stored events of a range handed once more to a consumer, some a transaction: `position` is the last one handed on, and moves with the effect.
CREATE TABLE event_replays (
    tenant_id    uuid NOT NULL DEFAULT current_tenant(),
    id           uuid NOT NULL,
    requested_by uuid NOT NULL,
    events       jsonb NOT NULL,
    consumer     text NOT NULL,
    endpoint_id  uuid,
    status       text NOT NULL DEFAULT 'running',
    position     uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    total        integer NOT NULL,
    done         integer NOT NULL DEFAULT 0,
    error        text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    PRIMARY KEY (tenant_id, id)
);
-- One replay to a consumer at a time.
CREATE UNIQUE INDEX event_replays_running ON event_replays (tenant_id, consumer, endpoint_id) NULLS NOT DISTINCT WHERE status = 'running';
ALTER TABLE event_replays ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON event_replays USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, UPDATE ON event_replays TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT ON event_replays TO devops_mcp_app;
GRANT DELETE ON event_replays TO devops_mcp_worker;

-- One event goes to one endpoint once, and once more with each replay.
ALTER TABLE webhook_deliveries ADD COLUMN replay_id uuid;
ALTER TABLE webhook_deliveries
    DROP CONSTRAINT webhook_deliveries_tenant_id_endpoint_id_event_id_key,
    ADD CONSTRAINT webhook_deliveries_once UNIQUE NULLS NOT DISTINCT (tenant_id, endpoint_id, event_id, replay_id);
CREATE INDEX webhook_deliveries_replay ON webhook_deliveries (tenant_id, replay_id) WHERE replay_id IS NOT NULL;
