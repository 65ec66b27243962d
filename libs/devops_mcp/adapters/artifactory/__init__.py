"""JFrog Artifactory, and Distribution beside it: webhooks, https://docs.jfrog.com/administration/docs/event-types"""

from devops_mcp.adapters.artifactory.webhooks import WEBHOOKS
from devops_mcp.adapters.base import webhooks_only

ADAPTER = webhooks_only("artifactory", "JFrog Artifactory", WEBHOOKS)
