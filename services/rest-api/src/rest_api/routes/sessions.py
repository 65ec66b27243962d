"""Signing in and out, and the sessions that this makes."""

from enum import StrEnum
from uuid import UUID

from pydantic import Field, SecretStr

from devops_mcp.models.accounts import MAX_PASSWORD, Grants
from devops_mcp.models.base import Model
from devops_mcp.models.pages import Page
from devops_mcp.models.sessions import EVERYTHING, TokenPair
from devops_mcp.operations.login import MAX_LOGIN
from devops_mcp.operations.session_list import SessionView
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import ByAge

TAG = "sessions"
CLIENT = "rest-api"
"""The client of who signs in here; sessions of other clients are theirs to refresh."""
_MAX_TOKEN = 200


class Audience(StrEnum):
    """Which service takes the access token. One is never good for both."""

    REST = "rest-api"
    MCP = "mcp-server"


class Login(Body):
    """`username`, or `tenant/username` outside of the default tenant; an e-mail address does for the username.

    `scopes` narrow what the session may; `client_name` is how it is named in the list of sessions.
    """

    username: str = Field(min_length=1, max_length=MAX_LOGIN)
    password: SecretStr = Field(max_length=MAX_PASSWORD)
    audience: Audience = Audience.REST
    scopes: Grants = EVERYTHING
    client_name: str = Field(default="", max_length=100)


class Refresh(Body):
    refresh_token: SecretStr = Field(max_length=_MAX_TOKEN)


class SessionPage(ByAge):
    """A page of sessions, newest first. `cursor` is `next_cursor` of the page before. Without `user_id` everybody's."""

    user_id: UUID | None = None


class OneSession(Model):
    session_id: UUID


class OfUser(Body):
    """Whose sessions; null: the caller's own."""

    user_id: UUID | None = None


class Revoked(Model):
    """How many sessions this ended."""

    revoked: int


async def login(call: Call[NoParams, Login]) -> TokenPair:
    """Sign in with a username and a password.

    The access token is good for ten minutes and goes into `Authorization: Bearer`; the refresh token gives the next one.
    """
    body, accounts = call.body, call.platform.accounts
    user = await accounts.login.verify_password(body.username, body.password)
    return await accounts.sessions.begin(
        user,
        client_id=CLIENT,
        audience=call.platform.addresses[body.audience],
        scopes=body.scopes,
        client_name=body.client_name,
    )


async def refresh_login(call: Call[NoParams, Refresh]) -> TokenPair:
    """Get another pair of tokens for a refresh token, which is then good no more.

    One that is used a second time ends its session, access tokens too; within ten seconds it gets the same refresh token again.
    """
    token = call.body.refresh_token.get_secret_value()
    return await call.platform.accounts.sessions.refresh(token, client_id=CLIENT)


async def logout(call: Call[NoParams, Refresh]) -> Nothing:
    """End the session of a refresh token; its access tokens stop within seconds. A token that is good no more changes nothing."""
    token = call.body.refresh_token.get_secret_value()
    await call.platform.accounts.sessions.end(token, client_id=CLIENT)
    return Nothing()


async def list_sessions(call: Call[SessionPage, NoBody]) -> Page[SessionView]:
    """List the sessions that have not ended, newest first unless `sort` says otherwise; who may not read all sees their own."""
    sessions, params = call.platform.accounts.session_list, call.params
    return await sessions.page(call.principal, user_id=params.user_id, order=params.order, limit=params.limit)


async def get_session(call: Call[OneSession, NoBody]) -> SessionView:
    """Get one session that has not ended."""
    return await call.platform.accounts.session_list.get(call.principal, call.params.session_id)


async def revoke_session(call: Call[OneSession, NoBody]) -> Nothing:
    """End a session; its tokens stop within seconds, on open connections too."""
    await call.platform.accounts.session_list.revoke(call.principal, call.params.session_id)
    return Nothing()


async def revoke_sessions(call: Call[NoParams, OfUser]) -> Revoked:
    """End all sessions of a user; this ends no API keys."""
    sessions = call.platform.accounts.session_list
    return Revoked(revoked=await sessions.revoke_all(call.principal, call.body.user_id))


_ALL = "/api/v1/sessions"
_ONE = f"{_ALL}/{{session_id}}"
SESSIONS: tuple[AnyEndpoint, ...] = (
    Endpoint("POST", "/api/v1/login", TAG, login, TokenPair, body=Login, errors=(429,), open=True),
    Endpoint(
        "POST",
        "/api/v1/login/refresh",
        TAG,
        refresh_login,
        TokenPair,
        body=Refresh,
        errors=(429,),
        open=True,
    ),
    Endpoint("POST", "/api/v1/logout", TAG, logout, Nothing, body=Refresh, status=204, open=True),
    Endpoint("GET", _ALL, TAG, list_sessions, Page[SessionView], params=SessionPage),
    Endpoint("POST", f"{_ALL}/revoke", TAG, revoke_sessions, Revoked, body=OfUser, errors=(404,)),
    Endpoint("GET", _ONE, TAG, get_session, SessionView, params=OneSession, errors=(404,)),
    Endpoint("DELETE", _ONE, TAG, revoke_session, Nothing, params=OneSession, status=204, errors=(404,)),
)
