"""Forgejo: webhooks of repositories, organizations and the instance, https://forgejo.org/docs/latest/user/webhooks"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.forgejo.webhooks import WEBHOOKS

ADAPTER = webhooks_only("forgejo", "Forgejo", WEBHOOKS)
