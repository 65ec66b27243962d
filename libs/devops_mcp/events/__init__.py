"""The closed union of events, their codec, the table of queues, and the queue itself."""
