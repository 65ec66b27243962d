"""Settings of a GitHub integration."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from devops_mcp.adapters.options import Address, Secret

REPO_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,38}/[A-Za-z0-9._-]{1,100}$"
"""`owner/name`; GitHub's own rule for both, https://docs.github.com/repositories"""
MAX_REPO = 140


class GitHubSettings(BaseModel):
    """`base_url` is `https://HOST/api/v3` for an Enterprise server. Without a token only public things are read, 60 requests an hour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: Address = Field(default="https://api.github.com", pattern=r"^https?://[^\s?#]+$")
    token: Secret | None = None
    default_repo: str | None = Field(default=None, pattern=REPO_PATTERN, max_length=MAX_REPO)
    """Taken where a tool is called without `repo`."""
    polled_repos: tuple[Annotated[str, Field(pattern=REPO_PATTERN, max_length=MAX_REPO)], ...] = Field(
        default=(), max_length=20
    )
    """Those that pollers look into; none: `default_repo`."""
    api_version: str = Field(default="2022-11-28", pattern=r"^\d{4}-\d{2}-\d{2}$", max_length=10)
    timeout_s: float = Field(default=10.0, gt=0, le=120)
    log_timeout_s: float = Field(default=30.0, gt=0, le=300)
    """For the download of one log."""
    max_log_bytes: int = Field(default=50_000_000, ge=1_000, le=200_000_000)
    """How much of one log is read through; only the lines asked for are kept."""
    cache_entries: int = Field(default=500, ge=0, le=10_000)
    """Answers kept for asking 'changed?' instead of again (a 304 costs no quota)."""
    cache_bytes: int = Field(default=16_000_000, ge=0, le=64_000_000)
