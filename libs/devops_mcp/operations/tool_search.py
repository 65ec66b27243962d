"""Finding the tool for a job among hundreds: by its words and, where a model is at hand, by meaning."""

import asyncio
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from operator import mul

import structlog

from devops_mcp.embedding.base import EmbeddingProvider, Purpose, Vector
from devops_mcp.models.errors import PlatformError
from devops_mcp.operations.catalogue import CatalogueEntry

_WORD = re.compile(r"[a-z0-9]+")
_FUSED = 3
"""The constant of reciprocal rank fusion, as small as in the search over passages: what is first by words or by meaning stays in front."""
_SATURATION = 1.2
_ENDINGS = ("ing", "ies", "es", "ed", "s")
_NAME_WEIGHT = 3
log = structlog.get_logger()


class ToolSearch:
    """Ranks tools. What a tool means is embedded at the first search that needs it, once a process."""

    def __init__(self, provider: EmbeddingProvider | None) -> None:
        self._provider = provider
        self._counts: dict[str, Counter[str]] = {}
        self._vectors: dict[str, Vector] = {}
        self._embedding = asyncio.Lock()

    async def rank(self, query: str, entries: Sequence[CatalogueEntry]) -> list[CatalogueEntry]:
        """Those of `entries` that fit the query, best first."""
        by_name = {entry.tool.name: entry for entry in entries}
        rankings = [self._by_words(query, entries), await self._by_meaning(query, entries)]
        scores: defaultdict[str, float] = defaultdict(float)
        for ranking in rankings:
            for position, name in enumerate(ranking):
                scores[name] += 1 / (_FUSED + position)
        ordered = sorted(scores, key=lambda name: (-scores[name], name))
        return [by_name[name] for name in ordered]

    def _by_words(self, query: str, entries: Sequence[CatalogueEntry]) -> list[str]:
        """BM25 without a penalty for length: descriptions are all short."""
        wanted = set(_words(query))
        documents = {entry.tool.name: self._counts_of(entry) for entry in entries}
        found_in = Counter(word for counts in documents.values() for word in wanted if word in counts)
        scores = {name: _score(counts, found_in, len(documents)) for name, counts in documents.items()}
        fitting = [name for name, score in scores.items() if score]
        return sorted(fitting, key=lambda name: (-scores[name], name))

    def _counts_of(self, entry: CatalogueEntry) -> Counter[str]:
        known = self._counts.get(entry.tool.name)
        if known is None:
            known = self._counts[entry.tool.name] = _counted(entry)
        return known

    async def _by_meaning(self, query: str, entries: Sequence[CatalogueEntry]) -> list[str]:
        if self._provider is None or not entries:
            return []
        try:
            await self._embed(entries)
            [asked] = (await self._provider.embed([query], Purpose.QUESTION)).vectors
        except PlatformError as error:
            log.warning("tools searched by words only", code=error.code, reason=error.message)
            return []
        names = [entry.tool.name for entry in entries]
        nearness = {name: sum(map(mul, asked, self._vectors[name])) for name in names}
        return sorted(names, key=lambda name: -nearness[name])[:20]

    async def _embed(self, entries: Sequence[CatalogueEntry]) -> None:
        assert self._provider is not None
        async with self._embedding:
            new = [entry for entry in entries if entry.tool.name not in self._vectors]
            if new:
                embedded = await self._provider.embed([_said(entry) for entry in new])
                self._vectors |= zip((entry.tool.name for entry in new), embedded.vectors, strict=True)


def _said(entry: CatalogueEntry) -> str:
    return f"{entry.tool.title}. {entry.tool.description}"


def _score(counts: Mapping[str, int], found_in: Mapping[str, int], total: int) -> float:
    return sum(
        math.log(1 + (total - found + 0.5) / (found + 0.5)) * counts[word] / (counts[word] + _SATURATION)
        for word, found in found_in.items()
        if word in counts
    )


def _counted(entry: CatalogueEntry) -> Counter[str]:
    """The words of a tool; those of its name and title count more."""
    properties = entry.input_schema.get("properties")
    arguments = " ".join(properties) if isinstance(properties, dict) else ""
    head = _words(f"{entry.tool.name} {entry.tool.title} {entry.system}")
    return Counter(head * _NAME_WEIGHT + _words(f"{entry.tool.description} {arguments}"))


def _words(text: str) -> list[str]:
    return [_stem(word) for word in _WORD.findall(text.lower().replace("_", " "))]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending) + ("y" if ending == "ies" else "")
    return word
