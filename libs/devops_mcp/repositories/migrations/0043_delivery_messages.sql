-- The message that a delivery waits for: nothing but its death ends the delivery, and where it did, its letter lets it go on. Of those that
-- are on their way already nobody knows it.
ALTER TABLE webhook_deliveries ADD COLUMN message_id uuid;
