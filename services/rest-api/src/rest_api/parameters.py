"""What a request says, read strictly: its parameters and its body."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from devops_mcp.models.errors import InvalidInput, UnsupportedFormat, Violation
from devops_mcp.serving.strict_json import loads
from rest_api.endpoint import JSON

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
    """The parameters, checked; raises `InvalidInput`."""
    return validated(lambda: model.model_validate_strings(given, strict=True), "")


async def body_of(model: type[ModelT], request: Request) -> ModelT:
    """The body, checked. Raises `UnsupportedFormat`, `MalformedInput` or `InvalidInput`."""
    require_media_type(request, JSON)
    raw = await request.body()
    require_object(loads(raw))
    return validated(lambda: model.model_validate_json(raw, strict=True), "body.")


def require_media_type(request: Request, wanted: str) -> None:
    """Raise `UnsupportedFormat` for a body that says it is something else, or packed."""
    require_unpacked(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != wanted:
        raise UnsupportedFormat(f"send the body as {wanted}, with this Content-Type")


def require_unpacked(request: Request) -> None:
    """Raise `UnsupportedFormat` for a body that says it is packed."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedFormat("send the body as it is, without Content-Encoding")


def require_object(content: object) -> dict[str, object]:
    if not isinstance(content, dict):
        raise InvalidInput("the body must be an object", (Violation("body", "must be an object"),))
    return content


def validated(validate: Callable[[], ModelT], prefix: str) -> ModelT:
    """What `validate` gives; raises `InvalidInput` that names each fault."""
    try:
        return validate()
    except ValidationError as error:
        violations = tuple(
            Violation(prefix + ".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()
        )
        raise InvalidInput("; ".join(f"{v.where}: {v.problem}" for v in violations), violations) from None
