"""Arguments that several tools share."""

from typing import Annotated

from pydantic import Field

PromQL = Annotated[str, Field(min_length=1, max_length=20_000, description="PromQL expression.")]
Time = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="RFC 3339 with zone, unix seconds, `now`, or relative: `-1h`.",
    ),
]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")]
Equal = Annotated[
    dict[LabelName, str], Field(max_length=20, description="Labels that must have these values.")
]
