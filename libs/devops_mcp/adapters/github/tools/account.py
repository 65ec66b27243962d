"""Who we are at GitHub, and how much we may still ask: https://docs.github.com/rest/users and /rest/rate-limit"""

from datetime import datetime

from pydantic import AliasPath, Field

from devops_mcp.adapters.base import ReadParams, Tool, ToolResult
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.shapes import Shape, read


class AccountParams(ReadParams):
    pass


class User(Shape):
    login: str
    name: str | None = None
    kind: str = Field(default="User", validation_alias="type")
    url: str | None = Field(default=None, validation_alias="html_url")


class Quota(Shape):
    """Requests of one kind within the running window."""

    limit: int
    remaining: int
    resets_at: datetime = Field(validation_alias="reset")


class Quotas(Shape):
    core: Quota = Field(validation_alias=AliasPath("resources", "core"))
    search: Quota | None = Field(default=None, validation_alias=AliasPath("resources", "search"))
    code_search: Quota | None = Field(default=None, validation_alias=AliasPath("resources", "code_search"))


class Account(ToolResult):
    """`scopes` of a classic token; other tokens do not tell."""

    user: User
    scopes: tuple[str, ...] = ()
    quotas: Quotas


async def read_account(github: GitHub, params: AccountParams) -> Account:
    """Who the integration acts as at GitHub, what its token may do, and how many requests are left."""
    reply = await github.get("/user")
    scopes = reply.headers.get("x-oauth-scopes", "")
    return Account(
        user=read(User, reply.json()),
        scopes=tuple(scope.strip() for scope in scopes.split(",") if scope.strip()),
        quotas=await read_quotas(github),
    )


async def read_quotas(github: GitHub) -> Quotas:
    """How many requests are left; asking costs none."""
    return read(Quotas, await github.json("/rate_limit"))


TOOLS = (Tool("github_me", "Who am I at GitHub", AccountParams, Account, read_account),)
