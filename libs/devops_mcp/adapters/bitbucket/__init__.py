"""Bitbucket: webhooks of Cloud, https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/, and of Data Center,
https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html"""

from devops_mcp.adapters.base import webhooks_only
from devops_mcp.adapters.bitbucket.webhooks import WEBHOOKS

ADAPTER = webhooks_only("bitbucket", "Bitbucket", WEBHOOKS)
