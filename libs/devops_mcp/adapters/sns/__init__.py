"""Amazon SNS over HTTP(S): https://docs.aws.amazon.com/sns/latest/dg/sns-http-https-endpoint-as-subscriber.html"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devops_mcp.adapters.base import Adapter, Outside
from devops_mcp.adapters.sns.client import Sns
from devops_mcp.adapters.sns.config import SnsSettings
from devops_mcp.adapters.sns.webhooks import WEBHOOKS


@asynccontextmanager
async def connect(settings: SnsSettings, outside: Outside) -> AsyncIterator[Sns]:
    """Where certificates are fetched and subscriptions confirmed; nothing is called before a delivery comes."""
    sns = Sns(settings, outside)
    try:
        yield sns
    finally:
        await sns.close()


ADAPTER = Adapter(
    name="sns",
    title="Amazon SNS",
    settings=SnsSettings,
    connect=connect,
    ping=None,
    webhooks=WEBHOOKS,
)
