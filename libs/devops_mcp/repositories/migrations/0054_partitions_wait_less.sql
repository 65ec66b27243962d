-- Whoever wants to write or read events or audit records queues up behind who waits to add a month to them, and that one behind all who do so already.
ALTER FUNCTION ensure_partitions(integer) SET lock_timeout = '2s';
