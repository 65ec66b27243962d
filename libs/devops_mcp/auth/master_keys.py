"""Where the master keys come from: the settings, a file, AWS KMS or AWS Secrets Manager. They are read once, at the start.

The first of all keys makes and seals, so the order decides: KMS, Secrets Manager, the file, the settings; within each, as given.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring
from devops_mcp.config import Settings
from devops_mcp.config.settings import MIN_MASTER_KEY
from devops_mcp.models.errors import ConfigurationError, Unavailable

_CONFIG = AioConfig(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 3})
_PASSING = frozenset(
    {"ThrottlingException", "KMSInternalException", "InternalServiceError", "InternalServiceErrorException"}
)


async def open_keyring(settings: Settings) -> Keyring:
    """The keys of every source that is set.

    Raises `ConfigurationError` for a source that has no key, one that is too short, or refuses us; `Unavailable` where AWS cannot be
    reached.
    """
    keys = [
        *await _from_kms(settings.master_keys_kms, settings.aws_region),
        *await _from_secret(settings.master_keys_secret, settings.aws_region),
        *_from_file(settings.master_keys_file),
        *settings.master_keys,
    ]
    return Keyring(keys)


async def _from_kms(encrypted: Sequence[str], region: str) -> list[SecretStr]:
    """The keys that KMS decrypts: each what `GenerateDataKey` or `Encrypt` gave, in base64."""
    if not encrypted:
        return []
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
    return _checked(keys, "master_keys_kms")


async def _from_secret(name: str | None, region: str) -> list[SecretStr]:
    """The lines of a secret's text."""
    if name is None:
        return []
    async with _client("secretsmanager", region) as manager:
        with _translated("Secrets Manager"):
            answer = await manager.get_secret_value(SecretId=name)
    return _checked(_lines(answer.get("SecretString", "")), "master_keys_secret")


def _from_file(path: Path | None) -> list[SecretStr]:
    """The lines of a file."""
    if path is None:
        return []
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"master_keys_file {path} cannot be read: {type(error).__name__}") from None
    return _checked(_lines(text), "master_keys_file")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _checked(keys: Sequence[str], source: str) -> list[SecretStr]:
    if not keys:
        raise ConfigurationError(f"{source} holds no key")
    if any(len(key) < MIN_MASTER_KEY for key in keys):
        raise ConfigurationError(f"{source}: a key is shorter than {MIN_MASTER_KEY} characters")
    return [SecretStr(key) for key in keys]


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
