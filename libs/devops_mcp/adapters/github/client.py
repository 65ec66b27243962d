"""The calls to GitHub's REST API that the tools need: pages, conditional requests, limits, and its ways to say no."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from pydantic import JsonValue

from devops_mcp.adapters.base import Outside
from devops_mcp.adapters.github.config import GitHubSettings
from devops_mcp.adapters.github.cursors import decode_cursor, next_cursor
from devops_mcp.adapters.github.etags import EtagCache, cache_key
from devops_mcp.adapters.github.limits import RateLimits
from devops_mcp.adapters.upstream import Reply, Upstream, path, said
from devops_mcp.models.errors import (
    InvalidInput,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnauthorized,
)

JSON = "application/vnd.github+json"
DIFF = "application/vnd.github.diff"
RAW = "application/vnd.github.raw+json"
TEXT_MATCH = "application/vnd.github.text-match+json"
MAX_REDIRECTS = 2
_MOVED = frozenset({301, 302, 307, 308})
_GET_OK = frozenset({200, 304}) | _MOVED


@dataclass(frozen=True, slots=True)
class Page:
    """One page as GitHub sent it. `total` only where it tells one."""

    items: list[Any]
    next_cursor: str | None
    total: int | None = None


class GitHub:
    """One integration's connection. Answers are kept with their ETag; a used-up limit is refused here, without a request."""

    def __init__(self, settings: GitHubSettings, outside: Outside) -> None:
        self._settings = settings
        self._limits = RateLimits(outside.now)
        self._etags = EtagCache(max_entries=settings.cache_entries, max_bytes=settings.cache_bytes)
        self._upstream = Upstream(
            "github",
            settings.base_url,
            outside,
            headers=_headers(settings),
            timeout_s=settings.timeout_s,
            translate=self._refusal,
        )

    @property
    def max_log_bytes(self) -> int:
        return self._settings.max_log_bytes

    async def close(self) -> None:
        await self._upstream.close()

    def repo(self, repo: str | None, *segments: str | int) -> str:
        """The path of something in `repo` (`owner/name`), or in the integration's default one."""
        owner, _, name = self.repo_name(repo).partition("/")
        return path("repos", owner, name, *segments)

    def repo_name(self, repo: str | None) -> str:
        """`repo`, or the integration's default one; raises `InvalidInput` when there is neither."""
        chosen = repo or self._settings.default_repo
        if chosen is None:
            raise InvalidInput("argument 'repo' is missing, and this integration has no default_repo")
        return chosen

    def polled_repos(self) -> tuple[str, ...]:
        """The repositories that pollers look into; raises `InvalidInput` when there are none."""
        return self._settings.polled_repos or (self.repo_name(None),)

    async def changed(self, path: str, params: Mapping[str, Any], etag: str | None) -> Reply:
        """The answer to a GET, of status 304 where nothing changed since the one with this ETag; that costs no quota."""
        headers = {"accept": JSON} | ({"if-none-match": etag} if etag else {})
        reply = await self._request("GET", path, params=params, headers=headers, ok=_GET_OK)
        return await self._follow(reply, JSON) if reply.status in _MOVED else reply

    async def get(self, path: str, params: Mapping[str, Any] | None = None, accept: str = JSON) -> Reply:
        """The answer to a GET; from memory where GitHub says that nothing changed. A renamed repository is followed."""
        key = cache_key(path, params or {}, accept)
        known = self._etags.find(key)
        headers = {"accept": accept} | ({"if-none-match": known.headers["etag"]} if known else {})
        reply = await self._request("GET", path, params=params, headers=headers, ok=_GET_OK)
        if reply.status == 304 and known is not None:
            return known
        if reply.status in _MOVED:
            reply = await self._follow(reply, accept)
        self._etags.keep(key, reply)
        return reply

    async def json(self, path: str, params: Mapping[str, Any] | None = None, accept: str = JSON) -> Any:
        return (await self.get(path, params, accept)).json()

    async def page(
        self,
        path: str,
        *,
        limit: int,
        cursor: str | None,
        params: Mapping[str, Any] | None = None,
        items: str | None = None,
        accept: str = JSON,
    ) -> Page:
        """One page of a list. `items` names the field that holds it, where the list is wrapped."""
        asked = {**(params or {}), "per_page": limit, **decode_cursor(cursor)}
        reply = await self.get(path, asked, accept)
        content = reply.json()
        found = content.get(items) if items is not None and isinstance(content, dict) else content
        if not isinstance(found, list):
            raise UpstreamInvalid(f"github's answer to {path} is not a list")
        total = content.get("total_count") if isinstance(content, dict) else None
        return Page(found, next_cursor(reply.headers.get("link")), total)

    async def send(self, method: str, path: str, body: JsonValue = None) -> Any:
        """Change something; the answer's JSON, or None where there is none."""
        reply = await self._request(method, path, json=body, headers={"accept": JSON})
        return reply.json() if reply.body.strip() else None

    @asynccontextmanager
    async def download(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream what `path` redirects to (a log or an archive), wherever GitHub keeps it."""
        reply = await self._request("GET", path, headers={"accept": JSON}, ok=_GET_OK)
        if reply.status not in _MOVED:
            yield _chunks(reply.body)
            return
        location = reply.headers.get("location", "")
        async with self._upstream.fetch(location, timeout_s=self._settings.log_timeout_s) as chunks:
            yield chunks

    async def _request(self, method: str, path: str, **options: Any) -> Reply:
        self._limits.check(path)
        reply = await self._upstream.request(method, path, **options)
        self._limits.note(path, reply)
        return reply

    async def _follow(self, reply: Reply, accept: str) -> Reply:
        for _ in range(MAX_REDIRECTS):
            location = reply.headers.get("location", "")
            if _origin(location) != _origin(self._settings.base_url):
                raise UpstreamInvalid("github redirects to another origin, which we do not follow")
            reply = await self._request("GET", location, headers={"accept": accept}, ok=_GET_OK)
            if reply.status not in _MOVED:
                return reply
        raise UpstreamInvalid(f"github redirects more than {MAX_REDIRECTS} times")

    def _refusal(self, reply: Reply) -> UpstreamError | None:
        message = _message(reply)
        limited = self._limits.refusal(reply, message)
        if limited is not None:
            return limited
        if reply.status == 401:
            return UpstreamUnauthorized(f"github answered 401: {message}; check the integration's token")
        if reply.status == 403:
            return UpstreamUnauthorized(f"github answered 403: {_lacking(reply)}{message}")
        if reply.status == 404:
            return UpstreamNotFound(f"github answered 404: {message} (or the token may not see it)")
        if reply.status == 409:
            return UpstreamRejected(f"github answered 409: {message}; read it again and retry")
        return UpstreamRejected(f"github answered {reply.status}: {message}") if reply.status < 500 else None


def _headers(settings: GitHubSettings) -> dict[str, str]:
    headers = {"user-agent": "devops-mcp", "x-github-api-version": settings.api_version, "accept": JSON}
    if settings.token is not None:
        headers["authorization"] = f"Bearer {settings.token.get_secret_value()}"
    return headers


def _message(reply: Reply) -> str:
    """GitHub's message with the faults of a 422: 'Validation Failed (title: missing_field)'."""
    try:
        content = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return said(reply)
    errors = content.get("errors") if isinstance(content, dict) else None
    faults = [_fault(error) for error in errors[:5]] if isinstance(errors, list) else []
    return f"{said(reply)} ({'; '.join(faults)})" if faults else said(reply)


def _fault(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)[:200]
    what = str(error.get("message") or error.get("code") or "invalid")[:200]
    return f"{error['field']}: {what}" if error.get("field") else what


def _lacking(reply: Reply) -> str:
    """Which scope or permission would do, where GitHub says so in its headers."""
    has = {scope.strip() for scope in reply.headers.get("x-oauth-scopes", "").split(",")} - {""}
    accepted = [scope.strip() for scope in reply.headers.get("x-accepted-oauth-scopes", "").split(",")]
    wanted = [scope for scope in accepted if scope]
    if wanted and not has.intersection(wanted):
        return f"token lacks scope {' or '.join(repr(scope) for scope in wanted)} (it has {', '.join(sorted(has)) or 'none'}): "
    if permissions := reply.headers.get("x-accepted-github-permissions"):
        return f"token may lack permission {permissions}: "
    return ""


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body
