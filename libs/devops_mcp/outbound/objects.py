"""S3, or what speaks like it: objects written, read and removed by their keys."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from devops_mcp.models.errors import ConfigurationError, Unavailable

_CONFIG = {
    "connect_timeout": 3,
    "read_timeout": 10,
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "max_pool_connections": 32,
    "s3": {"addressing_style": "path"},
    # Servers that speak like S3 do not all know the checksums that newer clients add by themselves.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
_ABSENT = frozenset({"NoSuchKey", "404"})
_OURS = frozenset({"NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"})


class ObjectStore:
    """One bucket. Open with `open_objects`."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def put(self, key: str, body: bytes) -> None:
        """Write an object, once this returns for good. Raises `Unavailable`."""
        with _translated(self._bucket):
            await self._client.put_object(Bucket=self._bucket, Key=key, Body=body)

    async def get(self, key: str) -> bytes | None:
        """The object's bytes; None when there is none. Raises `Unavailable`."""
        try:
            with _translated(self._bucket):
                answer = await self._client.get_object(Bucket=self._bucket, Key=key)
                async with answer["Body"] as stream:
                    return bytes(await stream.read())
        except _AbsentError:
            return None

    async def remove(self, key: str) -> None:
        """Remove an object; one that is not there is no error. Raises `Unavailable`."""
        with _translated(self._bucket):
            await self._client.delete_object(Bucket=self._bucket, Key=key)

    async def ping(self) -> None:
        """Return when the bucket answers; raises `Unavailable` or `ConfigurationError`."""
        with _translated(self._bucket):
            await self._client.head_bucket(Bucket=self._bucket)


class _AbsentError(Exception):
    pass


@contextmanager
def _translated(bucket: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in _ABSENT:
            raise _AbsentError from None
        if code in _OURS:
            raise ConfigurationError(f"bucket {bucket} cannot be used: {code}") from error
        raise Unavailable(f"bucket {bucket} answered {code}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ConfigurationError(f"bucket {bucket}: no credentials for S3: {error}") from error
    except (BotoCoreError, TimeoutError, OSError) as error:
        raise Unavailable(f"bucket {bucket} cannot be reached: {type(error).__name__}") from error


@asynccontextmanager
async def open_objects(bucket: str, *, region: str, endpoint_url: str | None) -> AsyncIterator[ObjectStore]:
    """A client of the bucket, which must exist; nothing is sent before the first call."""
    async with AsyncExitStack() as stack:
        try:
            created = get_session().create_client(
                "s3", region_name=region, endpoint_url=endpoint_url, config=AioConfig(**_CONFIG)
            )
            client = await stack.enter_async_context(created)
        except ValueError as error:
            raise ConfigurationError(f"the address of S3 is wrong: {error}") from error
        yield ObjectStore(client, bucket)
