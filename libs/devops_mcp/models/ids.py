"""Identifiers: UUIDv7, so that ids sort by the time they were made."""

from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

DEFAULT_TENANT_ID = UUID("00000000-0000-7000-8000-000000000001")
"""The tenant that the first migration creates; installations with one tenant use no other."""
OPERATOR_TENANT_ID = DEFAULT_TENANT_ID
"""The tenant of who runs the platform: only there can somebody be allowed to create and suspend tenants."""


def new_id() -> UUID:
    """A fresh UUIDv7 (RFC 9562 §5.7)."""
    return uuid7()


def first_id_at(moment: datetime) -> UUID:
    """Before every UUIDv7 that was made at `moment` or later, after every earlier one."""
    return UUID(int=max(int(moment.timestamp() * 1_000), 0) << 80)
