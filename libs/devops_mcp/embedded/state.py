"""The state folder: one supervisor at a time, and passwords that are made once and stay readable by their owner only."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from devops_mcp.models.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the embedded parts know each other by. `repr` never shows a value."""

    postgres: str
    owner: str
    rest: str
    mcp: str
    work: str
    redis: str
    development_key: str
    github_webhook: str
    master_key: str

    def __repr__(self) -> str:
        return "Secrets(…)"

    @classmethod
    def generate(cls) -> "Secrets":
        """Fresh values; the development key has the form of an API key, `dm_<12 characters>_<43 characters>`."""
        names = [f.name for f in fields(cls) if f.name != "development_key"]
        return cls(development_key=_new_key(), **{name: secrets.token_hex(24) for name in names})


def _new_key() -> str:
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
    prefix = "".join(secrets.choice(alphabet) for _ in range(12))
    return f"dm_{prefix}_{secrets.token_urlsafe(32)}"


def prepare_state(folder: Path) -> Path:
    """Create the folder; as root others may pass through it, because PostgreSQL runs as another user beneath it."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return folder


@contextmanager
def locked_state(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises `ConfigurationError` when another holds it."""
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ConfigurationError(
                f"{folder} is in use by process {lock.read().strip() or '?'}; stop that one, or choose another folder with --state"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def load_secrets(folder: Path) -> Secrets:
    """The folder's secrets; made and kept at the first call.

    Raises `ConfigurationError` when they are gone although a database was made with them.
    """
    path = folder / "secrets.json"
    if path.exists():
        kept = json.loads(path.read_text("utf-8"))
        known = Secrets(**(asdict(Secrets.generate()) | kept))
        if asdict(known) != kept:  # made by an earlier version, which knew fewer
            write_private(path, json.dumps(asdict(known), indent=2))
        return known
    if (folder / "postgres").exists():
        raise ConfigurationError(
            f"{path} is missing, and the database beside it needs it; put it back, or delete {folder}"
        )
    made = Secrets.generate()
    write_private(path, json.dumps(asdict(made), indent=2))
    return made


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read; a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
