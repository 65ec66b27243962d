"""Gitea: webhooks of repositories, organizations and the instance, https://docs.gitea.com/usage/webhooks"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.gitea.webhooks import WEBHOOKS

ADAPTER = webhooks_only("gitea", "Gitea", WEBHOOKS)
