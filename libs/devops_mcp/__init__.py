"""The library under DevOps MCP."""
