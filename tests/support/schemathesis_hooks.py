"""What Schemathesis does not know by itself: how to write JSON Lines. Loaded by name, through SCHEMATHESIS_HOOKS."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context: schemathesis.SerializationContext, value: object) -> bytes:
    """One line of whatever was made up."""
    return value if isinstance(value, bytes) else json.dumps(value, default=str).encode()
