"""The lists that clients hold of what we offer."""

from typing import Literal, TypeAlias

Listed: TypeAlias = Literal["tools", "prompts", "resources"]
LISTED: tuple[Listed, ...] = ("tools", "prompts", "resources")
