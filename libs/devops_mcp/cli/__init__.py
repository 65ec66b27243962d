"""The command `devops-mcp`, and the demo that plays the main story."""
