"""Harness: webhooks of Code repositories, https://developer.harness.io/docs/code-repository/config-repos/webhooks, and notifications of
pipelines, https://developer.harness.io/docs/continuous-delivery/x-platform-cd-features/cd-steps/notify-users-of-pipeline-events"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.harness.webhooks import WEBHOOKS

ADAPTER = webhooks_only("harness", "Harness", WEBHOOKS)
