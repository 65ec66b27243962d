"""JFrog Xray: webhooks of its policies, https://jfrog.com/help/r/xray-webhook-payload-format"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.xray.webhooks import WEBHOOKS

ADAPTER = webhooks_only("xray", "JFrog Xray", WEBHOOKS)
