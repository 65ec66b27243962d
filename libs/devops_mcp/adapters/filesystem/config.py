"""What an operator says about the folders that agents may see."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from devops_mcp.adapters.filesystem.paths import ROOT_NAME, deny_name

DEFAULT_DENY = (
    ".git", ".env*", ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker",
    ".netrc", ".pgpass", ".npmrc", ".pypirc", ".git-credentials", ".vault-token",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "*.tfstate", "*.tfstate.*",
)  # fmt: skip
"""Names that usually hold secrets. Setting `deny` replaces them."""

RootName = Annotated[str, Field(max_length=40)]
DenyPattern = Annotated[str, Field(max_length=300)]
_KERNEL = tuple(Path(name) for name in ("/proc", "/sys", "/dev"))


class RootSettings(BaseModel):
    """One folder that is opened to agents, with everything beneath it on the same mount.

    `allow_hard_links` lets files be read that have a second name, which may lie outside the root (a package store, `cp -l`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    read_only: bool = True
    allow_hard_links: bool = False

    @model_validator(mode="before")
    @classmethod
    def _accept_bare_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str | Path) else value

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: Path) -> Path:
        if not path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{path} must be absolute and without '..'")
        if path == Path("/") or any(path.is_relative_to(kernel) for kernel in _KERNEL):
            raise ValueError(f"{path} cannot be a root; name a folder of files")
        return path


class FilesystemSettings(BaseModel):
    """Settings of the adapter. A root is `name: /path` (read-only) or `name: {path: /path, read_only: false}`.

    A `deny` pattern (`*`, `?`, `[...]`) closes every name it matches, at any depth and in any case, with all that is beneath.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    roots: dict[RootName, RootSettings] = Field(min_length=1, max_length=50)
    deny: tuple[DenyPattern, ...] = Field(default=DEFAULT_DENY, max_length=200)
    max_read_bytes: int = Field(default=262_144, ge=1_000, le=4_194_304)
    """Most text that one call returns."""
    max_whole_bytes: int = Field(default=4_194_304, ge=1_000, le=67_108_864)
    """Largest file that is held in memory at once: hashed by a read, edited, written."""
    max_scan_bytes: int = Field(default=67_108_864, ge=2_097_152, le=1_073_741_824)
    """Most that one call reads through on its way to a line or a match."""
    max_entries: int = Field(default=50_000, ge=100, le=1_000_000)
    """Most folder entries that one call walks."""
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    threads: int = Field(default=4, ge=1, le=32)
    """Calls under way at once; file calls block, so each takes a thread."""

    @field_validator("roots")
    @classmethod
    def _check_names(cls, roots: dict[RootName, RootSettings]) -> dict[str, RootSettings]:
        for name in roots:
            if not ROOT_NAME.fullmatch(name):
                raise ValueError(
                    f"root name {name!r} must be lower case letters, digits, '-' and '_', at most 40"
                )
        return roots

    @field_validator("deny")
    @classmethod
    def _check_deny(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(deny_name(pattern) for pattern in patterns)
