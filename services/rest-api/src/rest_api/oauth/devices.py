"""The page on which a user connects a device (RFC 8628 §3.3)."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devops_mcp.auth.one_time_codes import typed_user_code
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import InvalidInput, NotFound, RateLimited
from devops_mcp.operations.oauth import AuthorizationServer
from devops_mcp.operations.sign_in import Browser
from rest_api.oauth.authorize import Authorizing
from rest_api.oauth.exchanges import answering_people, browser_of, fields_of, first, to
from rest_api.oauth.pages import DEVICE, Asking, consent_page, message_page, user_code_page


class Connecting:
    """First the code that the device shows, then whether it may."""

    def __init__(self, server: AuthorizationServer, authorizing: Authorizing) -> None:
        self._server = server
        self._authorizing = authorizing

    def routes(self) -> list[Route]:
        pages = (("GET", self.ask), ("POST", self.decide))
        return [Route(DEVICE, answering_people(handler), methods=[method]) for method, handler in pages]

    async def ask(self, request: Request) -> Response:
        """Who sits there, then for the code."""
        await self._server.rates.asking("pages")
        typed = typed_user_code(request.query_params.get("user_code", "")) or ""
        browser = await browser_of(request, self._server)
        if browser.user is None:
            back = f"{DEVICE}?user_code={typed}" if typed else DEVICE
            return self._authorizing.asking_to_sign_in(browser, back, None)
        return self._asking_for_code(browser, typed)

    async def decide(self, request: Request) -> Response:
        """The code that was typed, or the user's word on the device that waits with it."""
        await self._server.rates.asking("pages")
        browser, fields = await browser_of(request, self._server), await fields_of(request)
        try:
            content = self._server.sign_ins.content_of(browser, first(fields, "form"))
        except InvalidInput:
            content = {}
        if browser.user is None or content.get("return") != DEVICE:
            return self._authorizing.asking_to_sign_in(browser, DEVICE, None)
        if "waits" in content:
            return await self._answer(browser, content, fields)
        return await self._look_for(browser, first(fields, "user_code"))

    async def _look_for(self, browser: Browser, typed: str) -> Response:
        assert browser.user is not None
        try:
            waits = await self._server.devices.waiting(browser.user, typed)
        except (NotFound, RateLimited) as error:
            return self._asking_for_code(browser, "", f"{error.message}.".capitalize())
        content: JsonObject = {"return": DEVICE, "waits": waits.user_code_hash.hex()}
        form = self._server.sign_ins.form(browser, content)
        asking = Asking.of_device(waits, typed_user_code(typed) or "")
        return to(consent_page(form, browser.user, asking), browser, self._server)

    async def _answer(self, browser: Browser, content: JsonObject, fields: dict[str, list[str]]) -> Response:
        assert browser.user is not None
        allowed = first(fields, "decision") == "allow"
        chosen = fields.get("scope", []) if allowed else None
        try:
            await self._server.devices.answer(browser.user, bytes.fromhex(str(content["waits"])), chosen)
        except (NotFound, InvalidInput) as error:
            return message_page("This does not work", f"{error.message}.", status=400)
        told = "It can act for you now." if allowed else "It cannot act for you."
        return message_page("Done", f"{told} Go back to the device; you may close this page.")

    def _asking_for_code(self, browser: Browser, typed: str, fault: str = "") -> Response:
        assert browser.user is not None
        form = self._server.sign_ins.form(browser, {"return": DEVICE})
        return to(user_code_page(form, browser.user, typed=typed, fault=fault), browser, self._server)
