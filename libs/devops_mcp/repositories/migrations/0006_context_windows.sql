-- A window shows the pinned items and those of the system first, and summaries in place of the items they stand for: positions covers_from to
-- covers_to of their context.
ALTER TABLE context_items
    ADD COLUMN pinned boolean NOT NULL DEFAULT false,
    ADD COLUMN covers_from integer,
    ADD COLUMN covers_to integer,
    ADD CONSTRAINT context_items_covers CHECK (covers_from >= 1 AND covers_from <= covers_to AND covers_to < position);
CREATE INDEX context_items_anchors ON context_items (tenant_id, context_id, position) WHERE pinned OR role = 'system';
CREATE INDEX context_items_summaries ON context_items (tenant_id, context_id, covers_to) WHERE covers_to IS NOT NULL;
