"""The authorization endpoint, and signing in on the way there."""

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devops_mcp.auth.redirects import single_parameters
from devops_mcp.models.errors import InvalidInput, RateLimited, Unauthenticated
from devops_mcp.models.oauth import AuthorizationRequest
from devops_mcp.operations.authorization import Redirected
from devops_mcp.operations.oauth import AuthorizationServer
from devops_mcp.operations.sign_in import Browser
from rest_api.oauth.exchanges import answering_people, browser_of, fields_of, first, on_to, to
from rest_api.oauth.pages import (
    AUTHORIZE,
    SIGN_IN,
    SIGN_OUT,
    Asking,
    consent_page,
    message_page,
    sign_in_page,
)

STALE = "This page was open for too long, or you signed in elsewhere meanwhile. Go back to the program and begin again."


class Authorizing:
    """The pages of the authorization code grant. A form carries, signed, which request it is about."""

    def __init__(self, server: AuthorizationServer) -> None:
        self._server = server

    def routes(self) -> list[Route]:
        pages = (
            (AUTHORIZE, "GET", self.ask),
            (AUTHORIZE, "POST", self.decide),
            (SIGN_IN, "POST", self.sign_in),
            (SIGN_OUT, "POST", self.sign_out),
        )
        return [Route(path, answering_people(handler), methods=[method]) for path, method, handler in pages]

    async def ask(self, request: Request) -> Response:
        """Who sits there, then whether the client may."""
        await self._server.rates.asking("pages")
        query = request.url.query
        try:
            asked = await self._asked(query)
        except Redirected as redirected:
            return on_to(redirected.location)
        browser = await browser_of(request, self._server)
        if browser.user is None:
            return self.asking_to_sign_in(browser, f"{AUTHORIZE}?{query}", asked.client_name)
        if await self._server.codes.remembers(browser.user, asked):
            return on_to(await self._server.codes.allow(browser.user, asked, asked.scopes, remembered=True))
        return self._asking(browser, query, asked)

    async def decide(self, request: Request) -> Response:
        """The user's word on what the form was about."""
        await self._server.rates.asking("pages")
        browser, fields = await browser_of(request, self._server), await fields_of(request)
        try:
            content = self._server.sign_ins.content_of(browser, first(fields, "form"))
        except InvalidInput:
            return message_page("Begin again", STALE, status=400)
        query = str(content.get("query", ""))
        if browser.user is None or not query:
            return message_page("Begin again", STALE, status=400)
        try:
            asked = await self._asked(query)
        except Redirected as redirected:
            return on_to(redirected.location)
        if first(fields, "decision") != "allow":
            return on_to(await self._server.codes.deny(browser.user, asked))
        try:
            location = await self._server.codes.allow(
                browser.user,
                asked,
                fields.get("scope", []),
                remembered=first(fields, "remember") == "yes",
            )
        except InvalidInput:
            return self._asking(browser, query, asked, "Choose what it may do, or do not allow it.")
        return on_to(location)

    async def sign_in(self, request: Request) -> Response:
        """Back to where the form was shown, as who knows the password."""
        await self._server.rates.asking("pages")
        browser, fields = await browser_of(request, self._server), await fields_of(request)
        try:
            content = self._server.sign_ins.content_of(browser, first(fields, "form"))
        except InvalidInput:
            return message_page("Begin again", STALE, status=400)
        back, name = str(content["return"]), content.get("client_name")
        try:
            signed_in = await self._server.sign_ins.sign_in(
                first(fields, "username"), SecretStr(first(fields, "password"))
            )
        except (Unauthenticated, RateLimited) as error:
            shown = str(name) if name else None
            return self.asking_to_sign_in(browser, back, shown, fault=f"{error.message}.".capitalize())
        return to(on_to(back), signed_in, self._server)

    async def sign_out(self, request: Request) -> Response:
        """Back to where the form was shown, as nobody."""
        browser, fields = await browser_of(request, self._server), await fields_of(request)
        try:
            content = self._server.sign_ins.content_of(browser, first(fields, "form"))
        except InvalidInput:
            return message_page("Begin again", STALE, status=400)
        return to(on_to(str(content["return"])), self._server.sign_ins.sign_out(), self._server)

    def asking_to_sign_in(
        self, browser: Browser, back: str, client_name: str | None, *, fault: str = ""
    ) -> Response:
        """The page that leads to `back`, one of ours."""
        form = self._server.sign_ins.form(browser, {"return": back, "client_name": client_name})
        shown = sign_in_page(
            form, client_name=client_name, fault=fault, elsewhere=self._server.elsewhere.names
        )
        return to(shown, browser, self._server)

    def _asking(self, browser: Browser, query: str, asked: AuthorizationRequest, fault: str = "") -> Response:
        assert browser.user is not None
        content = {"return": f"{AUTHORIZE}?{query}", "query": query}
        form = self._server.sign_ins.form(browser, {**content})
        shown = consent_page(form, browser.user, Asking.of_request(asked), fault=fault)
        return to(shown, browser, self._server)

    async def _asked(self, query: str) -> AuthorizationRequest:
        return await self._server.codes.request(single_parameters(query))
