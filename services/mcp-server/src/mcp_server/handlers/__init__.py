"""What the protocol asks of us, one file a capability."""
