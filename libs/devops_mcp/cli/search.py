"""`devops-mcp search`: what is remembered, asked for from a terminal over rest-api."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from devops_mcp.cli.login import WITHIN_S, Login, signing_in
from devops_mcp.cli.stdio import KEY_VARIABLE, running
from devops_mcp.models.errors import Forbidden, InvalidInput, PlatformError, Unauthenticated, Unavailable
from devops_mcp.models.passages import Question

SHOWN = 240
"""Characters of a passage whose words are not marked."""


@dataclass(frozen=True, slots=True)
class Server:
    """A rest-api and the credential for it."""

    url: str
    credential: str = field(repr=False)


def server_of(url: str | None, state: Path, environment: Mapping[str, str]) -> Server:
    """The address that was asked for, else that of the suite which runs in `state`, else the login's.

    The credential is the environment's key, else the suite's own or the login, and these go nowhere else. Raises `InvalidInput`.
    """
    suite = running(state)
    local, key = suite.get("rest"), environment.get(KEY_VARIABLE)
    address = (url or local or "").rstrip("/")
    if key is None and local is not None and address == local.rstrip("/"):
        key = suite.get("api_key")
    login = _login(environment) if key is None or not address else None
    address = address or (login.issuer if login else "")
    if not address:
        raise InvalidInput(f"no server is known: give --url, or start one with 'make run' ({state})")
    if key is None and login is not None and login.audience == address:
        key = login.access_token
    if key is None:
        how = f"'devops-mcp login --url {address} --resource {address}'"
        raise InvalidInput(f"there is no credential for {address}: set {KEY_VARIABLE}, or run {how}")
    return Server(address, key)


def _login(environment: Mapping[str, str]) -> Login | None:
    with signing_in(environment) as here:
        return here.current()


def ask(server: Server, question: Question) -> dict[str, Any]:
    """The answer as rest-api gives it. Raises the `PlatformError` that fits what it says else."""
    asked = question.model_dump(mode="json", exclude_defaults=True)
    headers = {"authorization": f"Bearer {server.credential}"}
    try:
        with httpx2.Client(timeout=WITHIN_S, follow_redirects=False) as http:
            answer = http.post(f"{server.url}/api/v1/search", json=asked, headers=headers)
            said = answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise Unavailable(f"{server.url} gives no answer to read ({type(error).__name__})") from None
    if answer.status_code != 200:
        raise _refusal(answer.status_code, said)
    found: dict[str, Any] = said
    return found


def _refusal(status: int, said: Any) -> PlatformError:
    why = printable(str(said.get("detail") if isinstance(said, dict) else said))
    kinds = {401: Unauthenticated, 403: Forbidden}
    return kinds.get(status, InvalidInput if status < 500 else Unavailable)(f"{status}: {why}")


def lines_of(answer: Mapping[str, Any]) -> Iterator[str]:
    """The answer for people: three lines a hit."""
    for number, hit in enumerate(answer["hits"], 1):
        passage = hit["passage"]
        yield f"{number}. {printable(passage['title'])}"
        yield f"   {printable(' … '.join(hit['highlights']) or passage['text'][:SHOWN])}"
        yield f"   {passage['occurred_at'][:16].replace('T', ' ')}, {printable(passage['uri'])} ({_why(hit)})"
    if not answer["hits"]:
        yield "nothing was found"


def _why(hit: Mapping[str, Any]) -> str:
    ranks = {"words": hit["lexical_rank"], "meaning": hit["vector_rank"]}
    return ", ".join(f"{name} #{rank}" for name, rank in ranks.items() if rank)


def printable(text: str) -> str:
    """The text on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "�" for c in text)


def main(url: str | None, state: Path, question: Question, *, as_json: bool) -> Iterator[str]:
    """What to print. Raises a `PlatformError` that says what went wrong."""
    answer = ask(server_of(url, state, os.environ), question)
    if as_json:
        # Escaped, so that neither a terminal nor a line-based program is told anything by a text.
        yield json.dumps(answer)
    else:
        yield from lines_of(answer)
