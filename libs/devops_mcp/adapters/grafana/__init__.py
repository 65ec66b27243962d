"""Grafana: the webhook notifier of its alerting,
https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.grafana.webhooks import WEBHOOKS

ADAPTER = webhooks_only("grafana", "Grafana", WEBHOOKS)
