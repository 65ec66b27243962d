"""What the suite does, once, for MCP, HTTP, the worker and the command line alike."""
