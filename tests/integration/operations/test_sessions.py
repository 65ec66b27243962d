"""Sessions: access tokens and the refresh tokens behind them, over real rows (cases A01-A03, A09, A13, K03)."""

import asyncio
import base64
import json

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa_key

from devops_mcp.auth.refresh_tokens import RefreshToken
from devops_mcp.auth.signing_keys import new_signing_key
from devops_mcp.models.accounts import UserStatus
from devops_mcp.models.errors import Forbidden, InvalidInput, RateLimited, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.operations import sessions
from devops_mcp.operations.bootstrap import forget_signing_keys
from devops_mcp.operations.users import NewUser, new_user
from devops_mcp.repositories.database import open_database
from support.mutations import altered
from support.tokens import HERE, MASTER, Replica, Wall


@pytest.fixture
async def opened(database):
    async with open_database(database.app_url, pool_size=4, application="test") as opened:
        yield opened


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def replica(opened, wall):
    return Replica(opened, wall)


async def a_user(opened, *roles: str, name: str = "alice", **changes) -> Principal:
    user = new_user(NewUser(username=name, name=name, roles=roles), Wall().time)
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        await tx.users.add(user.model_copy(update=changes), None)
        found = await tx.users.credentials(user_id=user.id)
    assert found is not None
    return found.principal()


async def denied(replica: Replica, token: str) -> bool:
    """Whether a token is refused; for whatever reason, the answer is one."""
    said = ""
    try:
        await replica.sessions.principal_of(token, HERE)
    except Unauthenticated as error:
        said = error.message
    assert said in ("", "the access token is not valid")
    return bool(said)


async def records(opened) -> list[tuple[str, str]]:
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        return [(record.action, record.outcome) for record in reversed(await tx.audit.latest(50))]


async def test_an_access_token_is_its_user_with_the_rights_of_now_within_its_scopes(opened, replica):
    alice = await a_user(opened, "developer")
    pair = await replica.begin(alice, "contexts:*", "search:read")
    principal = await replica.sessions.principal_of(pair.access_token, HERE)
    assert (principal.id, principal.user_id, principal.session_id) == (alice.id, alice.id, pair.session_id)
    assert principal.may("contexts:write")
    assert not principal.may("events:read"), "outside of the scopes"
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        user = await tx.users.find(alice.id)
        await tx.users.replace(user.model_copy(update={"roles": ("viewer",)}))
    later = await replica.sessions.principal_of(pair.access_token, HERE)
    assert later.may("contexts:read")
    assert not later.may("contexts:write"), "its role is another one now"
    whole = await replica.begin(alice)
    assert (whole.scope, (await replica.sessions.principal_of(whole.access_token, HERE)).limits) == ("*", ())


async def test_the_token_is_a_jwt_of_rfc_9068_that_the_published_keys_verify(opened, replica):
    pair = await replica.begin(await a_user(opened, "viewer"), "search:read")
    published = jwt.PyJWKSet.from_dict(await replica.keys.published())
    header = jwt.get_unverified_header(pair.access_token)
    claims = jwt.decode(pair.access_token, published[header["kid"]].key, algorithms=["ES256"], audience=HERE)
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": published.keys[0].key_id}
    assert claims["exp"] - claims["iat"] == pair.expires_in == 600
    assert (claims["scope"], claims["client_id"]) == ("search:read", "cli")
    assert (claims["tenant"], claims["sid"]) == (str(DEFAULT_TENANT_ID), str(pair.session_id))
    assert "d" not in (await replica.keys.published())["keys"][0]


async def test_a_token_that_is_not_exactly_ours_for_exactly_this_place_is_refused(opened, replica):
    """A01, A02, A03, A09"""
    pair = await replica.begin(await a_user(opened, "owner"))
    good = jwt.decode(pair.access_token, options={"verify_signature": False})
    key = await replica.keys.current()
    stranger = new_signing_key(key.signs_from).private
    public = base64.b64encode(str(key.jwk()).encode()).decode().ljust(64, "x")

    def made(signed_by=None, algorithm="ES256", header=None, **claims) -> str:
        changed = {name: value for name, value in {**good, **claims}.items() if value is not ...}
        headers = {"typ": "at+jwt", "kid": key.kid, **(header or {})}
        payload = json.dumps(changed).encode()
        return jwt.PyJWS().encode(payload, signed_by or key.private, algorithm=algorithm, headers=headers)

    assert not await denied(replica, made())
    now = good["iat"]
    bad = [
        jwt.encode(good, None, algorithm="none", headers={"typ": "at+jwt", "kid": key.kid}),
        made(public, "HS256"),
        made(rsa_key(65537, 2048), "RS256"),
        made(stranger),
        made(
            stranger,
            header={"jwk": key.jwk(), "jku": "https://evil.example/keys", "x5u": "https://evil.example"},
        ),
        *(made(header={"kid": kid}) for kid in ("../../dev/null", "' OR 1=1 --", "", "x" * 500)),
        made(header={"typ": "JWT"}),
        made(header={"crit": ["exp"]}),
        made(exp=now - 60),
        made(iat=now + 600),
        made(nbf=now + 600),
        *(made(exp=value) for value in (..., str(now + 300), [now + 300], 10**400, -1, True, float("inf"))),
        made(exp=float(now + 300)),
        *(made(iss=value) for value in (..., "https://evil.example", [good["iss"]], "")),
        *(
            made(aud=value)
            for value in (..., "https://rest.example.com", [HERE, "https://evil.example"], HERE + "/")
        ),
        *(made(**{name: ...}) for name in ("sub", "jti", "iat", "client_id", "tenant", "sid", "scope")),
        made(tenant=str(new_id())),
        made(tenant="not-an-id"),
        made(sid=str(new_id())),
        made(sub=str(new_id())),
        altered(pair.access_token),
        pair.access_token + "A",
        "eyJ.eyJ.x",
        "eyJ" + "A" * 9_000 + ".a.b",
        "..",
    ]
    allowed = [number for number, token in enumerate(bad) if not await denied(replica, token)]
    assert allowed == []


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_session(opened, replica, wall):
    """A13, L05"""
    first = await replica.begin(await a_user(opened, "viewer"))
    second = await replica.sessions.refresh(first.refresh_token, client_id="cli")
    assert second.refresh_token != first.refresh_token
    assert second.session_id == first.session_id
    wall.advance(seconds=11)
    with pytest.raises(Unauthenticated):
        await replica.sessions.refresh(first.refresh_token, client_id="cli")
    with pytest.raises(Unauthenticated):
        await replica.sessions.refresh(second.refresh_token, client_id="cli")
    assert [await denied(replica, pair.access_token) for pair in (first, second)] == [True, True]
    assert await records(opened) == [("sessions.begin", "ok"), ("sessions.reuse", "denied")]


async def test_a_token_of_long_ago_ends_the_session_too(opened, replica, wall):
    """A13"""
    pairs = [await replica.begin(await a_user(opened, "viewer"))]
    for _ in range(3):
        wall.advance(minutes=5)
        pairs.append(await replica.sessions.refresh(pairs[-1].refresh_token, client_id="cli"))
    with pytest.raises(Unauthenticated):
        await replica.sessions.refresh(pairs[0].refresh_token, client_id="cli")
    assert await denied(replica, pairs[-1].access_token)


async def test_who_refreshes_several_times_at_once_has_one_session_still(opened, replica, wall):
    """A13"""
    first = await replica.begin(await a_user(opened, "viewer"))
    answers = await asyncio.gather(
        *(replica.sessions.refresh(first.refresh_token, client_id="cli") for _ in range(8))
    )
    assert len({answer.refresh_token for answer in answers}) == 1
    wall.advance(seconds=60)
    await replica.sessions.refresh(answers[0].refresh_token, client_id="cli")


async def test_what_was_never_a_token_of_ours_changes_nothing(opened, replica):
    """A13: who knows a session's id cannot end it."""
    pair = await replica.begin(await a_user(opened, "viewer"))
    raw = bytearray(base64.urlsafe_b64decode(pair.refresh_token.removeprefix("dmr_") + "=="))
    for at in range(32, len(raw), 7):
        forged = bytes(raw[:at]) + bytes([raw[at] ^ 1]) + bytes(raw[at + 1 :])
        text = "dmr_" + base64.urlsafe_b64encode(forged).rstrip(b"=").decode()
        if at < 64:  # beyond is the tag, which the one that is good does not need
            with pytest.raises(Unauthenticated):
                await replica.sessions.refresh(text, client_id="cli")
    for text in ("", "dmr_", "dmr_" + "A" * 107, "x" * 100_000, pair.access_token):
        with pytest.raises(Unauthenticated):
            await replica.sessions.refresh(text, client_id="cli")
    with pytest.raises(Unauthenticated):
        await replica.sessions.refresh(pair.refresh_token, client_id="another")
    assert (await replica.sessions.refresh(pair.refresh_token, client_id="cli")).session_id == pair.session_id


async def test_a_refreshed_token_may_be_for_less_and_never_for_more(opened, replica, wall):
    pair = await replica.begin(await a_user(opened, "developer"), "contexts:read", "search:read")
    less = await replica.sessions.refresh(pair.refresh_token, client_id="cli", scopes=("search:read",))
    principal = await replica.sessions.principal_of(less.access_token, HERE)
    assert (principal.may("search:read"), principal.may("contexts:read")) == (True, False)
    with pytest.raises(Forbidden):
        await replica.sessions.refresh(less.refresh_token, client_id="cli", scopes=("*",))
    wall.advance(seconds=11)  # beyond the grace: who was refused has used up nothing
    again = await replica.sessions.refresh(less.refresh_token, client_id="cli")
    assert (await replica.sessions.principal_of(again.access_token, HERE)).may("contexts:read")


async def test_only_a_user_begins_a_session_and_never_one_that_may_more(opened, replica):
    alice = await a_user(opened, "owner")
    narrow = alice.model_copy(update={"limits": (("search:read",),)})
    for who, scope, error in [
        (narrow, "*", Forbidden),
        (narrow, "search:*", Forbidden),
        (alice, "no grant at all", InvalidInput),
        (alice.model_copy(update={"id": new_id(), "kind": PrincipalKind.SERVICE}), "*", Forbidden),
        (alice.model_copy(update={"user_id": None}), "*", Forbidden),
    ]:
        with pytest.raises(error):
            await replica.begin(who, scope)
    assert (await replica.begin(narrow, "search:read")).scope == "search:read"


async def test_a_session_ends_when_idle_when_old_and_with_its_user(opened, replica, wall):
    alice = await a_user(opened, "viewer")
    idle, busy = await replica.begin(alice), await replica.begin(alice)
    for _ in range(3):
        wall.advance(days=9)
        busy = await replica.sessions.refresh(busy.refresh_token, client_id="cli")
    with pytest.raises(Unauthenticated):
        await replica.sessions.refresh(idle.refresh_token, client_id="cli")
    wall.advance(days=4)
    with pytest.raises(Unauthenticated):
        await replica.sessions.refresh(busy.refresh_token, client_id="cli")


async def test_a_suspended_user_is_out_and_comes_back_with_the_same_token(opened, wall):
    replica = Replica(opened, wall)
    alice = await a_user(opened, "viewer")
    pair = await replica.begin(alice)
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        user = await tx.users.find(alice.id)
        await tx.users.replace(user.model_copy(update={"status": UserStatus.SUSPENDED}))
    assert await denied(replica, pair.access_token)
    with pytest.raises(Unauthenticated):
        await replica.sessions.refresh(pair.refresh_token, client_id="cli")
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        await tx.users.replace(user)
    assert not await denied(replica, pair.access_token)
    pair = await replica.sessions.refresh(pair.refresh_token, client_id="cli")
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        await tx.users.delete(alice.id)
    assert await denied(replica, pair.access_token)


async def test_a_client_ends_its_session_by_its_refresh_token(opened, replica):
    pair = await replica.begin(await a_user(opened, "viewer"))
    for token, client in [("nonsense", "cli"), (pair.refresh_token, "another")]:
        await replica.sessions.end(token, client_id=client)
    assert not await denied(replica, pair.access_token)
    await replica.sessions.end(pair.refresh_token, client_id="cli")
    await replica.sessions.end(pair.refresh_token, client_id="cli")
    assert await denied(replica, pair.access_token)
    assert await records(opened) == [("sessions.begin", "ok"), ("sessions.end", "ok")]


async def test_keys_are_exchanged_each_month_with_an_overlap_that_every_replica_follows(opened, wall):
    here, there = Replica(opened, wall), Replica(opened, wall)
    made = await asyncio.gather(here.keys.current(), there.keys.current())
    assert made[0].kid == made[1].kid, "replicas that start together make one key"
    old = made[0].kid
    wall.advance(days=29, hours=23, minutes=1)
    assert (await here.keys.current()).kid == old
    published = [key["kid"] for key in (await there.keys.published())["keys"]]
    assert len(published) == 2, "the next one is published before it signs"
    wall.advance(hours=1, minutes=1)
    current = await there.keys.current()
    assert current.kid == next(kid for kid in published if kid != old)
    assert await here.keys.named(old) is not None, "what the old one signed still holds"
    wall.advance(days=31)
    await here.keys.current()
    wall.advance(hours=3)
    assert await there.keys.named(old) is None


async def test_a_new_master_key_exchanges_the_signing_key_and_ends_no_session(opened, wall):
    """Operators put the new one first, and remove the old one a day later."""
    before = Replica(opened, wall)
    pair = await before.begin(await a_user(opened, "viewer"))
    both = Replica(opened, wall, "another master key for the tests, newer", MASTER)
    old = (await both.keys.current()).kid
    wall.advance(hours=2)
    assert (await both.keys.current()).kid != old
    wall.advance(days=1)
    only = Replica(opened, wall, "another master key for the tests, newer")
    assert (await only.sessions.refresh(pair.refresh_token, client_id="cli")).session_id == pair.session_id


async def test_a_key_that_somebody_put_into_the_database_verifies_nothing(database, opened, wall, replica):
    """K03"""
    pair = await replica.begin(await a_user(opened, "viewer"))
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("UPDATE signing_keys SET kid = 'elsewhere'")
    fresh = Replica(opened, wall)
    assert await fresh.keys.named("elsewhere") is None
    assert (await fresh.keys.current()).kid != "elsewhere"
    assert await denied(fresh, pair.access_token)


async def test_keys_that_became_known_are_forgotten_and_sessions_go_on(database, opened, wall, replica):
    pair = await replica.begin(await a_user(opened, "viewer"))
    assert not await denied(replica, pair.access_token)
    assert await forget_signing_keys(database.owner_url) == 1
    wall.advance(seconds=61)
    assert await denied(replica, pair.access_token)
    wall.advance(seconds=-61)  # it is by the real time that the library judges
    again = await replica.sessions.refresh(pair.refresh_token, client_id="cli")
    assert not await denied(replica, again.access_token)
    assert ("signing_keys.forget", "ok") in await records(opened)


async def test_who_makes_tokens_up_is_stopped_and_who_has_one_is_not(opened, replica, monkeypatch):
    """R01: without Redis too"""
    monkeypatch.setattr(sessions, "MADE_UP_PER_ADDRESS", 3)
    pair = await replica.begin(await a_user(opened, "viewer"))
    made_up = RefreshToken(DEFAULT_TENANT_ID, pair.session_id, b"x" * 32, b"x" * 16).text()
    for expected in (*[Unauthenticated] * 3, RateLimited):
        with pytest.raises(expected):
            await replica.sessions.refresh(made_up, client_id="cli")
    assert (await replica.sessions.refresh(pair.refresh_token, client_id="cli")).session_id == pair.session_id
