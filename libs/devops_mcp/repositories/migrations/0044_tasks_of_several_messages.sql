-- The messages of a task that are still to come, or came and were given back: it ends with the death of the last. Null: nobody knows of
-- others than `message_id`.
ALTER TABLE tasks ADD COLUMN message_ids uuid[];
