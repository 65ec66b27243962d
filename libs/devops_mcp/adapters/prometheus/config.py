"""Settings of a Prometheus integration."""

import base64
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from devops_mcp.adapters.options import Address, Name, Secret

HeaderName = Annotated[str, Field(max_length=100)]
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class PrometheusSettings(BaseModel):
    """`base_url` is the part before `/api/v1`. Whatever serves the same API will do: Thanos, Mimir, VictoriaMetrics."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: Address = Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")
    bearer_token: Secret | None = None
    username: Name | None = None
    password: Secret | None = None
    """Basic authentication, together with `username`."""
    headers: dict[HeaderName, Secret] = Field(default_factory=dict, max_length=20)
    """Sent with every request, such as `X-Scope-OrgID`."""
    query_method: Literal["POST", "GET"] = "POST"
    """GET where a proxy lets nothing else through; a long query may then not fit."""
    timeout_s: float = Field(default=10.0, gt=0, le=120)
    max_answer_bytes: int = Field(default=10_000_000, ge=10_000, le=100_000_000)

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        named = any(name.lower() == "authorization" for name in self.headers)
        if sum((self.bearer_token is not None, self.username is not None, named)) > 1:
            raise ValueError("give one of bearer_token, username with password, or an Authorization header")
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a header")
            if not value.get_secret_value().isprintable():
                raise ValueError(f"the header {name} has a control character in it")
        return self

    def request_headers(self) -> dict[str, str]:
        """What proves who we are, and `headers`."""
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        if self.bearer_token is not None:
            headers["Authorization"] = f"Bearer {self.bearer_token.get_secret_value()}"
        if self.username is not None and self.password is not None:
            pair = f"{self.username}:{self.password.get_secret_value()}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers
