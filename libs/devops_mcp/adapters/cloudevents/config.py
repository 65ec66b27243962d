"""Settings of a sender of CloudEvents."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Origin = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^(\*|[a-z0-9_][a-z0-9_.:-]*)$")]


class CloudEventsSettings(BaseModel):
    """What we answer to a sender that asks leave to deliver. Whoever is given it still needs the webhook secret as a bearer token.

    `allowed_origins` are the names that senders call themselves by, such as `eventgrid.azure.net`; `*` is any. `allowed_rate` is how many
    deliveries a minute a sender may make; None: as many as it likes. It is asked to keep to it, and not held to it here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed_origins: tuple[Origin, ...] = Field(default=("*",), max_length=100)
    allowed_rate: int | None = Field(default=None, ge=1, le=1_000_000)
