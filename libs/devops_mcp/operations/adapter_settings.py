"""What an adapter's settings model says of an integration: which of its fields are credentials, and what is wrong with what was given."""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, get_args

import orjson
from pydantic import BaseModel, JsonValue, SecretBytes, SecretStr, ValidationError

from devops_mcp.adapters.base import AnyAdapter
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import InvalidInput, Violation
from devops_mcp.models.violations import details_of, problem_of
from devops_mcp.operations.masking import HIDDEN

_ADDRESS_NAME = re.compile(r"(?i)(^|_)(url|uri|host|hosts|endpoint|address|server|servers|proxy|domain)($|_)")
_WHO = re.compile(r"(user|username|user_name|login|email|client_id|application_key|access_key_id|key_id)")
"""Names of what goes with a secret: a person's password needs that person's username."""
_SHOWN_AT_LEAST = 4
"""Shorter values are not looked for in messages: they are in most of them."""
_MOST_TOLD = 20
"""Faults, in each of which every secret is looked for."""


def credential_fields(settings: type[BaseModel]) -> frozenset[str]:
    """The fields that hold a secret, alone or within something else, and those that say whose it is."""
    return frozenset(
        name
        for name, field in settings.model_fields.items()
        if _WHO.fullmatch(name) or _holds_secret(field.annotation, frozenset({settings}))
    )


def checked(adapter: AnyAdapter, options: Mapping[str, Any], credentials: Mapping[str, Any]) -> BaseModel:
    """The adapter's settings made of both. Raises `InvalidInput` that names each fault and shows no credential."""
    secret = credential_fields(adapter.settings)
    faults = [
        Violation(f"body.options.{name}", "is a credential: give it in credentials")
        for name in options
        if name in secret
    ]
    faults += [
        Violation(f"body.credentials.{name}", f"is no credential of {adapter.name}")
        for name in credentials
        if name not in secret
    ]
    if faults:
        raise _invalid(faults)
    try:
        settings: BaseModel = adapter.settings.model_validate({**options, **credentials})
    except ValidationError as error:
        raise _invalid(_faults(error, secret, credentials)) from None
    return settings


def addresses(options: Mapping[str, JsonValue]) -> tuple[tuple[str, str], ...]:
    """Where the options lead to: each by its path in them. Credentials belong to these addresses and go nowhere else."""
    return tuple(sorted(set(_addresses(options, ""))))


def digest_of_addresses(system: str, options: Mapping[str, JsonValue]) -> str:
    """What a credential is sealed for besides its row: the system and its addresses."""
    return hashlib.sha256(orjson.dumps([system, addresses(options)])).hexdigest()[:32]


def part_of_schema(settings: type[BaseModel], fields: Collection[str]) -> JsonObject:
    """The JSON Schema of these fields only."""
    schema: dict[str, Any] = settings.model_json_schema()
    properties: dict[str, Any] = schema.get("properties", {})
    part = {name: content for name, content in properties.items() if name in fields}
    required = [name for name in schema.get("required", ()) if name in fields]
    kept = {name: content for name, content in schema.items() if name in ("$defs", "description")}
    return {**kept, "type": "object", "properties": part, "required": required, "additionalProperties": False}


def _holds_secret(annotation: Any, seen: frozenset[type]) -> bool:
    if isinstance(annotation, type):
        if issubclass(annotation, SecretStr | SecretBytes):
            return True
        if issubclass(annotation, BaseModel) and annotation not in seen:
            fields = annotation.model_fields.values()
            return any(_holds_secret(field.annotation, seen | {annotation}) for field in fields)
    return any(_holds_secret(part, seen) for part in get_args(annotation))


def _addresses(value: JsonValue | Mapping[str, JsonValue], path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if "://" in value or _ADDRESS_NAME.search(path.rpartition(".")[2]):
            yield path, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _addresses(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for part in value:
            yield from _addresses(part, path)


def _faults(
    error: ValidationError, secret: frozenset[str], credentials: Mapping[str, Any]
) -> list[Violation]:
    hidden = sorted(set(_texts(credentials)), key=len, reverse=True)
    faults = []
    for fault in details_of(error)[:_MOST_TOLD]:
        within = ("credentials" if fault["loc"][0] in secret else "options",) if fault["loc"] else ()
        where = ".".join(("body", *within, *map(str, fault["loc"])))
        faults.append(Violation(_without(where, hidden), _without(problem_of(fault), hidden)))
    return faults


def _texts(value: Any) -> Iterator[str]:
    """Every text within, but for names."""
    if isinstance(value, str) and len(value) >= _SHOWN_AT_LEAST:
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _without(text: str, hidden: Iterable[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, HIDDEN)
    return text


def _invalid(faults: list[Violation]) -> InvalidInput:
    return InvalidInput("; ".join(f"{fault.where}: {fault.problem}" for fault in faults), tuple(faults))
