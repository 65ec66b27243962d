"""Users, roles and API keys: who may do what from when on, and who may not hand it on."""

import asyncio
from datetime import timedelta

import pytest
from pydantic import SecretStr

from devops_mcp.auth.authenticator import Authenticator
from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.passwords import Passwords
from devops_mcp.cache.redis import open_redis
from devops_mcp.models.accounts import IdentityName, UserStatus, UsersWanted
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PlatformError,
    RateLimited,
    Unauthenticated,
)
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.pages import Order
from devops_mcp.models.permissions import BUILT_IN
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.caller import set_address
from devops_mcp.operations import login
from devops_mcp.operations.accounts import open_accounts
from devops_mcp.operations.api_keys import ApiKeyDraft, NewApiKey
from devops_mcp.operations.roles import NewRole, RoleDraft
from devops_mcp.operations.toolsets import Toolsets
from devops_mcp.operations.users import NewUser, UserDraft
from devops_mcp.repositories.database import open_database
from support.services import new_key
from support.tenants import add_tenant

PASSWORD = SecretStr("correct horse battery staple")
WRONG = SecretStr("correct horse battery stapler")


def who(*grants: str, tenant_id=DEFAULT_TENANT_ID) -> Principal:
    return Principal(id=new_id(), tenant_id=tenant_id, kind=PrincipalKind.USER, name="chief", grants=grants)


KEYRING = Keyring((SecretStr("a master key for the tests, and nothing else"),))
ROOT = who("*")
ADMIN = who(*BUILT_IN["admin"])
CLERK = who("api_keys:write", "contexts:read")


@pytest.fixture
async def opened(database):
    for chief in (ROOT, ADMIN, CLERK):
        await new_key(database.owner_url, *chief.grants, id=chief.id, name=chief.name)
    async with open_database(database.app_url, pool_size=4, application="test") as opened:
        yield opened


@pytest.fixture
async def accounts(opened, redis_url):
    async with open_redis(redis_url, command_timeout_s=5) as redis:
        with open_accounts(opened, redis, KEYRING, "https://rest.example.com", Toolsets(())) as accounts:
            yield accounts


def draft(username: str, *roles: str, **more) -> NewUser:
    return NewUser(username=username, name=username.title(), roles=roles, **more)


async def records(opened, tenant_id=DEFAULT_TENANT_ID) -> list[tuple[str, str]]:
    async with opened.transaction(tenant_id) as tx:
        return [(record.action, record.outcome) for record in reversed(await tx.audit.latest(50))]


async def test_a_user_logs_in_by_username_or_address_with_all_that_its_roles_and_grants_allow(
    opened, accounts
):
    await accounts.roles.create(ROOT, NewRole(name="night-shift", grants=("dead_letters:*",)))
    user = await accounts.users.create(
        ROOT,
        draft(
            "Alice",
            "viewer",
            "night-shift",
            email="Alice@Example.com",
            grants=("webhooks:read",),
            password=PASSWORD,
        ),
    )
    for name in ("alice", "ALICE", "alice@example.com", "default/alice"):
        principal = await accounts.login.verify_password(name, PASSWORD)
        assert (principal.id, principal.user_id, principal.tenant_id) == (user.id, user.id, DEFAULT_TENANT_ID)
    assert principal == await accounts.login.principal_of_user(DEFAULT_TENANT_ID, user.id)
    for permission in ("contexts:read", "dead_letters:purge", "webhooks:read", "tools:read:fs_read"):
        assert principal.may(permission)
    assert not principal.may("contexts:write")
    assert ("login.password", "ok") in await records(opened)
    assert PASSWORD.get_secret_value() not in repr(user)


async def test_whatever_is_wrong_about_a_login_the_answer_is_the_same(
    opened, accounts, database, monkeypatch
):
    """A10"""
    hashed: list[str | None] = []
    matches = Passwords.matches

    async def counted(self, hash_, password):
        hashed.append(hash_)
        return await matches(self, hash_, password)

    monkeypatch.setattr(Passwords, "matches", counted)
    await accounts.users.create(ROOT, draft("alice", password=PASSWORD))
    await accounts.users.create(ROOT, draft("bob", password=PASSWORD, status=UserStatus.SUSPENDED))
    await accounts.users.create(ROOT, draft("outsider"))
    tenant_id = new_id()
    add_tenant(database, tenant_id)
    answers = set()
    for name in ("alice", "bob", "outsider", "nobody", "nowhere/alice", f"{tenant_id}/alice"):
        with pytest.raises(Unauthenticated) as refused:
            await accounts.login.verify_password(name, WRONG if name == "alice" else PASSWORD)
        answers.add((refused.value.message, refused.value.retry_after_s))
    assert len(answers) == 1
    assert len(hashed) == 6, "each is hashed, so that each takes as long"
    assert (await records(opened)).count(("login.password", "denied")) == 4
    assert await records(opened, tenant_id) == [("login.password", "denied")]


async def test_who_guesses_is_stopped_however_many_at_once_and_nobody_else_is(accounts, monkeypatch):
    monkeypatch.setattr(login, "FAILURES_PER_USER_AND_ADDRESS", 3)
    await accounts.users.create(ROOT, draft("alice", password=PASSWORD))

    async def attempt(name: str, password: SecretStr, address: str) -> type[PlatformError] | None:
        set_address(address)
        try:
            await accounts.login.verify_password(name, password)
        except PlatformError as error:
            return type(error)
        return None

    async def attempts(name: str) -> list[type[PlatformError] | None]:
        return await asyncio.gather(
            *(asyncio.create_task(attempt(name, WRONG, "192.0.2.1")) for _ in range(8))
        )

    for name in ("alice", "nobody"):
        answers = await attempts(name)
        assert (answers.count(Unauthenticated), answers.count(RateLimited)) == (3, 5), name
    assert await attempt("alice", PASSWORD, "192.0.2.1") is RateLimited
    assert await attempt("alice", PASSWORD, "192.0.2.2") is None


async def test_a_success_forgets_the_failures_before_it(accounts, monkeypatch):
    monkeypatch.setattr(login, "FAILURES_PER_USER_AND_ADDRESS", 2)
    monkeypatch.setattr(login, "PROVED_S", 0.0)
    await accounts.users.create(ROOT, draft("alice", password=PASSWORD))
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await accounts.login.verify_password("alice", WRONG)
        await accounts.login.verify_password("alice", PASSWORD)


async def test_without_redis_guessing_is_stopped_too(opened, monkeypatch):
    """R01"""
    monkeypatch.setattr(login, "FAILURES_PER_USER_AND_ADDRESS", 2)
    async with open_redis("redis://127.0.0.1:1", command_timeout_s=0.1) as redis:
        with open_accounts(opened, redis, KEYRING, "https://rest.example.com", Toolsets(())) as accounts:
            await accounts.users.create(ROOT, draft("alice", password=PASSWORD))
            for expected in (Unauthenticated, Unauthenticated, RateLimited):
                with pytest.raises(expected):
                    await accounts.login.verify_password("alice", WRONG)


async def test_a_suspended_user_is_out_with_its_keys_and_so_is_a_deleted_one(opened, accounts):
    user = await accounts.users.create(ROOT, draft("alice", "developer", password=PASSWORD))
    alice = await accounts.login.verify_password("alice", PASSWORD)
    key = await accounts.api_keys.create(alice, NewApiKey(name="laptop", roles=("viewer",), personal=True))
    assert (await Authenticator(opened.find_api_keys).principal_of(key.key)).user_id == user.id
    change = UserDraft(username="alice", name="Alice", roles=("developer",), status=UserStatus.SUSPENDED)
    await accounts.users.replace(ROOT, user.id, change)
    with pytest.raises(Unauthenticated):
        await Authenticator(opened.find_api_keys).principal_of(
            key.key
        )  # another replica, which remembers nothing
    with pytest.raises(Unauthenticated):
        await accounts.login.verify_password("alice", PASSWORD)
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        assert await tx.principals.find(user.id, utc_now()) is None
        assert await tx.principals.find(key.id, utc_now()) is None
    await accounts.users.delete(ROOT, user.id)
    assert await opened.find_api_keys(key.prefix) == []
    with pytest.raises(NotFound):
        await accounts.users.get(ROOT, user.id)


async def test_a_key_of_a_user_never_does_more_than_the_user_may_now(opened, accounts):
    user = await accounts.users.create(ROOT, draft("alice", "developer", password=PASSWORD))
    alice = await accounts.login.verify_password("alice", PASSWORD)
    key = await accounts.api_keys.create(alice, NewApiKey(name="laptop", roles=("developer",), personal=True))
    assert (await Authenticator(opened.find_api_keys).principal_of(key.key)).may("contexts:write")
    await accounts.users.replace(ROOT, user.id, UserDraft(username="alice", name="Alice", roles=("viewer",)))
    narrowed = await Authenticator(opened.find_api_keys).principal_of(key.key)
    assert (narrowed.may("contexts:read"), narrowed.may("contexts:write")) == (True, False)
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        assert await tx.principals.find(key.id, utc_now()) == narrowed


async def test_a_changed_role_counts_for_keys_and_users_from_the_next_look(opened, accounts):
    await accounts.roles.create(ROOT, NewRole(name="reader", grants=("contexts:read",)))
    user = await accounts.users.create(ROOT, draft("alice", "reader"))
    key = await accounts.api_keys.create(ROOT, NewApiKey(name="ci", roles=("reader",)))
    with pytest.raises(Conflict):
        await accounts.roles.delete(ROOT, "reader")
    await accounts.roles.replace(ROOT, "reader", RoleDraft(grants=("events:read",)))
    for principal in (
        await Authenticator(opened.find_api_keys).principal_of(key.key),
        await accounts.login.principal_of_user(DEFAULT_TENANT_ID, user.id),
    ):
        assert principal is not None
        assert (principal.may("events:read"), principal.may("contexts:read")) == (True, False)


async def test_nobody_hands_on_what_they_do_not_hold(opened, accounts):
    """Escalation: by making, by changing, by another's password, by another's secret."""
    owner = await accounts.users.create(ROOT, draft("owner", "owner", password=PASSWORD))
    keys = await accounts.api_keys.create(ROOT, NewApiKey(name="root", grants=("*",)))
    await accounts.roles.create(ROOT, NewRole(name="mighty", grants=("platform:*",)))
    helper = await accounts.users.create(ADMIN, draft("helper", "viewer"))
    more = UserDraft(username="helper", name="x", roles=("owner",))
    less = UserDraft(username="owner", name="x", roles=("viewer",))
    attempts = [
        accounts.users.create(ADMIN, draft("me-too", "owner")),
        accounts.users.create(ADMIN, draft("me-too", "mighty")),
        accounts.users.create(ADMIN, draft("me-too", grants=("*",))),
        accounts.users.create(ADMIN, draft("me-too", grants=("tenant:*",))),
        accounts.users.replace(ADMIN, helper.id, more),
        accounts.users.replace(ADMIN, owner.id, less),
        accounts.users.put_password(ADMIN, owner.id, PASSWORD),
        accounts.users.delete(ADMIN, owner.id),
        accounts.roles.create(ADMIN, NewRole(name="mine", grants=("*",))),
        accounts.roles.replace(ADMIN, "mighty", RoleDraft(grants=("contexts:read",))),
        accounts.api_keys.create(ADMIN, NewApiKey(name="mine", roles=("owner",))),
        accounts.api_keys.create(ADMIN, NewApiKey(name="mine", grants=("tools:*", "platform:read"))),
        accounts.api_keys.rotate(ADMIN, keys.id, timedelta()),
        accounts.api_keys.create(CLERK, NewApiKey(name="mine", grants=("contexts:*",))),
    ]
    for attempt in attempts:
        with pytest.raises(Forbidden):
            await attempt
    assert len([outcome for _, outcome in await records(opened) if outcome == "denied"]) == len(attempts)
    await accounts.users.create(ADMIN, draft("fine", "admin", "operator", "agent"))


async def test_the_last_active_owner_stays(accounts):
    first = await accounts.users.create(ROOT, draft("first", "owner"))
    second = await accounts.users.create(ROOT, draft("second", "owner"))
    demoted = UserDraft(username="first", name="x", roles=("admin",))
    answers = await asyncio.gather(
        accounts.users.replace(ROOT, first.id, demoted),
        accounts.users.delete(ROOT, second.id),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers].count(Conflict) == 1
    page = await accounts.users.page(ROOT, limit=10, order=Order(), wanted=UsersWanted())
    [left] = [user for user in page.items if "owner" in user.roles]
    for change in (
        UserDraft(username="x", name="x", roles=("admin",)),
        UserDraft(username="x", name="x", roles=("owner",), status=UserStatus.SUSPENDED),
    ):
        with pytest.raises(Conflict):
            await accounts.users.replace(ROOT, left.id, change)


async def test_names_are_a_tenants_own_and_unique_in_it(accounts, database):
    tenant_id = new_id()
    add_tenant(database, tenant_id)
    await accounts.users.create(ROOT, draft("alice", email="a@example.com"))
    for taken in (draft("ALICE"), draft("bob", email="A@example.com")):
        with pytest.raises(Conflict):
            await accounts.users.create(ROOT, taken)
    their_chief = who("*", tenant_id=tenant_id)
    await new_key(database.owner_url, id=their_chief.id, tenant_id=tenant_id)
    theirs = await accounts.users.create(their_chief, draft("alice", email="a@example.com"))
    with pytest.raises(NotFound):
        await accounts.users.get(ROOT, theirs.id)
    with pytest.raises(InvalidInput):
        await accounts.users.create(ROOT, draft("carol", "no-such-role"))


async def test_a_rotated_key_keeps_its_id_and_the_old_secret_only_for_its_grace(opened, accounts):
    key = await accounts.api_keys.create(ROOT, NewApiKey(name="ci", roles=("viewer",)))
    rotated = await accounts.api_keys.rotate(ROOT, key.id, timedelta(hours=1))
    assert (rotated.id, rotated.prefix) == (key.id, key.prefix)
    for text in (key.key, rotated.key):
        assert (await Authenticator(opened.find_api_keys).principal_of(text)).id == key.id
    late = Authenticator(opened.find_api_keys, now=lambda: utc_now() + timedelta(hours=2))
    assert (await late.principal_of(rotated.key)).id == key.id
    with pytest.raises(Unauthenticated):
        await late.principal_of(key.key)
    at_once = await accounts.api_keys.rotate(ROOT, key.id, timedelta())
    for text in (key.key, rotated.key):
        with pytest.raises(Unauthenticated):
            await Authenticator(opened.find_api_keys).principal_of(text)
    await accounts.api_keys.revoke(ROOT, key.id)
    with pytest.raises(Unauthenticated):
        await Authenticator(opened.find_api_keys).principal_of(at_once.key)
    with pytest.raises(Conflict):
        await accounts.api_keys.rotate(ROOT, key.id, timedelta())


async def test_who_is_remembered_with_more_rights_than_it_has_now_cannot_write_them_down(opened, accounts):
    """L05"""
    carol = await accounts.users.create(ROOT, draft("carol", password=PASSWORD))
    role = await accounts.roles.create(ROOT, NewRole(name="ops", grants=("search:read",)))
    key = await accounts.api_keys.create(ROOT, NewApiKey(name="ci", roles=("admin",)))
    remembered = await Authenticator(opened.find_api_keys).principal_of(key.key)
    attempts = [
        lambda: accounts.api_keys.replace(remembered, key.id, ApiKeyDraft(name="ci", roles=("admin",))),
        lambda: accounts.api_keys.create(remembered, NewApiKey(name="another", roles=("admin",))),
        lambda: accounts.users.create(remembered, draft("eve", "admin", password=PASSWORD)),
        lambda: accounts.users.replace(remembered, carol.id, draft("carol", "admin")),
        lambda: accounts.users.put_password(remembered, carol.id, WRONG),
        lambda: accounts.identity_links.add(
            remembered, carol.id, IdentityName(issuer="https://i", subject="e")
        ),
        lambda: accounts.roles.create(remembered, NewRole(name="mine", grants=("users:write",))),
        lambda: accounts.roles.replace(remembered, role.name, RoleDraft(grants=("users:write",))),
    ]
    await accounts.api_keys.replace(ROOT, key.id, ApiKeyDraft(name="ci", grants=("search:read",)))
    for attempt in attempts:
        with pytest.raises(Forbidden):
            await attempt()
    await accounts.api_keys.revoke(ROOT, key.id)
    for attempt in attempts:
        with pytest.raises(Unauthenticated):
            await attempt()


async def test_a_session_that_is_remembered_after_its_end_writes_nothing_down(accounts):
    """L05"""
    await accounts.users.create(ROOT, draft("alice", "admin", password=PASSWORD))
    alice = await accounts.login.verify_password("alice", PASSWORD)
    begun = await accounts.sessions.begin(alice, client_id="rest-api", audience="https://rest.example.com")
    remembered = await accounts.sessions.principal_of(begun.access_token, "https://rest.example.com")
    await accounts.users.create(remembered, draft("bob", "admin", password=PASSWORD))
    await accounts.session_list.revoke(ROOT, begun.session_id)
    with pytest.raises(Unauthenticated):
        await accounts.users.create(remembered, draft("eve", "admin", password=PASSWORD))


async def test_who_does_not_manage_keys_sees_and_ends_only_their_own(accounts):
    await accounts.users.create(ROOT, draft("alice", "viewer", password=PASSWORD))
    alice = await accounts.login.verify_password("alice", PASSWORD)
    own = await accounts.api_keys.create(alice, NewApiKey(name="mine", roles=("viewer",), personal=True))
    other = await accounts.api_keys.create(ROOT, NewApiKey(name="theirs", roles=("viewer",)))
    page = await accounts.api_keys.page(alice, limit=10)
    assert [key.id for key in page.items] == [own.id]
    for refused in (accounts.api_keys.get(alice, other.id), accounts.api_keys.revoke(alice, other.id)):
        with pytest.raises(NotFound):
            await refused
    await accounts.api_keys.revoke(alice, own.id)
    assert (await accounts.api_keys.get(alice, own.id)).revoked_at is not None
