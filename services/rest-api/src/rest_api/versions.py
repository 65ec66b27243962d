"""Resources with versions: `If-Match` against lost updates, and PATCH (JSON Merge Patch, RFC 7396) wherever there is PUT.

Both look at the resource and change it in one transaction that holds its row's lock, so that nothing comes in between.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel, JsonValue
from pydantic_core import to_json
from starlette.requests import Request

from devops_mcp.models.errors import NotFound, PreconditionFailed
from devops_mcp.serving.strict_json import loads
from rest_api import etags
from rest_api.endpoint import AnyEndpoint, Call, NoBody, unversioned
from rest_api.parameters import require_media_type, require_object, validated

MERGE_PATCH = "application/merge-patch+json"
_MADE = (201, 202)


def completed(endpoints: Iterable[AnyEndpoint]) -> tuple[AnyEndpoint, ...]:
    """The endpoints, PATCH beside each PUT with a `lock` of what is shown; those of its path know what there is to read, and a POST what is
    below it."""
    given = tuple(endpoints)
    reads: dict[str, Any] = {one.path: one.handle for one in given if one.method == "GET"}
    puts = {one.path: one for one in given if one.lock is not None}
    complete: list[AnyEndpoint] = []
    for one in given:
        if one.conditional:
            one = replace(one, read=reads.get(one.path))
        if one.path in puts and one.conditional:
            put = puts[one.path]
            one = replace(one, lock=put.lock, needs=put.needs, tenant=put.tenant)
        if one.method == "POST" and one.status in _MADE:
            one = replace(one, made_at=one.made_at or _below(one, reads))
        complete.append(one)
        if one.method == "PUT" and one.lock is not None and _readable(one.body):
            complete.append(_patch_beside(one))
    return tuple(complete)


def _below(endpoint: AnyEndpoint, reads: Iterable[str]) -> str:
    """Where what it makes is found, by its id or its name; empty where there is nothing to read below its path."""
    names = [name for name in ("id", "name") if name in endpoint.reply.model_fields]
    one_of = re.compile(re.escape(endpoint.path) + r"/{\w+}")
    found = names and any(one_of.fullmatch(path) for path in reads)
    return f"{endpoint.path}/{{{names[0]}}}" if found else ""


async def patched(endpoint: AnyEndpoint, request: Request, call: Call[Any, Any]) -> Call[Any, Any]:
    """The call with the whole that the patch makes of the resource as it is. Raises `InvalidInput` where that is not right."""
    patch = await _patch_in(request)
    assert endpoint.read is not None, "the table says it"
    current: BaseModel = await endpoint.read(_reading(call))
    members = _readable(endpoint.body) & set(type(current).model_fields)
    whole = to_json(merged(current.model_dump(mode="json", include=members), patch))
    body = validated(lambda: endpoint.body.model_validate_json(whole, strict=True), "body")
    return replace(call, body=body)


async def require_met(endpoint: AnyEndpoint, conditions: etags.Conditions, call: Call[Any, Any]) -> None:
    """Raise `PreconditionFailed` unless the resource is as the caller says; what cannot be read has no version.

    Raises `NotFound` where there is none, unless that is how it is to be.
    """
    seen: str | None = ""
    if endpoint.read is not None:
        try:
            current: BaseModel = await endpoint.read(_reading(call))
            seen = etags.tag_of(current.model_dump_json().encode(), unversioned(type(current)))
        except NotFound:
            if conditions.match is not None:
                raise
            seen = None
    if not conditions.met(seen):
        raise PreconditionFailed(
            "it is not as the request says, or no longer; read it again, and decide anew"
        )


def merged(target: JsonValue, patch: JsonValue) -> JsonValue:
    """RFC 7396 §2: null takes a member away, an object is merged, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


async def _patch_in(request: Request) -> dict[str, JsonValue]:
    require_media_type(request, MERGE_PATCH, "accept-patch")
    patch: Any = require_object(loads(await request.body()))
    return patch  # type: ignore[no-any-return]


def _patch_beside(put: AnyEndpoint) -> AnyEndpoint:
    """PATCH hands the whole that comes out to PUT's handler."""

    async def handle(call: Call[Any, Any]) -> Any:
        return await put.handle(call)

    noun = put.handle.__name__.partition("_")[2]
    handle.__name__ = f"patch_{noun}"
    handle.__doc__ = (
        f"Change some members of the {noun.replace('_', ' ')}, and leave the others: a JSON Merge Patch (RFC 7396).\n\n"
        "Null takes a member away. "
        f"What comes out is what `PUT` is given: {cleandoc(put.handle.__doc__ or '')}"
    )
    return replace(put, method="PATCH", handle=handle)


def _readable(model: type[BaseModel]) -> set[str]:
    """The members that are shown as they are given; of what is `writeOnly`, PUT says what leaving it out means."""
    extras = {name: field.json_schema_extra for name, field in model.model_fields.items()}
    return {
        name for name, extra in extras.items() if not (isinstance(extra, dict) and extra.get("writeOnly"))
    }


def _reading(call: Call[Any, Any]) -> Call[Any, NoBody]:
    return replace(call, body=NoBody())
