"""PostgreSQL, Redis, the queue and the three services on one machine, without containers or root."""
