"""Prometheus Alertmanager: its webhook receiver, https://prometheus.io/docs/alerting/latest/configuration/#webhook_config"""

from devops_mcp.adapters.alertmanager.webhooks import WEBHOOKS
from devops_mcp.adapters.base import webhooks_only

ADAPTER = webhooks_only("alertmanager", "Alertmanager", WEBHOOKS)
