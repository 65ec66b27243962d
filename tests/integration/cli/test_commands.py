"""The command `devops-mcp` as an operator runs it: a process, its environment, what it prints."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from pydantic import SecretStr

from devops_mcp.auth.api_keys import generate_key, hash_secret, parse_key
from devops_mcp.auth.authenticator import Authenticator
from devops_mcp.auth.keyring import Keyring
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.connection import open_sqs
from devops_mcp.events.provisioning import queue_definitions
from devops_mcp.models.errors import InvalidInput
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import PrincipalKind
from devops_mcp.operations.accounts import open_accounts
from devops_mcp.operations.bootstrap import add_key
from devops_mcp.operations.toolsets import Toolsets
from devops_mcp.repositories.database import open_database
from devops_mcp.repositories.migrate import migrations
from support.databases import empty_database
from support.rest import a_caller
from support.services import settings_for

PASSWORD = "correct horse battery staple"


def devops_mcp(*arguments: str, said: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command with these settings and no others."""
    return subprocess.run(
        [sys.executable, "-m", "devops_mcp.cli.main", *arguments],
        env={**os.environ, **{f"DEVOPS_MCP_{name}": value for name, value in settings.items()}},
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_migrate_needs_nothing_but_the_owners_address_and_may_be_run_again(stack, administration):
    with empty_database(stack, administration) as owner_url:
        first = devops_mcp("db", "migrate", MIGRATION_DATABASE_URL=owner_url)
        again = devops_mcp("db", "migrate", MIGRATION_DATABASE_URL=owner_url)
    expected = [*(f"applied {name}" for name, _ in migrations()), "the schema is up to date"]
    assert (first.returncode, first.stdout.splitlines(), first.stderr) == (0, expected, "")
    assert (again.returncode, again.stdout.splitlines()) == (0, expected[-1:])


async def test_a_created_key_opens_the_door_for_what_it_was_granted(database):
    made = devops_mcp(
        "keys", "create", "--name", "night shift", "--grant", "tools:read:*", "--grant", "search:read", "--kind", "agent",
        MIGRATION_DATABASE_URL=database.owner_url,
    )  # fmt: skip
    assert (made.returncode, made.stderr) == (0, "")
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        principal = await Authenticator(opened.find_api_keys).principal_of(made.stdout.strip())
    assert (principal.tenant_id, principal.kind, principal.name) == (
        DEFAULT_TENANT_ID,
        PrincipalKind.AGENT,
        "night shift",
    )
    assert principal.may("tools:read:github_search")
    assert not principal.may("tools:write:github_issue_write")


async def test_a_created_key_is_in_the_audit_log_and_its_secret_nowhere(database):
    """L05, A10"""
    made = devops_mcp(
        "keys", "create", "--name", "ci", "--grant", "*", MIGRATION_DATABASE_URL=database.owner_url
    )
    parts = parse_key(made.stdout.strip())
    assert parts is not None
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        [stored] = await opened.find_api_keys(parts.prefix)
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            [record] = await tx.audit.latest(10)
    assert stored.secret_hash == hash_secret(parts.secret)
    assert (record.action, record.target, record.outcome) == ("key.create", f"key:{parts.prefix}", "ok")
    assert record.arguments == {"name": "ci", "kind": "service", "roles": [], "grants": ["*"]}
    assert parts.secret not in repr(record)


async def test_a_key_for_a_toolset_that_there_is_not_is_not_created():
    with pytest.raises(InvalidInput, match="no toolset 'gihub'"):
        await add_key(
            "", generate_key(), name="x", grants=("*",), kind=PrincipalKind.AGENT, toolsets=("gihub",)
        )


@pytest.mark.parametrize("command", [("db", "migrate"), ("keys", "create", "--name", "x", "--grant", "*")])
def test_a_missing_address_is_named_in_one_line(command):
    refused = devops_mcp(*command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("DEVOPS_MCP_MIGRATION_DATABASE_URL is missing")
    assert len(refused.stderr.splitlines()) == 1


def test_the_version_is_told_and_the_help_is_for_those_who_use_it():
    told, helped = devops_mcp("--version"), devops_mcp("--help")
    assert (told.returncode, told.stdout) == (0, f"devops-mcp {version('devops-mcp')}\n")
    assert helped.returncode == 0
    assert "imported" not in helped.stdout


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("login", "--url", "devops.example.com"), "devops.example.com is not the address of rest-api"),
        (("search", "x", "--since", "now"), "since: must be a time such as"),
        (("demo", "--state", "/nowhere"), "the story ends here: nothing runs in /nowhere"),
    ],
)
def test_what_is_wrong_with_an_argument_is_one_line_of_the_error_output(command, why):
    refused = devops_mcp(*command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(why)
    assert len(refused.stderr.splitlines()) == 1


async def test_the_first_owner_is_created_and_may_log_in(database, redis_url):
    """L05"""
    create = ("users", "create", "--username", "Alice", "--role", "owner")
    made = devops_mcp(*create, said=f"{PASSWORD}\n", MIGRATION_DATABASE_URL=database.owner_url)
    assert (made.returncode, made.stderr) == (0, "")
    again = devops_mcp(*create, said=f"{PASSWORD}\n", MIGRATION_DATABASE_URL=database.owner_url)
    short = devops_mcp(*create, said="planted\n", MIGRATION_DATABASE_URL=database.owner_url)
    async with (
        open_database(database.app_url, pool_size=1, application="test") as opened,
        open_redis(redis_url, command_timeout_s=5) as redis,
    ):
        with open_accounts(
            opened, redis, Keyring((SecretStr(PASSWORD * 2),)), "https://rest.example.com", Toolsets(())
        ) as accounts:
            principal = await accounts.login.verify_password("alice", SecretStr(PASSWORD))
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            record = (await tx.audit.latest(10))[-1]
    assert (str(principal.id), principal.may("users:write")) == (made.stdout.strip(), True)
    assert (record.action, record.target) == ("users.create", f"user:{principal.id}")
    assert again.stderr == "another user of the tenant has this username\n"
    assert (short.returncode, short.stdout) == (1, "")
    assert "planted" not in short.stderr
    assert "12 to 256 characters" in short.stderr


def test_a_database_that_does_not_answer_is_one_line(database):
    refused = devops_mcp("db", "migrate", MIGRATION_DATABASE_URL="postgresql://owner:hunter2@127.0.0.1:1/db")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "the database cannot be reached as the schema's owner: it does not answer\n"


def test_a_key_for_a_tenant_that_does_not_exist_is_not_made(database):
    tenant = str(new_id())
    refused = devops_mcp(
        "keys",
        "create",
        "--name",
        "x",
        "--grant",
        "*",
        "--tenant",
        tenant,
        MIGRATION_DATABASE_URL=database.owner_url,
    )
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", f"there is no tenant {tenant}\n")


def test_a_services_role_is_not_the_owner_and_is_told_so(database):
    refused = devops_mcp("db", "migrate", MIGRATION_DATABASE_URL=database.app_url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("the role given as the schema's owner lacks a right: permission denied")
    assert len(refused.stderr.splitlines()) == 1


async def test_queues_are_created_where_the_settings_say(queues):
    settings = {"SQS_ENDPOINT_URL": queues.endpoint_url, "QUEUE_PREFIX": f"{queues.prefix}more-"}
    assert devops_mcp("queues", "create", **settings).returncode == 0
    async with open_sqs(endpoint_url=queues.endpoint_url, region=queues.region) as client:
        found = await client.list_queues(QueueNamePrefix=settings["QUEUE_PREFIX"])
    names = {url.rpartition("/")[2] for url in found["QueueUrls"]}
    assert names == {definition.name for definition in queue_definitions(settings["QUEUE_PREFIX"])}


async def test_secrets_are_sealed_anew_and_what_does_not_open_is_said(database, redis_url):
    old, new, wrong = (
        f"a master key of {when}, which is long enough" for when in ("last year", "now", "nobody")
    )
    before = settings_for(database.app_url, redis_url).model_copy(update={"master_keys": (SecretStr(old),)})
    async with a_caller(database, before) as rest:
        body = {"name": "code", "system": "github", "credentials": {"token": "x"}}
        assert (await rest("POST", "/api/v1/integrations", json=body)).status_code == 201
        hook = {"name": "x", "url": "https://example.com/"}
        assert (await rest("POST", "/api/v1/webhook-endpoints", json=hook)).status_code == 201

    def reseal(*keys: str):
        urls = {"DATABASE_URL": database.worker_url, "REDIS_URL": redis_url}
        return devops_mcp("secrets", "reseal", **urls, MASTER_KEYS=json.dumps(keys))

    lost = reseal(wrong)
    assert (lost.returncode, "not opened: 2" in lost.stderr) == (1, True)
    done = reseal(new, old)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "sealed anew: 2")
