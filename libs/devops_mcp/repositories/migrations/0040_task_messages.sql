-- The message that a task waits for: nothing but its death ends the task, and where it did, its letter lets the task run again, with as many
-- attempts as before. Of tasks that wait already nobody knows it.
ALTER TABLE tasks ADD COLUMN message_id uuid, ADD COLUMN attempts_before integer NOT NULL DEFAULT 0;
