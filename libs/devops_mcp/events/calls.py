"""Calls of SQS: AWS's JSON over one pool of connections.

botocore's own client sends the same, and spends three times the CPU on it: at each call it works out anew what is the same for all. It is
asked where the service is and for the credentials, and makes the queues (`open_sqs`); what is called all day goes through here.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.utils import get_environ_proxies

from devops_mcp.events.connection import CONNECT_S, CONNECTIONS, READ_S, Endpoint, find_sqs
from devops_mcp.events.signing import Signer
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import Unavailable
from devops_mcp.resilience.backoff import Backoff

_BEFORE_RETRY = Backoff(first_s=0.4)
_IDLE_S = 12
"""Shorter than services and balancers keep an idle connection, so that no request meets a closed one."""
_PASSING = frozenset({429, 500, 502, 503, 504})
_THROTTLED = ("Throttl", "SlowDown")
_JSON = "application/x-amz-json-1.0"


class SqsCalls:
    """The actions of one service, by their names in AWS's reference."""

    def __init__(self, http: aiohttp.ClientSession, endpoint: Endpoint) -> None:
        self._http = http
        self._endpoint = endpoint
        self._signer = Signer(endpoint.url, "sqs", endpoint.region)

    async def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The action's answer. What may pass is tried once more.

        Raises botocore's `ClientError` for what the service refuses, aiohttp's errors where it cannot be reached, `NoCredentialsError`.
        """
        body = orjson.dumps(parameters)
        try:
            return await self._try(action, body)
        except ClientError as error:
            if not _may_pass(error):
                raise
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(_BEFORE_RETRY.delay_s(1))
        return await self._try(action, body)

    async def _try(self, action: str, body: bytes) -> dict[str, Any]:
        headers = await self._signed(action, body)
        posting = self._http.post(self._endpoint.url, data=body, headers=headers, allow_redirects=False)
        async with posting as response:
            answer = _read(await response.read(), response.status)
            if response.status >= 300:
                raise _refusal(action, response, answer)
            return answer

    async def _signed(self, action: str, body: bytes) -> dict[str, str]:
        credentials = await self._endpoint.credentials()
        if credentials is None:
            raise NoCredentialsError
        headers = {"content-type": _JSON, "x-amz-target": f"AmazonSQS.{action}"}
        return self._signer.signed(headers, body, credentials, utc_now())


@asynccontextmanager
async def open_calls(
    *, endpoint_url: str | None, region: str, environment: Mapping[str, str]
) -> AsyncIterator[SqsCalls]:
    """Nothing is sent before the first call. Raises `ConfigurationError` for an address that is none."""
    endpoint = await find_sqs(endpoint_url=endpoint_url, region=region, environment=environment)
    connector = aiohttp.TCPConnector(
        limit=CONNECTIONS,
        keepalive_timeout=_IDLE_S,
        ssl=ssl.create_default_context(cafile=get_cert_path(endpoint.ca_bundle or True)),
    )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        headers={"User-Agent": "devops-mcp", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=_proxy(endpoint.url),
    ) as http:
        yield SqsCalls(http, endpoint)


def _proxy(url: str) -> str | None:
    """What the environment says of it: asked once, where aiohttp would ask for each request."""
    proxy: str | None = ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url)
    return proxy


def _read(answer: bytes, status: int) -> dict[str, Any]:
    try:
        read = orjson.loads(answer or b"{}")
    except orjson.JSONDecodeError:
        read = None
    if isinstance(read, dict):
        return read
    if status >= 300:
        return {}
    raise Unavailable("the queue service answered something other than JSON")


def _refusal(action: str, response: aiohttp.ClientResponse, answer: Mapping[str, Any]) -> ClientError:
    """As botocore's client raises it: the code of the older protocol, where the service still tells it."""
    kind = str(answer.get("__type", response.status)).rpartition("#")[2]
    code = response.headers.get("x-amzn-query-error", kind).partition(";")[0]
    told = {
        "Error": {"Code": code, "Message": str(answer.get("message", ""))},
        "ResponseMetadata": {"HTTPStatusCode": response.status},
    }
    return ClientError(told, action)


def _may_pass(error: ClientError) -> bool:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    code = error.response["Error"]["Code"]
    return status in _PASSING or any(word in code for word in _THROTTLED)
