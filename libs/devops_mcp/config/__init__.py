"""Settings: from the environment and one YAML file, checked at the start."""

from devops_mcp.config.loading import load_settings, load_settings_of_a_command, unknown_variables
from devops_mcp.config.settings import (
    Environment,
    IdentityProviderSettings,
    IntegrationSettings,
    LogFormat,
    PollSettings,
    ServerSettings,
    Settings,
)

__all__ = [
    "Environment",
    "IdentityProviderSettings",
    "IntegrationSettings",
    "LogFormat",
    "PollSettings",
    "ServerSettings",
    "Settings",
    "load_settings",
    "load_settings_of_a_command",
    "unknown_variables",
]
