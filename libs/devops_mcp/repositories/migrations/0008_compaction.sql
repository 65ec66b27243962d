-- Long contexts are summed up in the background, as far as compacted_to; pending_tokens are those of the items behind it that are no summaries.
-- compaction_id is the message that does it, NULL where none is under way. compact_above NULL: as the operator has set for all.
ALTER TABLE contexts
    ADD COLUMN pending_tokens integer NOT NULL DEFAULT 0,
    ADD COLUMN compacted_to integer NOT NULL DEFAULT 0,
    ADD COLUMN compaction_id uuid,
    ADD COLUMN compact_above integer;
-- The owner sees no tenant's rows while its own row security is forced.
ALTER TABLE contexts NO FORCE ROW LEVEL SECURITY;
UPDATE contexts SET pending_tokens = token_count;
ALTER TABLE contexts FORCE ROW LEVEL SECURITY;
