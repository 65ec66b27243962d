"""Users of an outside identity provider, against a real one that is small (cases A01-A03, A09, I05, I07, L05)."""

import asyncio
from contextlib import asynccontextmanager

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError

from devops_mcp.auth.outside_tokens import OutsideTokens
from devops_mcp.config import Environment, IdentityProviderSettings
from devops_mcp.models.accounts import UserStatus
from devops_mcp.models.errors import Unauthenticated, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.operations.identities import IdentityService
from devops_mcp.operations.users import NewUser, new_user
from devops_mcp.outbound.documents import open_document_reader
from devops_mcp.repositories.database import open_database
from support.identity_provider import AUDIENCE, IdentityProvider, an_identity_provider
from support.rest import Rest
from support.servers import LOOPBACK
from support.services import new_key, running_mcp, running_rest, settings_for
from support.tokens import Wall


class Front:
    """The service over a real database and a real provider."""

    def __init__(self, opened, provider: IdentityProvider, networks=LOOPBACK) -> None:
        self.opened, self.provider, self.networks = opened, provider, networks
        self.wall = Wall()

    @asynccontextmanager
    async def serving(self, **options):
        configured = IdentityProviderSettings(issuer=self.provider.issuer, audiences=(AUDIENCE,), **options)
        async with open_document_reader(self.networks) as documents:
            tokens = OutsideTokens((configured,), documents, monotonic=self.wall.monotonic)
            self.service = IdentityService(
                self.opened, tokens, (configured,), now=self.wall, monotonic=self.wall.monotonic
            )
            yield self.service

    async def who(self, token: str):
        return await self.service.principal_of(token, self.provider.issuer)

    async def is_refused(self, token: str) -> bool:
        try:
            await self.who(token)
        except Unauthenticated:
            return True
        return False

    async def add_user(self, name: str, **changes):
        user = new_user(NewUser(username=name, name=name), self.wall.time).model_copy(update=changes)
        async with self.opened.transaction(DEFAULT_TENANT_ID) as tx:
            await tx.users.add(user, None)
        return user

    async def records(self):
        async with self.opened.transaction(DEFAULT_TENANT_ID) as tx:
            return [(record.action, record.outcome) for record in reversed(await tx.audit.latest(20))]


@pytest.fixture
def database_of(database):
    return open_database(database.app_url, pool_size=4, application="test")


async def test_whoever_comes_is_made_a_user_with_the_roles_of_its_groups(database_of):
    """L05"""
    async with database_of as opened, an_identity_provider() as provider:
        front = Front(opened, provider)
        roles = {"*": ("viewer",), "devs": ("developer",)}
        async with front.serving(create_users=True, roles=roles):
            said = {"preferred_username": "Ann.Lee@corp", "name": "Ann Lee", "groups": ["devs", "x"]}
            ann, again = await asyncio.gather(
                *(
                    front.who(provider.token("ann", email="a@b.c", email_verified=True, **said))
                    for _ in range(2)
                )
            )
            assert ann == again
            assert (ann.name, ann.user_id, ann.limits) == ("ann.lee", ann.id, ())
            assert (ann.may("contexts:write"), ann.may("users:write")) == (True, False)
            less = await front.who(provider.token("ann", groups="x"))
            assert (less.id, less.may("contexts:read"), less.may("contexts:write")) == (ann.id, True, False)
            namesake = await front.who(provider.token("other", preferred_username="ann.lee"))
            assert namesake.id != ann.id
            assert namesake.name.startswith("ann.lee-")
            odd = await front.who(provider.token("x/../y", name="\u202e\x07<b>", preferred_username="!!"))
            assert odd.name.isascii()
        assert await front.records() == [
            ("identities.add", "ok"),
            ("users.roles", "ok"),
            ("identities.add", "ok"),
            ("identities.add", "ok"),
        ]


async def test_without_leave_only_a_user_that_waits_for_this_address_comes_in(database_of):
    async with database_of as opened, an_identity_provider() as provider:
        front = Front(opened, provider)
        ann = await front.add_user("ann", email="ann@example.com", roles=("developer",))
        async with front.serving():
            for claims in (
                {},
                {"email": "ann@example.com"},
                {"email": "ann@example.com", "email_verified": "true"},
                {"email": "bob@example.com", "email_verified": True},
                {"preferred_username": "ann"},
            ):
                front.wall.advance(seconds=11)
                assert await front.is_refused(provider.token("s1", **claims)), claims
            front.wall.advance(seconds=11)
            known = {"email": "Ann@Example.com", "email_verified": True}
            first = await front.who(provider.token("s1", **known))
            assert (first.id, first.may("contexts:write")) == (ann.id, True), "its roles are ours to give"
            assert (await front.who(provider.token("s1"))).id == ann.id
            assert await front.is_refused(provider.token("s2", **known)), "one address is one person"
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                await tx.users.replace(ann.model_copy(update={"status": UserStatus.SUSPENDED}))
            assert await front.is_refused(provider.token("s1"))


async def test_a_user_with_a_password_is_not_taken_over_by_an_address(database_of):
    async with database_of as opened, an_identity_provider() as provider:
        front = Front(opened, provider)
        chief = await front.add_user("chief", email="chief@example.com", roles=("owner",))
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            await tx.users.put_password(chief.id, "$argon2id$…")
        async with front.serving(create_users=True, roles={"*": ("viewer",)}):
            claims = {"email": "chief@example.com", "email_verified": True, "preferred_username": "chief"}
            thief = await front.who(provider.token("thief", **claims))
        assert thief.id != chief.id
        assert not thief.may("users:write")


async def test_the_last_owner_keeps_its_roles_whatever_the_provider_says(database_of):
    async with database_of as opened, an_identity_provider() as provider:
        front = Front(opened, provider)
        async with front.serving(create_users=True, roles={"chiefs": ("owner",)}):
            assert (await front.who(provider.token("a", groups=["chiefs"]))).may("users:write")
            assert (await front.who(provider.token("a", groups=[]))).may("users:write")
            await front.who(provider.token("b", groups=["chiefs"]))
            assert not (await front.who(provider.token("a", groups=[]))).may("users:write")


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
async def test_a_token_that_is_not_exactly_of_this_provider_for_us_is_refused(database_of):
    """A01, A02, A03, A09"""
    async with database_of as opened, an_identity_provider() as provider, an_identity_provider() as other:
        front = Front(opened, provider)
        provider.add_key("rsa", "RS256")
        provider.add_key("ed", "EdDSA")
        provider.add_key("weak", "RS256", rsa.generate_private_key(65537, 1024))
        other.issuer, theirs = provider.issuer, other.issuer
        async with front.serving(create_users=True):
            for kid in ("first", "rsa", "ed"):
                assert not await front.is_refused(provider.token("ann", kid=kid))
            assert not await front.is_refused(provider.token("ann", aud=["https://userinfo", AUDIENCE]))
            public = provider.keys["first"][1].public_key()
            payload = jwt.decode(provider.token("ann"), options={"verify_signature": False})
            now = payload["iat"]
            bad = [
                other.token("ann"),
                provider.token("ann", kid="weak"),
                provider.token("ann", header={"kid": "shared"}),
                provider.token("ann", header={"kid": "rsa"}),
                provider.token("ann", header={"kid": "unknown"}),
                provider.token("ann", header={"typ": "logout+jwt"}),
                jwt.encode(payload, "c" * 64, algorithm="HS256", headers={"kid": "shared"}),
                jwt.encode(payload, str(public).ljust(64, "x"), algorithm="HS256", headers={"kid": "first"}),
                jwt.encode(payload, None, algorithm="none", headers={"kid": "first"}),
                jwt.encode(payload, provider.keys["first"][1], algorithm="ES256"),
                provider.token("ann", nonce="n"),
                provider.token("ann", at_hash="h"),
                provider.token("ann", aud="https://elsewhere.example"),
                provider.token("ann", aud=None),
                provider.token("ann", iss=theirs),
                provider.token("ann", exp=now - 60),
                provider.token("ann", exp=None),
                provider.token("ann", exp=str(now + 60)),
                provider.token("ann", iat=now + 600),
                provider.token("ann", nbf=now + 600),
                provider.token("x" * 300),
                provider.token("a\0b"),
                provider.token(""),
            ]
            allowed = [number for number, token in enumerate(bad) if not await front.is_refused(token)]
        assert allowed == []


async def test_a_new_key_is_found_at_once_and_made_up_names_do_not_wear_the_provider_out(database_of):
    async with database_of as opened, an_identity_provider() as provider:
        front = Front(opened, provider)
        async with front.serving(create_users=True):
            await front.who(provider.token("ann"))
            for number in range(20):
                assert await front.is_refused(provider.token("ann", header={"kid": f"made-up-{number}"}))
            assert provider.asked == 1
            front.wall.advance(seconds=31)
            provider.add_key("second")
            await front.who(provider.token("ann", kid="second"))
            assert provider.asked == 2
            old = provider.token("ann")
            del provider.keys["first"]
            front.wall.advance(minutes=61)
            assert await front.is_refused(old), "what the provider took back holds no more"


async def test_while_the_provider_is_down_its_keys_hold_for_a_day(database_of):
    async with database_of as opened, an_identity_provider() as provider:
        front = Front(opened, provider)
        async with front.serving(create_users=True):
            provider.down = True
            with pytest.raises(Unavailable):
                await front.who(provider.token("ann"))
            provider.down = False
            front.wall.advance(seconds=31)
            await front.who(provider.token("ann"))
            provider.down = True
            front.wall.advance(hours=20)
            await front.who(provider.token("ann"))
            front.wall.advance(hours=5)
            with pytest.raises(Unavailable):
                await front.who(provider.token("ann"))


async def test_a_provider_of_another_name_or_place_is_not_believed(database_of):
    """I05, I07"""
    async with database_of as opened, an_identity_provider() as provider:
        for change in ({"called": "https://evil.example"}, {"redirects_to": "http://127.0.0.1:1/x"}):
            front = Front(opened, provider)
            provider.called, provider.redirects_to = change.get("called", ""), change.get("redirects_to")
            async with front.serving(create_users=True):
                with pytest.raises(Unavailable):
                    await front.who(provider.token("ann"))
        provider.called, provider.redirects_to = "", None
        guarded = Front(opened, provider, networks=())
        async with guarded.serving(create_users=True):
            with pytest.raises(Unavailable):
                await guarded.who(provider.token("ann"))
        assert provider.asked == 0


async def test_who_manages_users_links_an_identity_and_takes_it_away(database, redis_url):
    """L05"""
    async with an_identity_provider() as provider:
        configured = {"issuer": provider.issuer, "audiences": [AUDIENCE]}
        settings = settings_for(
            database.app_url, redis_url, identity_providers=[configured], environment="development"
        )
        async with running_rest(settings) as url, httpx2.AsyncClient(base_url=url, timeout=60) as http:

            async def by(credential: str, method: str, path: str, json=None) -> httpx2.Response:
                headers = {"Authorization": f"Bearer {credential}"}
                return await Rest(http)(method, path, headers=headers, json=json)

            root = await new_key(database.owner_url)
            roles = {"ann": "developer", "bob": "viewer", "chief": "admin"}
            users = {
                name: (
                    await by(root, "POST", "/api/v1/users", {"username": name, "name": name, "roles": [role]})
                ).json()["id"]
                for name, role in roles.items()
            }
            at = {name: f"/api/v1/users/{user}/identities" for name, user in users.items()}
            identity = {"issuer": provider.issuer, "subject": "s1"}
            linked = await by(root, "POST", at["ann"], identity)
            assert linked.status_code == 201
            assert (await by(root, "POST", at["bob"], identity)).status_code == 409
            assert [one["subject"] for one in (await by(root, "GET", at["ann"])).json()["items"]] == ["s1"]
            token = provider.token("s1")
            assert (await by(token, "GET", "/api/v1/me")).json()["id"] == users["ann"]

            lesser = await new_key(database.owner_url, "users:*", "search:read")
            refused = await by(lesser, "POST", at["chief"], identity | {"subject": "thief"})
            assert refused.status_code == 403, "who links an admin may do what an admin may"
            one = f"{at['ann']}/{linked.json()['id']}"
            assert (await by(root, "DELETE", one.replace(users["ann"], users["bob"]))).status_code == 404
            assert (await by(root, "DELETE", one)).status_code == 204
            async with asyncio.timeout(40):
                while (await by(token, "GET", "/api/v1/me")).status_code != 401:
                    await asyncio.sleep(0.1)


async def test_both_services_take_its_tokens(database, redis_url):
    async with an_identity_provider() as provider:
        configured = {
            "issuer": provider.issuer,
            "audiences": [AUDIENCE],
            "create_users": True,
            "roles": {"*": ["viewer"]},
        }
        options = {"identity_providers": [configured], "environment": "development"}
        with pytest.raises(ValidationError, match="https"):
            settings_for(database.app_url, redis_url, **options | {"environment": Environment.PRODUCTION})
        async with (
            running_rest(settings_for(database.app_url, redis_url, **options)) as rest_url,
            running_mcp(settings_for(database.mcp_url, redis_url, **options)) as mcp_url,
            httpx2.AsyncClient(
                headers={"Authorization": f"Bearer {provider.token('ann', name='Ann')}"}
            ) as http,
        ):
            http.base_url = httpx2.URL(rest_url)
            me = await Rest(http)("GET", "/api/v1/me")
            assert (me.status_code, me.json()["name"]) == (200, "ann")
            ticket = await http.post(f"{mcp_url}/ws/tickets")
            assert ticket.status_code == 201
            metadata = (await http.get(f"{mcp_url}/.well-known/oauth-protected-resource")).json()
            assert metadata["authorization_servers"][0] == provider.issuer
