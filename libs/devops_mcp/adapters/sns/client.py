"""What has to be fetched from SNS: the certificates that it signs with, and the address that confirms a subscription.

Whoever reaches our webhook address can name an address for us to fetch, so none is fetched but those of SNS itself, in the region of a
topic that the integration listens to.
"""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from devops_mcp.adapters.base import Outside
from devops_mcp.adapters.sns.config import SnsSettings, region_url
from devops_mcp.adapters.upstream import Reply, Upstream, file_path, path
from devops_mcp.models.errors import (
    Unauthenticated,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnauthorized,
)

MAX_CERTIFICATE_BYTES = 32_768
MAX_CERTIFICATES = 16
"""Kept; SNS signs with one in each region, and a new one about once a year."""
MAX_PARAMETERS = 10
_CERTIFICATE_PATH = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}){0,3}/[A-Za-z0-9_-]{1,200}\.pem")


class Sns:
    """SNS in the regions of the integration's topics."""

    def __init__(self, settings: SnsSettings, outside: Outside) -> None:
        addresses = {topic: settings.endpoint_url or region_url(topic) for topic in settings.topics}
        self._upstreams = {
            address: Upstream(
                "sns", address, outside, timeout_s=settings.timeout_s, max_bytes=MAX_CERTIFICATE_BYTES
            )
            for address in addresses.values()
        }
        self._addresses = addresses
        self._certificates: dict[str, str] = {}

    async def close(self) -> None:
        for upstream in self._upstreams.values():
            await upstream.close()

    async def certificate(self, topic: str, url: str) -> str:
        """The certificate at `url`, in PEM; fetched once.

        Raises `Unauthenticated` for a topic that we do not listen to, and where `url` is not of SNS or has none.
        """
        address = self._address(topic)
        if url not in self._certificates:
            reply = await self._fetch(address, _certificate_path(address, url))
            self._keep(url, reply.text())
        return self._certificates[url]

    async def confirm(self, topic: str, url: str) -> None:
        """Confirm the subscription to `topic` that SNS offers at `url`.

        Raises `Unauthenticated` for a `url` that would do anything else, and an `UpstreamError` where SNS refuses.
        """
        address = self._address(topic)
        parts = _within(address, url, "SubscribeURL")
        query = _query(parts)
        if parts.path not in ("", "/") or query.get("Action") != "ConfirmSubscription":
            raise Unauthenticated("SubscribeURL confirms no subscription")
        if query.get("TopicArn") != topic:
            raise Unauthenticated("SubscribeURL confirms the subscription to another topic")
        await self._upstreams[address].get("/", params=query)

    def _address(self, topic: str) -> str:
        address = self._addresses.get(topic)
        if address is None:
            raise Unauthenticated(f"this integration does not listen to {topic}; see topics")
        return address

    async def _fetch(self, address: str, certificate_path: str) -> Reply:
        try:
            return await self._upstreams[address].get(certificate_path)
        except (UpstreamRejected, UpstreamNotFound, UpstreamUnauthorized, UpstreamInvalid) as error:
            raise Unauthenticated(f"SigningCertURL leads to no certificate: {error.message}") from None

    def _keep(self, url: str, certificate: str) -> None:
        self._certificates[url] = certificate
        while len(self._certificates) > MAX_CERTIFICATES:
            del self._certificates[next(iter(self._certificates))]


def _certificate_path(address: str, url: str) -> str:
    parts = _within(address, url, "SigningCertURL")
    if parts.query or not _CERTIFICATE_PATH.fullmatch(parts.path):
        raise Unauthenticated("SigningCertURL is not that of a certificate")
    return path(*file_path(parts.path))


def _query(parts: SplitResult) -> dict[str, str]:
    try:
        return dict(parse_qsl(parts.query, max_num_fields=MAX_PARAMETERS))
    except ValueError:
        raise Unauthenticated(f"SubscribeURL has more than {MAX_PARAMETERS} parameters") from None


def _within(address: str, url: str, name: str) -> SplitResult:
    """The parts of `url`, which must have the origin of `address`."""
    try:
        parts, ours = urlsplit(url), urlsplit(address)
        same = (parts.scheme, parts.hostname, parts.port) == (ours.scheme, ours.hostname, ours.port)
    except ValueError:
        raise Unauthenticated(f"{name} is no URL") from None
    if not same or "@" in parts.netloc or parts.fragment:
        raise Unauthenticated(f"{name} is not of SNS at {address}")
    return parts
