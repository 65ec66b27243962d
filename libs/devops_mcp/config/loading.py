"""From the environment and the file to the settings, or to what is wrong with them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import SettingsError

from devops_mcp.config.settings import PREFIX, Settings
from devops_mcp.models.errors import ConfigurationError
from devops_mcp.models.violations import problem_of

CONFIG_FILE = f"{PREFIX}CONFIG_FILE"
_READ_ELSEWHERE = ("config_file", "api_key", "url", "login_file")
_BEGIN_ELSEWHERE = ("embedded_", "demo_")
"""Of variables with our prefix: what the command line and the embedded start read."""


def load_settings(defaults: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings from the file and the process's environment; `defaults` hold for what neither says.

    Raises `ConfigurationError` that names each missing or wrong setting and never shows a value.
    """
    path = os.environ.get(CONFIG_FILE)
    try:
        return Settings(**{**(defaults or {}), **(_read_file(Path(path)) if path else {})})
    except ValidationError as error:
        raise ConfigurationError(
            "; ".join(_describe(fault["loc"], fault["type"], problem_of(fault)) for fault in error.errors())
        ) from None
    except SettingsError as error:
        field = str(error).partition('"')[2].partition('"')[0]
        raise ConfigurationError(
            f'{PREFIX}{field.upper()} or a setting within it is not JSON; a list is written as ["a", "b"]'
        ) from None


def load_settings_of_a_command(defaults: Mapping[str, Any] | None = None) -> Settings:
    """The settings, for a program that needs neither the services' database nor Redis nor a key; raises as `load_settings` does."""
    unused = "this command needs no master key at all"
    needless = {"database_url": "postgresql:///", "redis_url": "redis://", "master_keys": (unused,)}
    return load_settings({**needless, **(defaults or {})})


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables with our prefix that nothing reads, mostly misspelt ones. Keys of a file are refused for that."""
    ours = {
        name: name.upper().removeprefix(PREFIX).lower()
        for name in environment
        if name.upper().startswith(PREFIX)
    }
    return sorted(
        name
        for name, rest in ours.items()
        if rest.partition("__")[0] not in Settings.model_fields
        and rest not in _READ_ELSEWHERE
        and not rest.startswith(_BEGIN_ELSEWHERE)
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{CONFIG_FILE} names {path}, which cannot be read: {error.strerror}"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"{path} is not YAML: {getattr(error, 'problem', 'cannot be parsed')}"
        ) from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold a mapping of settings")
    return content


def _describe(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    name = PREFIX + "__".join(str(part).upper() for part in loc)
    if kind == "missing":
        return f"{name} is missing; set it, or start everything with 'make run'"
    return f"{name if loc else 'settings'}: {message}"
