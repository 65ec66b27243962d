"""The parameters of one request, read with their types and limits."""

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson

from devops_mcp.embedded.sqs.errors import Refused, invalid_parameter, missing

_Kind = TypeVar("_Kind")


class Call:
    """`base_url` is how the caller reached us, without a slash at the end."""

    def __init__(self, parameters: Mapping[str, Any], base_url: str) -> None:
        self._parameters = parameters
        self.base_url = base_url

    @classmethod
    def parse(cls, body: bytes, base_url: str) -> "Call":
        try:
            parameters = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError:
            raise _malformed("the body is not JSON") from None
        if not isinstance(parameters, dict):
            raise _malformed("the body is not a JSON object")
        return cls(parameters, base_url)

    @property
    def queue_name(self) -> str:
        """The queue that `QueueUrl` names, whatever host and account it was given with."""
        return self.text("QueueUrl").rstrip("/").rpartition("/")[2]

    def text(self, name: str) -> str:
        value = self.optional_text(name)
        if value is None:
            raise missing(name)
        return value

    def optional_text(self, name: str) -> str | None:
        return self._typed(name, str)

    def integer(self, name: str, lowest: int, highest: int) -> int:
        value = self.optional_integer(name, lowest, highest)
        if value is None:
            raise missing(name)
        return value

    def optional_integer(self, name: str, lowest: int, highest: int) -> int | None:
        value = self._typed(name, int)
        if value is not None and not lowest <= value <= highest:
            raise invalid_parameter(value, name, f"Must be between {lowest} and {highest}, if provided.")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of strings; absent means empty."""
        values: list[Any] = self._typed(name, list) or []
        if not all(isinstance(value, str) for value in values):
            raise _malformed(f"{name} must be a list of strings")
        return values

    def text_map(self, name: str) -> dict[str, str]:
        values: dict[str, Any] = self._typed(name, dict) or {}
        if not all(isinstance(value, str) for value in values.values()):
            raise _malformed(f"{name} must hold strings only")
        return values

    def text_maps(self, name: str) -> dict[str, dict[str, str]]:
        """Structures of strings by name, as message attributes are."""
        values: dict[str, Any] = self._typed(name, dict) or {}
        return {key: Call({name: value}, "").text_map(name) for key, value in values.items()}

    def entries(self) -> list["Call"]:
        """The parts of a batch; the wrong types among them are refused with the whole."""
        entries: list[Any] = self._typed("Entries", list) or []
        if not all(isinstance(entry, dict) for entry in entries):
            raise _malformed("Entries must be a list of structures")
        return [Call(entry, self.base_url) for entry in entries]

    def _typed(self, name: str, kind: type[_Kind]) -> _Kind | None:
        value = self._parameters.get(name)
        if value is None:
            return None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _malformed(f"{name} has the wrong type")
        return value


def _malformed(problem: str) -> Refused:
    return Refused("SerializationException", problem)
