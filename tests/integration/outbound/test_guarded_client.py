"""The address filter where the connection is made, against a real server on this machine that must not be reached."""

import asyncio
import socket
import ssl
from ipaddress import ip_network

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route

from devops_mcp.outbound.http import AddressRefused, GuardedBackend, guarded_client
from support.addresses import FORBIDDEN, LOOPBACK_SPELLINGS
from support.servers import LOOPBACK, serve
from support.tls import write_certificate


class Seen:
    """An application that counts its requests; `/away` redirects to `to`."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.to = "/"
        self.app = Starlette(routes=[Route("/{path:path}", self.answer)])

    async def answer(self, request: Request) -> PlainTextResponse | RedirectResponse:
        self.paths.append(request.url.path)
        if request.url.path == "/away":
            return RedirectResponse(self.to)
        return PlainTextResponse("inside")


def client(*opened: str, base_url: str = "") -> httpx2.AsyncClient:
    return guarded_client(base_url, private_networks=tuple(ip_network(n) for n in opened), timeout_s=5)


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_no_forbidden_address_is_connected_to(address):
    """I05, I06"""
    host = f"[{address}]" if ":" in address else address
    async with client() as outside:
        with pytest.raises(AddressRefused):
            await outside.get(f"http://{host}:9/")


@pytest.mark.parametrize("spelling", LOOPBACK_SPELLINGS)
async def test_no_spelling_of_loopback_gets_through(spelling):
    """I05"""
    seen = Seen()
    async with serve(seen.app) as url, client() as outside:
        with pytest.raises((AddressRefused, httpx2.InvalidURL)):
            await outside.get(f"http://{spelling}:{httpx2.URL(url).port}/")

    assert seen.paths == []


@pytest.mark.parametrize("spelling", LOOPBACK_SPELLINGS)
async def test_no_spelling_of_loopback_gets_through_below_the_parsing_of_urls(spelling):
    """I05"""
    with pytest.raises(AddressRefused):
        await GuardedBackend(()).connect_tcp(spelling.strip("[]"), 9, timeout=5)


async def test_the_same_server_answers_once_its_network_is_opened():
    seen = Seen()
    async with serve(seen.app) as url, client("127.0.0.0/8") as outside:
        assert (await outside.get(url)).text == "inside"


async def test_a_redirect_is_handed_back_not_followed():
    """I07"""
    seen = Seen()
    async with serve(seen.app) as url, client("127.0.0.0/8") as outside:
        seen.to = f"{url}/inner"
        assert (await outside.get(f"{url}/away")).status_code == 307

    assert seen.paths == ["/away"]


def resolve_in_turn(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let names resolve to each of `answers` in turn; gives the names asked for. DNS is not ours, so it is the one thing replaced."""
    asked: list[str] = []
    left = list(answers)

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if not left:
            raise OSError("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def test_a_name_that_resolves_anew_is_checked_at_each_connection_and_connected_as_checked(monkeypatch):
    """I05"""
    seen = Seen()
    async with serve(seen.app, host="127.0.0.2") as url:
        asked = resolve_in_turn(monkeypatch, ["127.0.0.2"], ["127.0.0.1"])
        port = httpx2.URL(url).port
        async with client("127.0.0.2/32") as outside:
            assert (await outside.get(f"http://rebind.example:{port}/one")).text == "inside"
        async with client("127.0.0.2/32") as outside:
            with pytest.raises(AddressRefused):
                await outside.get(f"http://rebind.example:{port}/two")

    assert seen.paths == ["/one"]
    assert asked == ["rebind.example", "rebind.example"]


async def test_one_bad_address_among_good_ones_refuses_the_name(monkeypatch):
    """I05"""
    resolve_in_turn(monkeypatch, ["140.82.112.3", "10.0.0.1"])
    async with client() as outside:
        with pytest.raises(AddressRefused, match=r"mixed\.example"):
            await outside.get("http://mixed.example/")


async def test_an_address_where_nobody_listens_gives_way_to_the_next(monkeypatch):
    seen = Seen()
    async with serve(seen.app) as url, client("127.0.0.0/8") as outside:
        resolve_in_turn(monkeypatch, ["127.0.0.3", "127.0.0.1"])
        assert (await outside.get(f"http://two.example:{httpx2.URL(url).port}/")).text == "inside"


async def test_a_name_that_does_not_exist_is_a_failed_connection(monkeypatch):
    resolve_in_turn(monkeypatch)
    async with client() as outside:
        with pytest.raises(httpx2.ConnectError):
            await outside.get("http://nowhere.example/")


async def test_resolving_is_bounded_in_time(monkeypatch):
    async def getaddrinfo(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with guarded_client("", private_networks=LOOPBACK, timeout_s=0.05) as outside:
        with pytest.raises(httpx2.ConnectTimeout):
            await outside.get("http://slow.example/")


async def test_proxies_and_credentials_of_the_environment_are_not_used(monkeypatch, tmp_path):
    """K01"""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    headers: list[dict[str, str]] = []

    async def answer(request: Request) -> PlainTextResponse:
        headers.append(dict(request.headers))
        return PlainTextResponse("inside")

    async with serve(Starlette(routes=[Route("/", answer)])) as url, client("127.0.0.0/8") as outside:
        await outside.get(url)

    assert "authorization" not in headers[0]


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    """I05"""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    write_certificate(tmp_path / "server.pem", "127.0.0.1")
    server.load_cert_chain(tmp_path / "server.pem")
    talked = asyncio.Event()

    async def talk(*_: object) -> None:
        talked.set()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=server)
    async with listening, client("127.0.0.0/8") as outside:
        with pytest.raises(httpx2.ConnectError, match="certificate"):
            await outside.get(f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/")

    assert not talked.is_set()
