"""AWS's Signature Version 4 for calls of one service: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html

botocore signs any request, and takes a third of a call's CPU for it. These are always a POST to one address with the same few headers.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(Protocol):
    """As botocore gives them; `token` is that of a session."""

    access_key: str
    secret_key: str
    token: str | None


class Signer:
    """Signs what is posted to `url`."""

    def __init__(self, url: str, service: str, region: str) -> None:
        parts = urlsplit(url)
        self._path = quote(parts.path or "/", safe="/~%")
        self._host = parts.netloc.rpartition("@")[2]
        self._service = service
        self._region = region
        self._key_of: tuple[str, str] | None = None
        self._key = b""

    def signed(
        self, headers: Mapping[str, str], body: bytes, credentials: Credentials, now: datetime
    ) -> dict[str, str]:
        """The headers, whose names are in lower case, with those that the signature adds. `now` is in UTC."""
        at = now.strftime("%Y%m%dT%H%M%SZ")
        sent = {**headers, "host": self._host, "x-amz-date": at}
        if credentials.token:
            sent["x-amz-security-token"] = credentials.token
        names = sorted(sent)
        lines = "\n".join(f"{name}:{sent[name]}" for name in names)
        signed = ";".join(names)
        digest = hashlib.sha256(body).hexdigest()
        request = hashlib.sha256(f"POST\n{self._path}\n\n{lines}\n\n{signed}\n{digest}".encode()).hexdigest()
        scope = f"{at[:8]}/{self._region}/{self._service}/aws4_request"
        key = self._key_for(credentials.secret_key, at[:8])
        signature = hmac.digest(key, f"{_ALGORITHM}\n{at}\n{scope}\n{request}".encode(), "sha256").hex()
        sent["authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )
        return sent

    def _key_for(self, secret: str, day: str) -> bytes:
        """The same for a day."""
        if self._key_of != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._key_of = key, (secret, day)
        return self._key
