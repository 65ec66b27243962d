"""Settings of an integration with Amazon SNS."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from devops_mcp.adapters.options import Address

TopicArn = Annotated[
    str,
    Field(
        pattern=r"^arn:aws(-cn|-us-gov)?:sns:[a-z]{2}(-[a-z]+)+-[0-9]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$",
        max_length=320,
    ),
]


class SnsSettings(BaseModel):
    """The topics that we listen to, by their ARNs; nothing of another is taken, and no subscription to another confirmed.

    There are no webhook secrets: SNS signs with a certificate of its own. `endpoint_url` is where SNS is reached instead of at the public
    address of a topic's region: LocalStack, or an endpoint of a VPC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topics: tuple[TopicArn, ...] = Field(min_length=1, max_length=100)
    endpoint_url: Address | None = Field(default=None, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")
    timeout_s: float = Field(default=4.0, gt=0, le=10)
    """Of one fetch. SNS waits 15 s for our answer."""


def region_url(topic: str) -> str:
    """The address of SNS in the region of `topic`."""
    _, partition, _, region, _, _ = topic.split(":", 5)
    return f"https://sns.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"
