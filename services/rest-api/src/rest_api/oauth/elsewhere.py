"""The way to an outside identity provider and back, from the page on which people sign in."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devops_mcp.auth.redirects import single_parameters
from devops_mcp.models.errors import InvalidInput
from devops_mcp.operations.oauth import AuthorizationServer
from rest_api.oauth.authorize import STALE, Authorizing
from rest_api.oauth.exchanges import answering_people, browser_of, on_to, to
from rest_api.oauth.pages import ELSEWHERE, message_page


class Elsewhere:
    """A link leads away, since browsers hold a form's redirects to the page's own policy; the provider leads back."""

    def __init__(self, server: AuthorizationServer, authorizing: Authorizing) -> None:
        self._server = server
        self._authorizing = authorizing

    def routes(self) -> list[Route]:
        pages = ((ELSEWHERE, self.leave), (self._server.callback_path, self.come_back))
        return [Route(path, answering_people(handler), methods=["GET"]) for path, handler in pages]

    async def leave(self, request: Request) -> Response:
        """To the provider that was chosen, if the link was made for this browser."""
        await self._server.rates.asking("pages")
        browser, chosen = await browser_of(request, self._server), single_parameters(request.url.query)
        try:
            content = self._server.sign_ins.content_of(browser, chosen.get("form", ""))
            number = chosen.get("provider", "")
            provider = int(number) if number.isdecimal() and len(number) < 4 else -1
            location = await self._server.elsewhere.leave(browser, provider, content)
        except InvalidInput:
            return message_page("Begin again", STALE, status=400)
        return to(on_to(location), browser, self._server)

    async def come_back(self, request: Request) -> Response:
        """To where the person was going, as who the provider says; or to the page that asks, with what went wrong."""
        await self._server.rates.asking("pages")
        browser = await browser_of(request, self._server)
        try:
            came = await self._server.elsewhere.come_back(browser, single_parameters(request.url.query))
        except InvalidInput:
            return message_page("Begin again", STALE, status=400)
        back, name = str(came.content["return"]), came.content.get("client_name")
        if came.fault:
            shown = str(name) if name else None
            fault = f"{came.fault[:1].upper()}{came.fault[1:]}."
            return self._authorizing.asking_to_sign_in(came.browser, back, shown, fault=fault)
        return to(on_to(back), came.browser, self._server)
