"""Sentry: webhooks of the integration platform, https://docs.sentry.io/integrations/integration-platform/webhooks/"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.sentry.webhooks import WEBHOOKS

ADAPTER = webhooks_only("sentry", "Sentry", WEBHOOKS)
