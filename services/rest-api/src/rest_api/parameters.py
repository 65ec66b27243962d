"""What a request says, read strictly: its parameters and its body."""

import re
from collections.abc import Callable
from functools import cache
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from devops_mcp.models.errors import InvalidInput, UnsupportedFormat, Violation
from devops_mcp.models.violations import refused
from devops_mcp.serving.strict_json import loads
from devops_mcp.serving.surface import add_headers
from rest_api.endpoint import JSON

_WRITTEN = {
    int: (re.compile("-?(?:0|[1-9][0-9]*)"), "must be an integer, such as 10"),
    bool: (re.compile("true|false"), "must be true or false"),
}
ModelT = TypeVar("ModelT", bound=BaseModel)


def given_of(request: Request) -> dict[str, str]:
    """The parameters of the path and the query together, as they were sent; raises `InvalidInput`."""
    path = {name: str(value) for name, value in request.path_params.items()}
    if not request.scope["query_string"]:
        return path
    query = request.query_params
    for name in query:
        if len(query.getlist(name)) > 1:
            raise InvalidInput(f"{name} is given twice", (Violation(name, "is given twice"),))
        if name in path:
            raise InvalidInput(f"{name} belongs to the path", (Violation(name, "belongs to the path"),))
    return {**query, **path}


def params_of(model: type[ModelT], given: dict[str, str]) -> ModelT:
    """The parameters, checked; raises `InvalidInput`, also for a number or a boolean that JSON would not write so."""
    for name, (written, problem) in _plain(model):
        if (value := given.get(name)) is not None and not written.fullmatch(value):
            raise InvalidInput(f"{name} {problem}", (Violation(name, problem),))
    return validated(lambda: model.model_validate_strings(given, strict=True), "")


@cache
def _plain(model: type[BaseModel]) -> tuple[tuple[str, tuple[re.Pattern[str], str]], ...]:
    """The fields that are numbers or booleans, how these are written, and what is said of anything else."""
    return tuple(
        (name, said)
        for name, field in model.model_fields.items()
        for kind, said in _WRITTEN.items()
        if kind in (field.annotation, *get_args(field.annotation))
    )


async def body_of(model: type[ModelT], request: Request, *, needed: bool = True) -> ModelT:
    """The body, checked; one that is not `needed` may be left out. Raises `UnsupportedFormat`, `MalformedInput` or `InvalidInput`."""
    if not needed and "content-type" not in request.headers and not await request.body():
        return model()
    require_media_type(request, JSON)
    raw = await request.body()
    require_object(loads(raw))
    return validated(lambda: model.model_validate_json(raw, strict=True), "body")


def require_media_type(request: Request, wanted: str, told_in: str = "accept") -> None:
    """Raise `UnsupportedFormat` for a body that says it is something else, or packed; the answer's header `told_in` says what is wanted."""
    require_unpacked(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != wanted:
        add_headers(request.scope, {told_in: wanted})
        raise UnsupportedFormat(f"send the body as {wanted}, with this Content-Type")


def require_unpacked(request: Request) -> None:
    """Raise `UnsupportedFormat` for a body that says it is packed."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        add_headers(request.scope, {"accept-encoding": "identity"})
        raise UnsupportedFormat("send the body as it is, without Content-Encoding")


def require_object(content: object) -> dict[str, object]:
    if not isinstance(content, dict):
        raise InvalidInput("the body must be an object", (Violation("body", "must be an object"),))
    return content


def validated(validate: Callable[[], ModelT], within: str) -> ModelT:
    """What `validate` gives; raises `InvalidInput` that names each fault."""
    try:
        return validate()
    except ValidationError as error:
        raise refused(error, within) from None
