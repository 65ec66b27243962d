"""What retrieval is measured on: public text that is prepared here, each document with what it answers to.

Manual pages of Debian's packages, fetched with apt and unpacked, never installed: the line after NAME asks for the page, whose NAME section
is left out of what is indexed. And events, translated by our own adapters from payloads that vendors publish: GitHub's examples (the npm
package `@octokit/webhooks-examples`) and the recordings of the other systems in `tests/unit/adapters`.
"""

import gzip
import json
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.questions import QUESTIONS
from devops_mcp.adapters.base import AnyAdapter, Delivery, Origin
from devops_mcp.adapters.registry import load_adapters
from devops_mcp.models.errors import PlatformError
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.operations.event_texts import event_text

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "manpages", "coreutils", "util-linux", "procps", "iproute2", "systemd", "openssh-client", "e2fsprogs", "git-man",
    "tar", "findutils", "grep", "sed", "passwd", "login", "cron", "rsync", "curl", "openssl", "gpg", "mount", "lvm2",
    "kmod", "udev", "iptables", "nftables", "tcpdump", "strace", "lsof", "psmisc", "logrotate", "sudo",
)  # fmt: skip
MAX_PAGES = 500
SECTIONS = ("man1", "man5", "man7", "man8")
EXAMPLES = ROOT / "tests/node/node_modules/@octokit/webhooks-examples/api.github.com/index.json"
RECORDED = ROOT / "tests/unit/adapters"
_ESCAPES = re.compile(
    r"\\f\[?[A-Z]+\]?|\\f[A-Z]|\\[&/|,^%c]|\\s[+-]?\d|\\\*\([A-Za-z]{2}|\\\*\[[^]]*\]|\\\*."
)
_SPECIAL = {
    r"\-": "-",
    r"\(aq": "'",
    r"\(bu": "*",
    r"\(em": "-",
    r"\(co": "(c)",
    r"\e": "\\",
    r"\ ": " ",
    r"\~": " ",
}


@dataclass(frozen=True)
class Document:
    """`key` is unique; `names` are what questions call it by."""

    key: str
    name: str
    title: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Documents, and questions with the keys of the documents that answer them."""

    name: str
    documents: tuple[Document, ...]
    questions: tuple[tuple[str, frozenset[str]], ...]


def manual_pages() -> Corpus:
    """`MAX_PAGES` pages, chosen by the digest of their names, and for each its description as the question."""
    with tempfile.TemporaryDirectory() as folder:
        found = dict(pages(Path(folder)))
    chosen = sorted(found, key=lambda name: sha256(name.encode()).digest())[:MAX_PAGES]
    documents = tuple(Document(name, name, name, found[name][1]) for name in chosen)
    answering: dict[str, set[str]] = {}
    for name in chosen:
        answering.setdefault(found[name][0], set()).add(name)
    questions = tuple((asked, frozenset(keys)) for asked, keys in sorted(answering.items()))
    return Corpus("manual pages", documents, questions)


def events() -> Corpus:
    """Every event of the payloads once, and the questions over them."""
    adapters = load_adapters(installed=False)
    texts: dict[tuple[str, str], Document] = {}
    for name, adapter, delivery in [*_examples(adapters), *_recordings(adapters)]:
        try:
            parsed = adapter.webhooks.parse(delivery, Origin(DEFAULT_TENANT_ID, adapter.name))  # type: ignore[union-attr]
        except PlatformError:
            continue  # a recording that only its own headers make readable
        for event in parsed:
            text = event_text(event)
            texts.setdefault((event.title, text), Document(str(event.id), name, event.title, text))
    documents = tuple(texts.values())
    questions = tuple((asked, _answering(documents, patterns)) for asked, patterns in QUESTIONS)
    if empty := [asked for asked, keys in questions if not keys]:
        raise ValueError(f"no event answers {empty}")
    return Corpus("events", documents, questions)


def _answering(documents: tuple[Document, ...], patterns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(d.key for d in documents if any(fnmatchcase(d.name, pattern) for pattern in patterns))


def _examples(adapters: Any) -> Iterator[tuple[str, AnyAdapter, Delivery]]:
    for kind in json.loads(EXAMPLES.read_text()):
        for payload in kind["examples"]:
            headers = {"x-github-event": kind["name"], "x-github-delivery": "1"}
            delivery = Delivery(headers, json.dumps(payload).encode(), datetime(2026, 11, 1, tzinfo=UTC))
            yield f"github/{kind['name']}/{payload.get('action')}", adapters["github"], delivery


def _recordings(adapters: Any) -> Iterator[tuple[str, AnyAdapter, Delivery]]:
    for file in sorted(RECORDED.glob("*/recorded/*.json")):
        adapter = adapters.get(file.parts[-3])
        if adapter is None or adapter.webhooks is None:
            continue
        recorded = json.loads(file.read_text())
        whole = recorded if isinstance(recorded, dict) else {}
        headers = {name.lower(): value for name, value in whole.get("headers", {}).items()}
        body = json.dumps(whole.get("body", recorded)).encode()
        yield (
            f"{adapter.name}/{file.stem}",
            adapter,
            Delivery(headers, body, datetime(2026, 11, 1, tzinfo=UTC)),
        )


def pages(
    folder: Path, packages: Sequence[str] = PACKAGES, sections: Collection[str] = SECTIONS
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Name, and description with the rest of the page."""
    folder.chmod(0o755)
    for package in packages:
        fetched = subprocess.run(
            ["apt-get", "download", package], cwd=folder, capture_output=True, check=False
        )
        if fetched.returncode:
            print(f"  {package} cannot be fetched: {fetched.stderr.decode()[-200:].strip()}")
    for archive in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", archive.name, "unpacked"], cwd=folder, check=True)
    for file in sorted((folder / "unpacked/usr/share/man").glob("man*/*.gz")):
        if file.parent.name in sections and (page := read_page(gzip.decompress(file.read_bytes()).decode())):
            yield f"{file.name.removesuffix('.gz')}", page


def read_page(source: str) -> tuple[str, str] | None:
    """The description of the line after NAME, and the other sections as text; None for a page that only leads to another."""
    lines = [line for line in map(_plain, source.splitlines()) if line]
    name = next((i for i, line in enumerate(lines) if line == "# NAME"), None)
    if name is None:
        return None
    end = next((i for i in range(name + 1, len(lines)) if lines[i].startswith("# ")), len(lines))
    _, dash, description = " ".join(lines[name + 1 : end]).partition(" - ")
    body = "\n".join(line.removeprefix("# ") for line in lines[end:])
    return (" ".join(description.split()), body) if dash and description and len(body) > 300 else None


def _plain(line: str) -> str:
    """A line of troff as text: headings with `# `, requests that print their arguments, nothing of the others."""
    if line.startswith((".\\", "'\\", "'", ".de", ".if", ".ie", ".el", ".ds", ".nr", "..")):
        return ""
    for written, meant in _SPECIAL.items():
        line = line.replace(written, meant)
    line = _ESCAPES.sub("", line)
    if not line.startswith("."):
        return line.strip()
    request, _, rest = line.partition(" ")
    rest = rest.strip().strip('"').replace('" "', " ")
    if request in (".SH", ".Sh"):
        return f"# {rest.upper()}" if rest else ""
    if request == ".Nd":
        return f"- {rest}"
    return rest if request in (".B", ".I", ".BR", ".BI", ".IR", ".RB", ".SS", ".Nm", ".SM", ".IP") else ""
