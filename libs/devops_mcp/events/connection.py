"""The connection to SQS: credentials, timeouts, and botocore's errors in our own words."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from devops_mcp.models.errors import ConfigurationError, InvalidInput, PlatformError, Unavailable

MAX_WAIT_S = 20
"""The service's limit for a long poll."""
CONNECT_S = 3
READ_S = MAX_WAIT_S + 5
CONNECTIONS = 128
"""Every slot of every queue waits in a long poll, and what is sent must not wait for those."""
_CONFIG = {
    "connect_timeout": CONNECT_S,
    "read_timeout": READ_S,
    "retries": {"mode": "standard", "total_max_attempts": 2},
    "max_pool_connections": CONNECTIONS,
    "tcp_keepalive": True,
    # Every parameter is ours; checking them against the model costs a tenth of a call.
    "parameter_validation": False,
}
_OWN_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_REFUSED_CREDENTIALS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where SQS is, and what is signed with: `credentials` gives those of the moment, None where there are none."""

    url: str
    region: str
    credentials: Callable[[], Awaitable[Any]]
    ca_bundle: str | None


async def find_sqs(*, endpoint_url: str | None, region: str, environment: Mapping[str, str]) -> Endpoint:
    """The service as `open_sqs` would open it. Raises `ConfigurationError` for an address that nothing can be posted to."""
    session = get_session()
    local = _is_local(endpoint_url, environment)
    with translated("sqs"):
        async with _client(session, region, endpoint_url, local=local) as client:
            url, region = client.meta.endpoint_url, client.meta.region_name
        found = AioCredentials("local", "local") if local else await session.get_credentials()

    async def credentials() -> Any:
        return None if found is None else await found.get_frozen_credentials()

    ca_bundle = session.get_config_variable("ca_bundle")
    return Endpoint(f"{_checked(url).rstrip('/')}/", region, credentials, ca_bundle)


@asynccontextmanager
async def open_sqs(
    *, endpoint_url: str | None, region: str, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[Any]:
    """An aiobotocore client of SQS; nothing is sent before the first call.

    An endpoint of our own checks no signatures, but the client wants something to sign with: without credentials in the environment it gets
    `local`. AWS itself never does.
    """
    async with AsyncExitStack() as stack:
        with translated("sqs"):
            opening = _client(get_session(), region, endpoint_url, local=_is_local(endpoint_url, environment))
            client = await stack.enter_async_context(opening)
        yield client


def _is_local(endpoint_url: str | None, environment: Mapping[str, str]) -> bool:
    return endpoint_url is not None and not any(environment.get(name) for name in _OWN_CREDENTIALS)


@asynccontextmanager
async def _client(
    session: AioSession, region: str, endpoint_url: str | None, *, local: bool
) -> AsyncIterator[Any]:
    credentials = {"aws_access_key_id": "local", "aws_secret_access_key": "local"} if local else {}
    async with AsyncExitStack() as stack:
        try:
            created = session.create_client(
                "sqs",
                region_name=region,
                endpoint_url=endpoint_url,
                config=AioConfig(**_CONFIG),
                **credentials,
            )
            client = await stack.enter_async_context(created)
        except ValueError:
            raise _unusable(f"is wrong, or its region {region!r}") from None
        yield client


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unusable("is none") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise _unusable("does not begin with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise _unusable("holds a name or a password, which SQS does not take: requests are signed")
    if parts.query or parts.fragment:
        raise _unusable("goes on after its path")
    return url


def _unusable(why: str) -> ConfigurationError:
    """Without the address: it may hold a password."""
    return ConfigurationError(
        f"the address of the queue service {why}; see DEVOPS_MCP_SQS_ENDPOINT_URL and AWS_ENDPOINT_URL"
    )


@contextmanager
def translated(queue: str) -> Iterator[None]:
    """Raise botocore's errors as ours, with the queue's name.

    `Unavailable` for what may pass, `ConfigurationError` for credentials, `InvalidInput` for what the service refuses as it stands.
    """
    try:
        yield
    except ClientError as error:
        raise _of_answer(queue, error) from error
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise ConfigurationError(f"queue {queue}: no credentials for SQS: {error}") from error
    except TimeoutError as error:
        raise Unavailable(f"queue {queue} did not answer in time") from error
    except (BotoCoreError, aiohttp.ClientError) as error:
        raise Unavailable(f"queue {queue} cannot be reached: {type(error).__name__}") from error


def refused_entry(queue: str, failure: Mapping[str, Any]) -> PlatformError:
    """The error of one entry of a batch."""
    code = failure.get("Code", "unknown")
    if failure.get("SenderFault"):
        return InvalidInput(f"queue {queue} refused an entry: {code}")
    return Unavailable(f"queue {queue} could not take an entry: {code}")


def _of_answer(queue: str, error: ClientError) -> PlatformError:
    code = error.response.get("Error", {}).get("Code", "unknown")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code.endswith(("NonExistentQueue", "QueueDoesNotExist")):
        return Unavailable(f"queue {queue} does not exist; create the queues first")
    if code in _REFUSED_CREDENTIALS or status in (401, 403):
        return ConfigurationError(f"queue {queue}: SQS refused the credentials: {code}")
    if status == 429 or status >= 500 or "Throttl" in code or code in ("OverLimit", "SlowDown"):
        return Unavailable(f"queue {queue} answered {status}: {code}")
    return InvalidInput(f"queue {queue} refused the request: {code}")
