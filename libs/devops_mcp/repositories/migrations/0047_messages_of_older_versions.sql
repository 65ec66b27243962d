-- Older versions, which run beside this one while it is rolled out, change what waits for a message and do not say for which.

-- They know of one message of a task: that one is added to those that are to come, or the death of another would end the task. An attempt that
-- asks something has handled its own to an end.
CREATE FUNCTION keep_task_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'working' THEN
        NEW.message_ids := NEW.message_ids || NEW.message_id;
    ELSE
        NEW.message_ids := coalesce(array_remove(NEW.message_ids, NEW.message_id), '{}');
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER task_messages BEFORE UPDATE OF status, message_id ON tasks FOR EACH ROW
WHEN ((NEW.status = 'working' AND NEW.message_id IS DISTINCT FROM OLD.message_id AND NEW.message_id <> ALL (NEW.message_ids))
      OR (OLD.status = 'working' AND NEW.status = 'input_required'))
EXECUTE FUNCTION keep_task_messages();

-- A delivery's next attempt has a message of its own: where it is not told, nobody knows it, and whichever dies next ends the delivery.
CREATE FUNCTION forget_delivery_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.message_id := NULL;
    RETURN NEW;
END $$;

CREATE TRIGGER delivery_message BEFORE UPDATE OF next_at ON webhook_deliveries FOR EACH ROW
WHEN (NEW.status = 'pending' AND NEW.next_at IS DISTINCT FROM OLD.next_at AND NEW.message_id = OLD.message_id)
EXECUTE FUNCTION forget_delivery_message();
