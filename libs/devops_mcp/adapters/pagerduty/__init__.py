"""PagerDuty: webhooks v3, https://developer.pagerduty.com/docs/webhooks/v3-overview/"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.pagerduty.webhooks import WEBHOOKS

ADAPTER = webhooks_only("pagerduty", "PagerDuty", WEBHOOKS)
