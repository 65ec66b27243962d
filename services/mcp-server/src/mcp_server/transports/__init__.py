"""How messages reach the protocol: WebSocket and Streamable HTTP."""
