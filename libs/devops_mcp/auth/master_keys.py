"""Where the master keys come from: the settings, a file, AWS KMS or AWS Secrets Manager. They are read once, at the start.

The first of all keys makes and seals, so the order decides: KMS, Secrets Manager, the file, the settings; within each, as given.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring
from devops_mcp.config import Settings
from devops_mcp.config.settings import MIN_MASTER_KEY
from devops_mcp.models.errors import ConfigurationError


async def open_keyring(settings: Settings) -> Keyring:
    """The keys of every source that is set.

    Raises `ConfigurationError` for a source that has no key, one that is too short, or refuses us; `Unavailable` where AWS cannot be
    reached.
    """
    keys = [
        *await _from_aws(settings),
        *_from_file(settings.master_keys_file),
        *settings.master_keys,
    ]
    return Keyring(keys)


async def _from_aws(settings: Settings) -> list[SecretStr]:
    """What KMS decrypts, then the lines of a secret's text."""
    encrypted, secret, region = settings.master_keys_kms, settings.master_keys_secret, settings.aws_region
    if not encrypted and secret is None:
        return []
    # The client of AWS is slow to import, and most keep their keys elsewhere.
    from devops_mcp.auth.aws_keys import decrypted_by_kms, text_of_secret

    keys = []
    if encrypted:
        keys += _checked(await decrypted_by_kms(encrypted, region), "master_keys_kms")
    if secret is not None:
        keys += _checked(_lines(await text_of_secret(secret, region)), "master_keys_secret")
    return keys


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
