"""A program without a browser, which waits while its user says yes or no in one (RFC 8628)."""

from typing import Any

import httpx2
import psycopg

from devops_mcp.models.oauth import CLI_CLIENT
from support.browser import Page, Person
from support.oauth import PASSWORD, Place

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SCOPE = "contexts:read search:read"


class Device:
    """A program without a browser."""

    def __init__(self, place: Place, person: Person | None = None) -> None:
        self._place = place
        self._person = person or place.alice
        self.told: dict[str, Any] = {}

    async def begin(self, **changes: str) -> httpx2.Response:
        asked = {"client_id": CLI_CLIENT, "scope": SCOPE, "resource": self._place.url, **changes}
        answer = await self._place.client.http.post(
            f"{self._place.url}/oauth/device_authorization", data=asked
        )
        self.told = answer.json()
        return answer

    async def poll(self, **changes: str) -> httpx2.Response:
        asked = {"grant_type": GRANT, "device_code": self.told["device_code"], "client_id": CLI_CLIENT}
        return await self._place.client.token(**{**asked, **changes})

    async def error(self, **changes: str) -> str:
        answer = await self.poll(**changes)
        assert answer.status_code == 400
        return str(answer.json()["error"])

    def let_time_pass(self, database, seconds: int) -> None:
        """As if everything about it had been longer ago."""
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute(
                """
                UPDATE device_codes SET polled_at = polled_at - make_interval(secs => %(s)s),
                    expires_at = expires_at - make_interval(secs => %(s)s)
                """,
                {"s": seconds},
            )

    async def connect(self, decision: str, **fields: str | list[str]) -> Page:
        """What the person does at the browser; the last page."""
        page = await self._person.open(self.told["verification_uri_complete"])
        if any(name == "password" for form in page.forms for name, _ in form.fields):
            page = await self._person.sign_in(page, "alice", PASSWORD)
        page = await self._person.submit(page)
        assert self.told["user_code"] in page.text
        return await self._person.submit(page, decision=decision, **fields)
