"""Types of what a tenant sets of an integration: each has a most, since it is our service that does the work."""

from typing import Annotated, TypeAlias

from pydantic import Field, SecretStr

Address: TypeAlias = Annotated[str, Field(max_length=2_000)]
"""Of a system; which form it has is the adapter's to say."""
Name: TypeAlias = Annotated[str, Field(max_length=300)]
"""Of somebody or something in the system."""
Secret: TypeAlias = Annotated[SecretStr, Field(max_length=20_000)]
"""A token, a password or a private key."""
