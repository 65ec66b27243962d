"""API keys (cases A10)."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from devops_mcp.auth.api_keys import generate_key, hash_secret, parse_key
from devops_mcp.auth.authenticator import REMEMBERED_S, Authenticator
from devops_mcp.models.errors import RateLimited, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import FoundKey, PrincipalKind

NOW = datetime(2026, 11, 1, tzinfo=UTC)
KEY = generate_key()


def row(key: str, **changes: object) -> FoundKey:
    parts = parse_key(key)
    assert parts is not None
    return FoundKey(
        id=new_id(),
        tenant_id=DEFAULT_TENANT_ID,
        prefix=parts.prefix,
        secret_hash=hash_secret(parts.secret),
        kind=PrincipalKind.AGENT,
        name="tester",
        grants=("*",),
        created_at=NOW,
    ).model_copy(update=changes)


class Keys:
    """The rows there are, how often they were asked for, and a clock to move."""

    def __init__(self, *rows: FoundKey) -> None:
        self.rows = list(rows)
        self.asked = 0
        self.time_s = 0.0

    async def find(self, prefix: str) -> list[FoundKey]:
        self.asked += 1
        return [row for row in self.rows if row.prefix == prefix]

    def authenticator(self) -> Authenticator:
        return Authenticator(self.find, now=lambda: NOW, monotonic=lambda: self.time_s)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"x-api-key": KEY},
        {"authorization": f"bearer {KEY}"},
        {"x-api-key": KEY, "authorization": f"Bearer {KEY}"},
    ],
)
async def test_a_valid_key_is_its_principal(headers):
    principal = await Keys(row(KEY)).authenticator().authenticate(headers)
    assert (principal.name, principal.tenant_id) == ("tester", DEFAULT_TENANT_ID)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer "},
        {"x-api-key": KEY[:-1] + ("A" if KEY[-1] != "A" else "B")},
        {"x-api-key": "dx" + KEY[2:]},
        {"x-api-key": KEY + "\n"},
        {"x-api-key": generate_key()},
        {"x-api-key": KEY, "authorization": f"Bearer {generate_key()}"},
        {"x-api-key": KEY, "authorization": f"Basic {KEY}"},
        {"x-api-key": KEY, "authorization": KEY},
        {"x-api-key": KEY, "authorization": "Bearer "},
        {"x-api-key": "dm_" + "ä" * 12 + "_" + "x" * 43},
    ],
)
async def test_anything_else_is_refused(headers):
    """A10"""
    with pytest.raises(Unauthenticated):
        await Keys(row(KEY)).authenticator().authenticate(headers)


@pytest.mark.parametrize(
    "change", [{"revoked_at": NOW}, {"expires_at": NOW}, {"expires_at": NOW - timedelta(days=1)}]
)
async def test_a_revoked_or_expired_key_is_refused(change):
    with pytest.raises(Unauthenticated):
        await Keys(row(KEY, **change)).authenticator().authenticate({"x-api-key": KEY})


async def test_a_key_found_is_believed_for_moments_and_then_looked_up_again():
    keys = Keys(row(KEY))
    authenticator = keys.authenticator()
    await authenticator.authenticate({"x-api-key": KEY})
    await authenticator.authenticate({"x-api-key": KEY})
    assert keys.asked == 1
    keys.rows = [row(KEY, revoked_at=NOW)]
    keys.time_s = REMEMBERED_S
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate({"x-api-key": KEY})


async def test_however_many_ask_at_once_a_key_is_looked_up_once_and_who_goes_takes_nobody_along():
    keys, answers = Keys(row(KEY)), asyncio.Event()

    async def slow(prefix: str) -> list[FoundKey]:
        await answers.wait()
        return await keys.find(prefix)

    authenticator = Authenticator(slow)
    asking = [asyncio.create_task(authenticator.authenticate({"x-api-key": KEY})) for _ in range(100)]
    await asyncio.sleep(0)
    asking.pop(0).cancel()
    await asyncio.sleep(0)
    answers.set()
    assert {principal.name for principal in await asyncio.gather(*asking)} == {"tester"}
    assert keys.asked == 1


async def test_a_look_up_that_fails_fails_for_all_who_wait_and_is_tried_anew():
    keys, fails = Keys(row(KEY)), [ConnectionError("no database"), None]

    async def flaky(prefix: str) -> list[FoundKey]:
        await asyncio.sleep(0)
        if (fault := fails.pop(0)) is not None:
            raise fault
        return await keys.find(prefix)

    authenticator = Authenticator(flaky)
    asking = [authenticator.authenticate({"x-api-key": KEY}) for _ in range(3)]
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(fault) for fault in found] == [ConnectionError] * 3
    assert (await authenticator.authenticate({"x-api-key": KEY})).name == "tester"


class Guesses:
    """Counts guesses; there is room until it is shut."""

    def __init__(self) -> None:
        self.counted = 0
        self.shut = False

    def require_room(self) -> None:
        if self.shut:
            raise RateLimited("wait", retry_after_s=1)

    async def count(self) -> None:
        self.counted += 1


async def test_an_address_that_guesses_is_not_looked_up_for_while_who_is_known_is_let_in():
    """A10: a key that ended meanwhile is known no more."""
    keys, guesses = Keys(row(KEY)), Guesses()
    authenticator = Authenticator(keys.find, guesses=guesses, now=lambda: NOW, monotonic=lambda: keys.time_s)
    await authenticator.authenticate({"x-api-key": KEY})
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate({"x-api-key": KEY[:-1] + "-"})
    guesses.shut = True
    with pytest.raises(RateLimited):
        await authenticator.authenticate({"x-api-key": KEY[:-1] + "_"})
    assert (guesses.counted, keys.asked) == (1, 2)
    keys.time_s = 60.0
    await authenticator.authenticate({"x-api-key": KEY})
    keys.rows, keys.time_s = [], 120.0
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate({"x-api-key": KEY})
    with pytest.raises(RateLimited):
        await authenticator.authenticate({"x-api-key": KEY})


def test_a_key_never_shows_its_secret():
    parts = parse_key(KEY)
    assert parts is not None
    assert parts.secret not in repr(parts)
