"""The command `devops-mcp`.

What needs the schema's owner is here: applying migrations, and the first API key of an installation. What a command needs is imported by
it, since `devops-mcp stdio` is started often and needs little.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getpass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from pydantic import SecretStr, ValidationError

from devops_mcp.models.errors import ConfigurationError, Conflict, InvalidInput, PlatformError
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.models.passages import PassageKind, Question
from devops_mcp.models.permissions import BuiltInRole
from devops_mcp.models.principals import PrincipalKind
from devops_mcp.models.violations import refused

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
db = typer.Typer(no_args_is_help=True, help="The database schema.")
keys = typer.Typer(no_args_is_help=True, help="API keys.")
users = typer.Typer(no_args_is_help=True, help="Users.")
queues = typer.Typer(no_args_is_help=True, help="The queues.")
secrets = typer.Typer(no_args_is_help=True, help="What is kept encrypted.")
app.add_typer(db, name="db")
app.add_typer(keys, name="keys")
app.add_typer(users, name="users")
signing_keys = typer.Typer(no_args_is_help=True, help="The keys that sign access tokens.")
app.add_typer(queues, name="queues")
app.add_typer(signing_keys, name="signing-keys")
app.add_typer(secrets, name="secrets")


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"devops-mcp {version('devops-mcp')}")
        raise typer.Exit


@app.callback()
def devops_mcp(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """DevOps MCP from a terminal: sign in and search, speak the protocol on standard input and output, set an installation up.

    A command that fails says why in one line, with exit code 1; 2 for arguments that it does not take.
    """


@db.command("migrate")
def migrate_database() -> None:
    """Bring the schema up to this version. Safe to run again, and from several places at once."""
    from devops_mcp.repositories.migrate import migrate

    applied = asyncio.run(migrate(_owner_url()))
    for name in applied:
        typer.echo(f"applied {name}")
    typer.echo("the schema is up to date")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Whose key it is; it stands in the audit log.")],
    grant: Annotated[
        list[str] | None,
        typer.Option(help="A permission pattern, such as 'tools:read:*' or '*'; repeat for several."),
    ] = None,
    role: Annotated[
        list[BuiltInRole] | None,
        typer.Option(help="A built-in role; repeat for several."),
    ] = None,
    kind: Annotated[PrincipalKind, typer.Option(help="Who uses it.")] = PrincipalKind.SERVICE,
    toolset: Annotated[
        list[str] | None,
        typer.Option(
            help="A system whose tools its MCP connections list at once, or 'all'; repeat for several."
        ),
    ] = None,
    tenant: Annotated[UUID, typer.Option(help="The tenant's id.")] = DEFAULT_TENANT_ID,
) -> None:
    """Create an API key and print it; it is shown this once."""
    from devops_mcp.auth.api_keys import generate_key
    from devops_mcp.operations.bootstrap import add_key

    key = generate_key()
    if not asyncio.run(
        add_key(
            _owner_url(),
            key,
            name=name,
            grants=tuple(grant or ()),
            roles=tuple(role or ()),
            kind=kind,
            toolsets=tuple(toolset or ()),
            tenant_id=tenant,
        )
    ):
        raise Conflict("the tenant has a key of the same prefix; try again")
    typer.echo(key)


@users.command("create")
def create_user(
    username: Annotated[str, typer.Option(help="What the user logs in by.")],
    role: Annotated[list[BuiltInRole], typer.Option(help="A built-in role; repeat for several.")],
    name: Annotated[str | None, typer.Option(help="The person's name; default: the username.")] = None,
    email: Annotated[str | None, typer.Option(help="Does for the username too.")] = None,
    tenant: Annotated[UUID, typer.Option(help="The tenant's id.")] = DEFAULT_TENANT_ID,
) -> None:
    """Create a user, such as the first owner. The password is asked for, or read from standard input where that is no terminal."""
    from devops_mcp.operations.bootstrap import add_user
    from devops_mcp.operations.users import NewUser

    password = getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    with _told_at_once():
        draft = NewUser(
            username=username,
            name=name or username,
            email=email,
            roles=tuple(role),
            password=SecretStr(password),
        )
    typer.echo(asyncio.run(add_user(_owner_url(), draft, tenant_id=tenant)))


@signing_keys.command("forget")
def forget_all_signing_keys() -> None:
    """Forget them all, where one became known: within a minute no access token issued before is taken. Sessions go on with new ones."""
    from devops_mcp.operations.bootstrap import forget_signing_keys

    count = asyncio.run(forget_signing_keys(_owner_url()))
    typer.echo(f"forgot {count}; the services make a new one when they need it")


@queues.command("create")
def create_all_queues() -> None:
    """Create the queues and their dead-letter queues; those that exist are brought up to date and keep their messages."""
    from devops_mcp.config import load_settings_of_a_command
    from devops_mcp.events.provisioning import create_queues

    settings = load_settings_of_a_command()
    asyncio.run(
        create_queues(settings.sqs_endpoint_url, region=settings.aws_region, prefix=settings.queue_prefix)
    )
    typer.echo("the queues are there")


@app.command("login")
def login(
    url: Annotated[
        str | None, typer.Option(help="The address of rest-api, such as https://devops.example.com.")
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            help="What to ask for, as grants divided by spaces; default: reading and calling tools."
        ),
    ] = None,
    resource: Annotated[
        str | None, typer.Option(help="The service that takes the token; default: mcp-server.")
    ] = None,
    state: Annotated[
        Path, typer.Option(help="Without an address: the folder of the suite that 'make run' started.")
    ] = Path(".data"),
) -> None:
    """Sign in through a browser, here or on another device. The tokens are kept in a file that only you can read."""
    from devops_mcp.cli.login import signing_in
    from devops_mcp.cli.stdio import running

    address = url or running(state).get("rest")
    if address is None:
        raise InvalidInput(f"no server is known: give --url, or start one with 'make run' ({state})")
    with signing_in() as here:
        signed_in = here.sign_in(address, scope, resource, typer.echo)
    typer.echo(f"signed in at {signed_in.issuer}, for {signed_in.audience}")


@app.command("logout")
def logout() -> None:
    """End the session of 'devops-mcp login' and forget its tokens."""
    from devops_mcp.cli.login import signing_in

    with signing_in() as here:
        typer.echo("signed out" if here.sign_out() else "nobody was signed in")


@app.command("token")
def token() -> None:
    """Print an access token of 'devops-mcp login' that is good for a minute at least, as for 'Authorization: Bearer'."""
    from devops_mcp.cli.login import signing_in

    with signing_in() as here:
        signed_in = here.current()
    if signed_in is None:
        raise InvalidInput("nobody is signed in; run 'devops-mcp login'")
    typer.echo(signed_in.access_token)


@app.command("search")
def search(
    query: Annotated[list[str], typer.Argument(help="The question, in your own words.")],
    kind: Annotated[list[PassageKind] | None, typer.Option(help="What it is; repeat for several.")] = None,
    system: Annotated[
        list[str] | None, typer.Option(help="Of events: such as 'github'; repeat for several.")
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="An integration; repeat for several.")] = None,
    subject: Annotated[str | None, typer.Option(help="What an event is about, such as 'acme/shop'.")] = None,
    context: Annotated[UUID | None, typer.Option(help="Within this context.")] = None,
    since: Annotated[str | None, typer.Option(help="Not before, as 2026-11-21T10:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    as_of: Annotated[str | None, typer.Option(help="As of this time: search the past.")] = None,
    before_event: Annotated[UUID | None, typer.Option(help="As of right before this event.")] = None,
    limit: Annotated[int, typer.Option(help="How many, up to 50.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as rest-api gives it.")] = False,
    url: Annotated[str | None, typer.Option(help="The address of rest-api; default: the login's.")] = None,
    state: Annotated[
        Path, typer.Option(help="Without an address: the folder of the suite that 'make run' started.")
    ] = Path(".data"),
) -> None:
    """Search contexts, events and kept results by a question in your own words.

    The API key comes from DEVOPS_MCP_API_KEY; without one the login is used, where it is for rest-api ('devops-mcp login --resource').
    """
    from devops_mcp.cli.search import main as found

    given = {"since": since, "until": until, "as_of": as_of, "before_event": before_event}
    wanted = {"kinds": kind or (), "systems": system or (), "sources": source or (), "limit": limit}
    about = {"query": " ".join(query), "subject": subject, "context_id": context}
    with _told_at_once():
        question = Question.model_validate({**given, **wanted, **about})
    for line in found(url, state, question, as_json=as_json):
        typer.echo(line)


@secrets.command("reseal")
def reseal_secrets() -> None:
    """Seal with the newest master key what older ones sealed, so that they can be taken away. Safe to do while all runs, and again.

    Needs the worker's settings. Exit code 1: some could not be opened; they are in the log, and must be given anew.
    """
    from devops_mcp.config import load_settings
    from devops_mcp.operations.secret_rotation import reseal

    count, left = asyncio.run(reseal(load_settings()))
    typer.echo(f"sealed anew: {count}")
    if left:
        typer.echo(f"not opened: {left}; keep the older master keys, or give these secrets anew", err=True)
        raise typer.Exit(1)


@app.command("stdio")
def serve_on_stdio(
    url: Annotated[
        str | None,
        typer.Option(help="The server's WebSocket, such as wss://mcp.example.com/ws [DEVOPS_MCP_URL]."),
    ] = None,
    state: Annotated[
        Path, typer.Option(help="Without an address: the folder of the suite that 'make run' started.")
    ] = Path(".data"),
    reconnect_within: Annotated[
        float,
        typer.Option(help="Seconds for which a connection that broke off is tried again; 0: not at all."),
    ] = 300.0,
) -> None:
    """Speak the protocol on standard input and output, for clients that start their servers as programs.

    The API key comes from DEVOPS_MCP_API_KEY; without one the login of 'devops-mcp login' is used, where it is for that server.
    A connection that breaks off is made again, and the client goes on as before.
    Exit codes: 0 the input ended, 2 no address or key, 3 the server cannot be reached, 4 it refuses, 5 the connection broke off.
    """
    from devops_mcp.cli.stdio import main as bridge

    raise typer.Exit(bridge(url, state, reconnect_within))


@app.command("demo")
def demo(
    state: Annotated[Path, typer.Option(help="Folder of the suite that 'make run' started.")] = Path(".data"),
) -> None:
    """Play the main story against a running suite."""
    from devops_mcp.cli.demo import main as play  # needs the extra devops-mcp[cli]

    raise typer.Exit(play(["--state", str(state)]))


@contextmanager
def _told_at_once() -> Iterator[None]:
    """All that is wrong with what was given, in one line."""
    try:
        yield
    except ValidationError as error:
        raise refused(error) from None


def _owner_url() -> str:
    from devops_mcp.config import load_settings_of_a_command
    from devops_mcp.config.settings import PREFIX

    url = load_settings_of_a_command().migration_database_url
    if url is None or not url.get_secret_value():
        raise ConfigurationError(
            f"{PREFIX}MIGRATION_DATABASE_URL is missing; set it to the address of the schema's owner"
        )
    return url.get_secret_value()


def main() -> None:
    """Run a command; what goes wrong is one line and exit code 1."""
    try:
        app()
    except PlatformError as error:
        typer.echo(error.message, err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
