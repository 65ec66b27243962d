"""Slack: the Events API over HTTP, https://docs.slack.dev/apis/events-api/using-http-request-urls"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.slack.webhooks import WEBHOOKS

ADAPTER = webhooks_only("slack", "Slack", WEBHOOKS)
