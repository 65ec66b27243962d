"""Which stored events are wanted."""

from pydantic import Field

from devops_mcp.models.base import OWN_SYSTEM, Model, Moment


class EventsWanted(Model):
    """All that are named must hold; what is not named may be anything, but for events of our own, which must be named.

    `type` may end in `*`, as `alert.*`. `since` and `until` bound the time at which we received an event; `until` itself is outside.
    """

    system: str | None = Field(default=None, max_length=40)
    source: str | None = Field(default=None, max_length=63)
    subject: str | None = Field(default=None, max_length=300)
    type: str | None = Field(default=None, max_length=60, description="As `alert.*`.")
    since: Moment | None = None
    until: Moment | None = None

    @property
    def with_our_own(self) -> bool:
        """Whether calls of tools and the like are meant too."""
        return self.type is not None or OWN_SYSTEM in (self.system, self.source)
