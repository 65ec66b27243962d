"""SonarQube Server and Cloud: webhooks, https://docs.sonarsource.com/sonarqube-server/discovering/integrations/webhooks"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.sonarqube.webhooks import WEBHOOKS

ADAPTER = webhooks_only("sonarqube", "SonarQube", WEBHOOKS)
