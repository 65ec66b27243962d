"""How requests are read and answered here: forms, OAuth's own form of errors, and the cookie of the pages."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from devops_mcp.auth.redirects import single_parameters
from devops_mcp.models.errors import MalformedInput, OAuthRefusal, PlatformError, RateLimited, Unavailable
from devops_mcp.operations.oauth import AuthorizationServer
from devops_mcp.operations.sign_in import Browser
from rest_api.oauth.pages import message_page

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
FORM = "application/x-www-form-urlencoded"
UNKEPT = {"cache-control": "no-store", "pragma": "no-cache"}
_MAX_FIELDS = 100


def answering_programs(handle: Handler) -> Handler:
    """Errors as RFC 6749 §5.2 has them."""

    async def serve(request: Request) -> Response:
        try:
            return await handle(request)
        except OAuthRefusal as refusal:
            return _error(400, refusal.error, refusal)
        except MalformedInput as error:
            return _error(400, "invalid_request", error)
        except RateLimited as error:
            return _error(429, "slow_down", error)
        except Unavailable as error:
            return _error(503, "temporarily_unavailable", error)

    return serve


def answering_people(handle: Handler) -> Handler:
    """Errors as a page."""

    async def serve(request: Request) -> Response:
        try:
            return await handle(request)
        except OAuthRefusal as refusal:
            return message_page("This does not work", f"{refusal.message}.", status=400)
        except MalformedInput as error:
            return message_page("This does not work", f"{error.message}.", status=400)
        except RateLimited as error:
            return _later(429, "Too many requests", error)
        except Unavailable as error:
            return _later(503, "This does not work just now", error)

    return serve


async def parameters_of(request: Request) -> dict[str, str]:
    """Of a form, each given once. Raises `OAuthRefusal`."""
    return single_parameters(await _form(request))


async def fields_of(request: Request) -> dict[str, list[str]]:
    """Of a form of ours, in which boxes share a name. Raises `OAuthRefusal`."""
    try:
        pairs = parse_qsl(await _form(request), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise OAuthRefusal("invalid_request", "the form cannot be read") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def first(fields: Mapping[str, list[str]], name: str) -> str:
    """A field's value, empty where there is none."""
    return fields.get(name, [""])[0]


async def browser_of(request: Request, server: AuthorizationServer) -> Browser:
    return await server.sign_ins.browser(request.cookies.get(_cookie_name(server)))


def to(response: Response, browser: Browser, server: AuthorizationServer) -> Response:
    """The answer, with the browser's cookie."""
    response.set_cookie(
        _cookie_name(server),
        browser.cookie,
        path="/oauth",
        secure=_is_secure(server),
        httponly=True,
        samesite="lax",
    )
    return response


def on_to(location: str) -> Response:
    """Away from here with a GET."""
    # Not by way of the class's quoting: the location is exactly what was registered.
    response = RedirectResponse("/", 303, headers={"cache-control": "no-store"})
    response.headers["location"] = location
    return response


async def _form(request: Request) -> str:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != FORM:
        raise OAuthRefusal("invalid_request", f"send the body as {FORM}")
    try:
        return (await request.body()).decode("ascii")
    except UnicodeDecodeError:
        raise OAuthRefusal("invalid_request", "the form is not URL-encoded") from None


def _error(status: int, error: str, cause: PlatformError) -> Response:
    response = JSONResponse({"error": error, "error_description": _plain(cause.message)}, status, UNKEPT)
    if cause.retry_after_s is not None:
        response.headers["retry-after"] = str(max(1, round(cause.retry_after_s)))
    return response


def _later(status: int, title: str, error: PlatformError) -> Response:
    response = message_page(title, f"{error.message}.", status=status)
    response.headers["retry-after"] = str(max(1, round(error.retry_after_s or 1)))
    return response


def _plain(text: str) -> str:
    """In the characters that `error_description` may have (RFC 6749 §5.2)."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in text)


def _is_secure(server: AuthorizationServer) -> bool:
    return server.issuer.startswith("https://")


def _cookie_name(server: AuthorizationServer) -> str:
    return "__Secure-devops-mcp" if _is_secure(server) else "devops-mcp"
