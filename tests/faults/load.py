"""Senders of webhooks, who keep a history of what they meant to send, how often they tried, and what they were told."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import httpx2

from devops_mcp.adapters.standard.webhooks import SIGNATURE
from devops_mcp.models.ids import DEFAULT_TENANT_ID

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
_AGAIN_AFTER_S = 0.2
_PATIENCE_S = 120.0
_NEVER_SHOWN = ("psycopg", "Traceback", "aiobotocore", "postgresql://")


@dataclass(frozen=True)
class Sender:
    """A system that sends webhooks to one tenant."""

    integration: str
    tenant_id: UUID


SENDERS = (
    Sender("shop", DEFAULT_TENANT_ID),
    Sender("depot", UUID("01900000-0000-7000-8000-00000000000b")),
)


@dataclass
class Sent:
    """One webhook in its sender's history. `accepted` once it was answered 2xx; one that was not is unknown: it may have been stored."""

    marker: str
    sender: Sender
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    accepted: bool = False
    answers: list[int | str] = field(default_factory=list)


@dataclass
class History:
    """Everything that was sent. `complaints` are answers that no client should ever get."""

    sent: list[Sent] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    @property
    def accepted(self) -> list[Sent]:
        return [one for one in self.sent if one.accepted]

    def answers(self) -> Counter[str]:
        return Counter(str(answer) for one in self.sent for answer in one.answers)


class Load:
    """Sends at `rate` a second while told to. Each is tried again until it is accepted, one in twenty only once."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.history = History()
        self._url = url
        self._chance = chance
        self._numbers = itertools.count()

    @asynccontextmanager
    async def sending(self, rate: float) -> AsyncIterator[None]:
        """Send while the block runs; at its end everything that is tried again has been accepted."""
        over = asyncio.Event()
        async with httpx2.AsyncClient(timeout=12, trust_env=False) as http, asyncio.TaskGroup() as group:
            going = group.create_task(self._keep_sending(http, rate, over, group))
            try:
                yield
            finally:
                over.set()
                await going

    async def send(self, count: int, *, wait: bool = True) -> Sequence[Sent]:
        """Send so many, several at once."""
        made = [self.new() for _ in range(count)]
        async with httpx2.AsyncClient(timeout=12, trust_env=False) as http:
            for some in (made[at : at + 20] for at in range(0, count, 20)):
                await asyncio.gather(*(self._deliver(http, one) for one in some))
        return made

    def new(self, sender: Sender | None = None) -> Sent:
        """A webhook that was not sent yet; one in five is of the type that an integrator wants to hear of."""
        number = next(self._numbers)
        sender = sender or SENDERS[number % 3 == 0]
        marker = f"delivery {number} {uuid4()}"
        kind = "fault.told" if number % 5 == 0 else "fault.kept"
        body = json.dumps({"type": kind, "data": {"title": marker}}).encode()
        message_id, timestamp = f"msg_{uuid4().hex}", int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": SIGNATURE.sign(body, SECRET, timestamp=timestamp, message_id=message_id),
        }
        one = Sent(marker, sender, body, headers)
        self.history.sent.append(one)
        return one

    async def _keep_sending(
        self, http: httpx2.AsyncClient, rate: float, over: asyncio.Event, group: asyncio.TaskGroup
    ) -> None:
        while not over.is_set():
            group.create_task(self._deliver(http, self.new()))
            try:
                async with asyncio.timeout(1 / rate):
                    await over.wait()
            except TimeoutError:
                continue

    async def _deliver(self, http: httpx2.AsyncClient, one: Sent) -> None:
        """As vendors do: what was not answered 2xx is delivered again, the same bytes under the same id."""
        once, again = self._chance.random() < 0.05, self._chance.random() < 0.1
        deadline = time.monotonic() + _PATIENCE_S
        while not await self._try(http, one) and not once:
            assert time.monotonic() < deadline, f"not accepted within {_PATIENCE_S:g} s: {one.answers[-5:]}"
            await asyncio.sleep(_AGAIN_AFTER_S)
        if again:
            await self._try(http, one)

    async def _try(self, http: httpx2.AsyncClient, one: Sent) -> bool:
        begun = time.monotonic()
        try:
            answer = await http.post(
                f"{self._url}/webhooks/standard/{one.sender.integration}",
                content=one.body,
                headers=one.headers,
            )
        except httpx2.TransportError as error:
            one.answers.append(type(error).__name__)
            return False
        self.history.slowest_s = max(self.history.slowest_s, time.monotonic() - begun)
        one.answers.append(answer.status_code)
        if answer.status_code == 202:
            one.accepted = True
            return True
        self._judge(answer)
        return False

    def _judge(self, answer: httpx2.Response) -> None:
        if answer.status_code not in (503, 504):
            self.history.complaints.append(f"answered {answer.status_code}: {answer.text[:200]}")
        if answer.status_code == 503 and "retry-after" not in answer.headers:
            self.history.complaints.append("503 without Retry-After")
        if any(word in answer.text for word in _NEVER_SHOWN):
            self.history.complaints.append(f"a driver's text was shown: {answer.text[:200]}")
