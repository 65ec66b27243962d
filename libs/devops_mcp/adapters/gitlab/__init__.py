"""GitLab: webhooks of projects, groups and the instance, https://docs.gitlab.com/user/project/integrations/webhook_events/"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.gitlab.webhooks import WEBHOOKS

ADAPTER = webhooks_only("gitlab", "GitLab", WEBHOOKS)
