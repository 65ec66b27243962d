-- Messages of one group are published in the order of their `place`, which is drawn while the group is locked, so that it is the order of
-- commits. An older relay, which does not know the columns, does not know the queues either whose messages have them, and leaves them alone.
CREATE SEQUENCE outbox_places;
ALTER TABLE outbox ADD COLUMN group_id uuid, ADD COLUMN place bigint;
ALTER TABLE outbox ADD CONSTRAINT outbox_group_has_place CHECK ((group_id IS NULL) = (place IS NULL));
CREATE INDEX outbox_groups ON outbox (tenant_id, queue, group_id, place) WHERE group_id IS NOT NULL;
GRANT USAGE ON SEQUENCE outbox_places TO devops_mcp_app, devops_mcp_worker;
