"""The Model Context Protocol for the suite: every transport over one core."""
