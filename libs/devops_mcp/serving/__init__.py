"""The HTTP surface, hardened once for all three services: server, checks at the border, strict JSON, problem documents."""
