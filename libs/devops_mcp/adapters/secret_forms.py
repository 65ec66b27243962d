"""What the secrets of a webhook source look like."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

SECRET_BYTES = 32


def random_text() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def _always(_: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class SecretForm:
    """`make` makes a secret; `fits` says whether by one anything can be verified at all, and `said` what it has to be."""

    make: Callable[[], str] = random_text
    fits: Callable[[str], bool] = _always
    said: str = "any text"
