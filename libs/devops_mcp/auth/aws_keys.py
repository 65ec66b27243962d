"""Master keys that AWS keeps: decrypted by KMS, or the text of a secret."""

import base64
import binascii
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from devops_mcp.models.errors import ConfigurationError, Unavailable

_CONFIG = AioConfig(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 3})
_PASSING = frozenset(
    {"ThrottlingException", "KMSInternalException", "InternalServiceError", "InternalServiceErrorException"}
)


async def decrypted_by_kms(encrypted: Sequence[str], region: str) -> list[str]:
    """The keys that KMS decrypts: each what `GenerateDataKey` or `Encrypt` gave, in base64.

    Raises `ConfigurationError`, or `Unavailable` where AWS cannot be reached.
    """
    keys = []
    async with _client("kms", region) as kms:
        for one in encrypted:
            try:
                blob = base64.b64decode(one, validate=True)
            except (binascii.Error, ValueError):
                raise ConfigurationError("master_keys_kms: an entry is not base64") from None
            with _translated("KMS"):
                answer = await kms.decrypt(CiphertextBlob=blob)
            # As text, since all other keys are: of 32 random bytes these are 44 characters.
            keys.append(base64.b64encode(answer["Plaintext"]).decode())
    return keys


async def text_of_secret(name: str, region: str) -> str:
    """Empty for a secret of bytes. Raises `ConfigurationError`, or `Unavailable` where AWS cannot be reached."""
    async with _client("secretsmanager", region) as manager:
        with _translated("Secrets Manager"):
            answer = await manager.get_secret_value(SecretId=name)
    return str(answer.get("SecretString", ""))


@asynccontextmanager
async def _client(service: str, region: str) -> AsyncIterator[Any]:
    with _translated(service):
        created = get_session().create_client(service, region_name=region, config=_CONFIG)
        client = await created.__aenter__()
    try:
        yield client
    finally:
        await created.__aexit__(None, None, None)


@contextmanager
def _translated(service: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in _PASSING:
            raise Unavailable(f"{service} did not give the master keys: {code}") from None
        raise ConfigurationError(f"{service} does not give the master keys: {code}") from None
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ConfigurationError(f"no credentials for {service}: {error}") from None
    except (BotoCoreError, TimeoutError, OSError, ValueError) as error:
        raise Unavailable(
            f"{service} cannot be reached for the master keys: {type(error).__name__}"
        ) from None
