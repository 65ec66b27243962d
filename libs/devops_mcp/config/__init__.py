"""Settings: from the environment and one YAML file, checked at the start."""

from devops_mcp.config.settings import (
    Environment,
    IntegrationSettings,
    LogFormat,
    ServerSettings,
    Settings,
    load_settings,
)

__all__ = ["Environment", "IntegrationSettings", "LogFormat", "ServerSettings", "Settings", "load_settings"]
