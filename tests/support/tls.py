"""JSON documents over TLS, by a server that only who is told trusts."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"


class Documents:
    """What was asked for, and what is answered: a function of the server's address, or bytes as they are sent."""

    def __init__(self, answers: Mapping[str, Callable[[str], dict[str, Any]] | bytes]) -> None:
        self.url = ""
        self.paths: list[str] = []
        self._answers = answers

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        self.paths.append(path)
        writer.write(self._answer(path))
        await writer.drain()
        writer.close()

    def _answer(self, path: str) -> bytes:
        answer = self._answers[path]
        if isinstance(answer, bytes):
            return answer
        body = json.dumps(answer(self.url)).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return head.encode() + body


@asynccontextmanager
async def serving_documents(
    folder: Path, answers: Mapping[str, Callable[[str], dict[str, Any]] | bytes]
) -> AsyncIterator[tuple[Documents, ssl.SSLContext]]:
    """The server, and a context that trusts it."""
    file = folder / "server.pem"
    write_certificate(file, LOOPBACK)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    documents = Documents(answers)
    listening = await asyncio.start_server(documents.talk, LOOPBACK, 0, ssl=context)
    documents.url = f"https://{LOOPBACK}:{listening.sockets[0].getsockname()[1]}"
    try:
        yield documents, ssl.create_default_context(cafile=str(file))
    finally:
        listening.close()
        await listening.wait_closed()


def write_certificate(file: Path, name: str) -> None:
    """A certificate for the address `name` with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + certificate.public_bytes(pem))
