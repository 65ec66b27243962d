"""`devops-mcp login`: signing in by the device flow (RFC 8628), and the tokens from then on.

They stand in one file that only its owner can read. An access token that is about to end is exchanged for another when it is asked for, by
one program at a time, since a refresh token is good once.
"""

import base64
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from devops_mcp.models.errors import Forbidden, InvalidInput, PlatformError, Unauthenticated, Unavailable
from devops_mcp.models.oauth import CLI_CLIENT

FILE_VARIABLE = "DEVOPS_MCP_LOGIN_FILE"
METADATA = "/.well-known/oauth-authorization-server"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
WITHIN_S = 15.0
RENEW_BEFORE_S = 60.0
"""An access token that ends sooner is exchanged."""
REFRESHED_WITHIN_S = 4.0
"""Each of two tries, so that both are within the seconds in which a server answers a refresh token that it has changed already."""
_SLOWER_S = 5
_ENDPOINTS = ("device_authorization_endpoint", "token_endpoint", "revocation_endpoint")


@dataclass(frozen=True, slots=True)
class Login:
    """What is kept of a sign-in. `expires_at` counts seconds since 1970."""

    issuer: str
    token_endpoint: str
    revocation_endpoint: str
    expires_at: float
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)

    @property
    def audience(self) -> str | None:
        """The service that takes the token, as the token says."""
        said = self._claims().get("aud")
        return None if said is None else str(said)

    @property
    def caller(self) -> tuple[str, str]:
        """Who is signed in: their tenant and themselves, as the token says."""
        claims = self._claims()
        return str(claims.get("tenant", "")), str(claims.get("sub", ""))

    def _claims(self) -> dict[str, Any]:
        """What the token says; nothing where it cannot be read, since that is for the server to judge."""
        try:
            part = self.access_token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (IndexError, ValueError):
            return {}
        return claims if isinstance(claims, dict) else {}


class LoginFile:
    """The file, at `DEVOPS_MCP_LOGIN_FILE` or in the user's folder of settings."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "LoginFile":
        named = environment.get(FILE_VARIABLE)
        settings = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        return cls(Path(named) if named else Path(settings) / "devops-mcp" / "login.json")

    def read(self) -> Login | None:
        """None where nobody has signed in."""
        try:
            return Login(**json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            raise InvalidInput(f"{self.path} cannot be read as a login; sign in anew") from None

    def write(self, login: Login) -> None:
        """Whole or not at all, and never readable by others."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(login), file, indent=2)
        beside.replace(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else refreshes meanwhile."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class SignIn:
    """Signs in, renews and signs out, over one HTTP client."""

    def __init__(
        self,
        http: httpx2.Client,
        file: LoginFile,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = http
        self._file = file
        self._now = now
        self._sleep = sleep

    def sign_in(self, url: str, scope: str | None, resource: str | None, say: Callable[[str], None]) -> Login:
        """Wait until the user has allowed it in a browser, and keep the tokens. Raises a `PlatformError` that says why not."""
        endpoints = self._endpoints(url.rstrip("/"))
        asked = {"client_id": CLI_CLIENT, "scope": scope, "resource": resource}
        told = self._post(
            endpoints["device_authorization_endpoint"],
            {name: value for name, value in asked.items() if value},
        )
        say(f"open {told['verification_uri']} and type {told['user_code']}")
        say(f"or open {told['verification_uri_complete']}")
        tokens = self._wait_for(endpoints["token_endpoint"], told)
        login = Login(
            issuer=endpoints["issuer"],
            token_endpoint=endpoints["token_endpoint"],
            revocation_endpoint=endpoints["revocation_endpoint"],
            **self._kept(tokens),
        )
        self._file.write(login)
        return login

    def current(self) -> Login | None:
        """The login with an access token that is good for a minute at least; None where nobody has signed in."""
        if self._file.read() is None:
            return None
        with self._file.locked():
            login = self._file.read()
            if login is None or login.expires_at - RENEW_BEFORE_S > self._now():
                return login
            renewed = replace(login, **self._kept(self._refreshed(login)))
            self._file.write(renewed)
            return renewed

    def _refreshed(self, login: Login) -> dict[str, Any]:
        """The next tokens. An answer that was lost on its way is asked for again at once: later it would end the session."""
        asked = {"grant_type": "refresh_token", "refresh_token": login.refresh_token}
        for last in (False, True):
            try:
                return self._post(
                    login.token_endpoint, {**asked, "client_id": CLI_CLIENT}, within_s=REFRESHED_WITHIN_S
                )
            except Forbidden as error:
                raise Unauthenticated(
                    f"the login has ended ({error.message}); sign in anew with 'devops-mcp login'"
                ) from None
            except Unavailable:
                if last:
                    raise
        raise AssertionError("the last try returns or raises")

    def sign_out(self) -> bool:
        """End the session and forget the tokens; False where there were none."""
        if self._file.read() is None:
            return False
        with self._file.locked():
            login = self._file.read()
            if login is None:
                return False
            asked = {"token": login.refresh_token, "client_id": CLI_CLIENT}
            self._post(login.revocation_endpoint, asked)
            self._file.remove()
            return True

    def _endpoints(self, url: str) -> dict[str, str]:
        """Of the server at `url`, which must say that it is this one (RFC 8414 §3.3), and keep us there."""
        if not url.startswith(("https://", "http://")):
            raise InvalidInput(f"{url} is not the address of rest-api, such as https://devops.example.com")
        try:
            answer = self._http.get(f"{url}{METADATA}")
            said: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise Unavailable(f"{url} cannot be asked how to sign in ({type(error).__name__})") from None
        if said.get("issuer") != url:
            raise InvalidInput(f"{url} is no authorization server by this address; give that of rest-api")
        endpoints = {name: str(said.get(name, "")) for name in _ENDPOINTS}
        if any(_origin(address) != _origin(url) for address in endpoints.values()):
            raise InvalidInput(f"{url} sends elsewhere for tokens, which is not followed")
        return {"issuer": url, **endpoints}

    def _wait_for(self, token_endpoint: str, told: Mapping[str, Any]) -> dict[str, Any]:
        pause = float(told.get("interval", _SLOWER_S))
        until = self._now() + float(told["expires_in"])
        asked = {"grant_type": DEVICE_GRANT, "device_code": told["device_code"], "client_id": CLI_CLIENT}
        while self._now() < until:
            self._sleep(pause)
            try:
                return self._post(token_endpoint, asked)
            except Forbidden as error:
                waits = error.details.get("error")
                if waits not in ("authorization_pending", "slow_down"):
                    raise
                pause += _SLOWER_S if waits == "slow_down" else 0
        raise Unavailable("nobody answered in time; sign in anew")

    def _post(self, address: str, asked: Mapping[str, str], *, within_s: float = WITHIN_S) -> dict[str, Any]:
        try:
            answer = self._http.post(address, data=dict(asked), timeout=within_s)
        except httpx2.HTTPError as error:
            raise Unavailable(f"{_origin(address)} cannot be reached ({type(error).__name__})") from None
        if answer.status_code == 200:
            return answer.json() if answer.content else {}
        raise self._refusal(answer)

    def _refusal(self, answer: httpx2.Response) -> PlatformError:
        try:
            said = answer.json()
            error, why = str(said["error"]), str(said.get("error_description", said["error"]))
        except (ValueError, KeyError, TypeError):
            return Unavailable(f"the authorization server answered {answer.status_code}")
        if answer.status_code >= 500:
            return Unavailable(why)
        return Forbidden(why, details={"error": error})

    def _kept(self, tokens: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "access_token": str(tokens["access_token"]),
            "refresh_token": str(tokens["refresh_token"]),
            "expires_at": self._now() + float(tokens["expires_in"]),
        }


@contextmanager
def signing_in(environment: Mapping[str, str] | None = None) -> Iterator[SignIn]:
    """What signs in, with the file of this user."""
    with httpx2.Client(timeout=WITHIN_S, follow_redirects=False) as http:
        yield SignIn(http, LoginFile.of(os.environ if environment is None else environment))


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
