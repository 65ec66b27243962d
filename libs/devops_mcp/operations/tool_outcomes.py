"""What a caller is shown of a tool's result."""

from dataclasses import dataclass

import orjson
from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from devops_mcp.adapters.base import ToolResult
from devops_mcp.models.base import JsonObject
from devops_mcp.models.content import Block


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What the caller is shown. `text` is compact JSON of an object; `blocks` are shown besides it, or where it is empty, instead."""

    text: str
    blocks: tuple[Block, ...] = ()

    @classmethod
    def of(cls, data: JsonObject, blocks: tuple[Block, ...] = ()) -> "ToolOutcome":
        return cls(orjson.dumps(data).decode(), blocks)

    @property
    def data(self) -> JsonObject:
        """The object, read anew each time: who only passes the text on does without."""
        read: JsonObject = orjson.loads(self.text)
        return read


class Relayed(ToolResult):
    """The result of a tool that handed the call on: that of the tool it was handed to, shown as that one shows it."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    outcome: SkipJsonSchema[ToolOutcome] = Field(exclude=True)
