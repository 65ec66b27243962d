"""What is kept apart from its row because it is large."""

from devops_mcp.models.base import Model

MAX_ATTACHMENT = 25 * 1024 * 1024
"""Bytes."""


class Attachment(Model):
    """A file that came with a context. `sha256` is of its bytes, in hexadecimal."""

    name: str
    media_type: str
    size: int
    sha256: str
