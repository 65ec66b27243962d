"""Search: https://docs.github.com/rest/search"""

import re
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from devops_mcp.adapters.base import Listing, ListParams, Tool
from devops_mcp.adapters.github.client import TEXT_MATCH, GitHub
from devops_mcp.adapters.github.tools.common import RepoArgument
from devops_mcp.adapters.shapes import Excerpt, FirstLine, Shape, read

_REPO_IN_URL = re.compile(r"/repos/([^/]+/[^/]+)$")


class SearchParams(RepoArgument, ListParams):
    kind: Literal["code", "issues", "repositories", "commits"] = Field(
        description="issues: and pull requests."
    )
    query: str = Field(
        min_length=1,
        max_length=256,
        description="Words and GitHub's qualifiers, such as `is:pr is:open author:octocat` or `path:*.py`. "
        "Begin a search for issues with is:issue or is:pr. With `repo`, only there.",
    )
    sort: (
        Literal[
            "created", "updated", "comments", "reactions", "stars", "forks", "author-date", "committer-date"
        ]
        | None
    ) = Field(default=None, description="Default: best match. Not for code.")
    order: Literal["asc", "desc"] = Field(default="desc", description="With sort.")


class SearchHit(Shape):
    """Something found; which fields are set depends on its kind."""

    title: FirstLine
    repo: str | None = None
    number: int | None = None
    state: str | None = None
    is_pull_request: bool | None = None
    path: str | None = None
    sha: str | None = None
    by: str | None = None
    excerpt: Excerpt = ""
    updated_at: str | None = None
    url: str | None = None


async def search(github: GitHub, params: SearchParams) -> Listing[SearchHit]:
    """Search GitHub for code, issues and pull requests, repositories or commits.

    GitHub shows the first thousand hits of a query: narrow it rather than page on.
    """
    query = f"{params.query} repo:{params.repo}" if params.repo else params.query
    page = await github.page(
        f"/search/{params.kind}",
        limit=params.limit,
        cursor=params.cursor,
        params={"q": query, "sort": params.sort, "order": params.order if params.sort else None},
        items="items",
        accept=TEXT_MATCH,
    )
    hits = [read(SearchHit, _HITS[params.kind](item)) for item in page.items]
    return Listing[SearchHit](items=hits, next_cursor=page.next_cursor, total=page.total)


def _code(raw: dict[str, Any]) -> dict[str, Any]:
    fragments = [match.get("fragment", "") for match in raw.get("text_matches") or []]
    return {
        "title": raw.get("path"),
        "repo": _get(raw, "repository", "full_name"),
        "path": raw.get("path"),
        "sha": raw.get("sha"),
        "excerpt": " … ".join(fragments),
        "url": raw.get("html_url"),
    }


def _issue(raw: dict[str, Any]) -> dict[str, Any]:
    repo = _REPO_IN_URL.search(str(raw.get("repository_url", "")))
    return {
        "title": raw.get("title"),
        "repo": repo[1] if repo else None,
        "number": raw.get("number"),
        "state": raw.get("state"),
        "is_pull_request": "pull_request" in raw,
        "by": _get(raw, "user", "login"),
        "excerpt": raw.get("body"),
        "updated_at": raw.get("updated_at"),
        "url": raw.get("html_url"),
    }


def _repository(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": raw.get("full_name"),
        "repo": raw.get("full_name"),
        "state": "archived" if raw.get("archived") else "active",
        "excerpt": raw.get("description"),
        "updated_at": raw.get("updated_at"),
        "url": raw.get("html_url"),
    }


def _commit(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": _get(raw, "commit", "message"),
        "repo": _get(raw, "repository", "full_name"),
        "sha": raw.get("sha"),
        "by": _get(raw, "commit", "author", "name"),
        "updated_at": _get(raw, "commit", "author", "date"),
        "url": raw.get("html_url"),
    }


_HITS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "code": _code,
    "issues": _issue,
    "repositories": _repository,
    "commits": _commit,
}


def _get(raw: Any, *names: str) -> Any:
    for name in names:
        raw = raw.get(name) if isinstance(raw, dict) else None
    return raw


TOOLS = (Tool("github_search", "Search GitHub", SearchParams, Listing[SearchHit], search),)
