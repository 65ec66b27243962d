"""Whoever sends Standard Webhooks 1.0.0: https://www.standardwebhooks.com"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.standard.webhooks import WEBHOOKS

ADAPTER = webhooks_only("standard", "Standard Webhooks", WEBHOOKS)
