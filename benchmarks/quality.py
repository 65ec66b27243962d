"""How well search finds: recall@10 and nDCG@10 of words alone, of meaning alone, and of both, over `benchmarks.corpora`.

The constants of the fusion were chosen on one half of the questions; what is printed first is the other half, which had no say. Then, for
each set, all its questions, with the constants that the other set alone would choose.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from uuid import UUID, uuid5

from benchmarks.corpora import Corpus, Document, events, manual_pages
from benchmarks.measure import Row
from benchmarks.world import World
from devops_mcp.embedding.chunking import split
from devops_mcp.embedding.local import SPACE, Model, default_folder
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import Hit, NewPassage, PassageKind
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.passages import QueryVector, Ranking, SearchFilter

TOP = 10
PARTS = 4
"""Passages of a document that are indexed: manual pages are long, and their beginning says what they are about."""
WEIGHTS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
CONSTANTS = (1, 2, 3, 5, 10, 20, 60)


@dataclass(frozen=True)
class Found:
    """A passage of one question's answer: its document, its ranks by words and by meaning, and its share of the question's words."""

    document: str
    lexical: int | None
    vector: int | None
    coverage: float


@dataclass(frozen=True)
class Asked:
    """A question, what answers it, and what came up."""

    relevant: frozenset[str]
    found: tuple[Found, ...]


@dataclass(frozen=True)
class Fusion:
    """`vector_weight` beside the weight of words, which is the share of the question's that are there."""

    vector_weight: float
    k: int

    def score(self, found: Found) -> float:
        words = found.coverage / (self.k + found.lexical) if found.lexical else 0.0
        return words + (self.vector_weight / (self.k + found.vector) if found.vector else 0.0)


def by_words(found: Found) -> float:
    return 1 / found.lexical if found.lexical else 0.0


def by_meaning(found: Found) -> float:
    return 1 / found.vector if found.vector else 0.0


Score = Callable[[Found], float]
OURS = Fusion(Ranking().vector_weight / Ranking().lexical_weight, Ranking().k)


async def part(world: World) -> list[Row]:
    """The quality of search, as rows of the table."""
    url = world.suite.addresses["postgres"]
    async with open_database(url, pool_size=2, application="bench") as database:
        return await quality(database)


async def quality(database: Database) -> list[Row]:
    """A row a corpus and way of searching, and what the tuning half would choose."""
    model = Model(default_folder())
    asked = {corpus.name: await ask(database, model, corpus) for corpus in (events(), manual_pages())}
    rows = []
    for name, questions in asked.items():
        rows += _rows(f"{name}, held-out half", questions[1::2], OURS)
    for name, questions in asked.items():
        chosen = _best({other: its for other, its in asked.items() if other != name})
        rows += _rows(f"{name}, all", questions, chosen)
        rows.append(Row(f"{name}, all", "as the other set would choose", _said(chosen)))
    tuning = {name: questions[::2] for name, questions in asked.items()}
    best = _best(tuning)
    means = f"{_mean(tuning, OURS.score):.4f} against {_mean(tuning, best.score):.4f}"
    rows.append(Row("fusion, the tuning half", _said(OURS), f"its best: {_said(best)}", means))
    return rows


def _rows(name: str, questions: Sequence[Asked], fusion: Fusion) -> list[Row]:
    rows = []
    for way, score in (("words", by_words), ("meaning", by_meaning), ("both", fusion.score)):
        recall, ndcg = measured(questions, score)
        said = f"recall@10 {recall:.3f}", f"nDCG@10 {ndcg:.3f}", f"{len(questions)} questions"
        rows.append(Row(f"{name}, {way}", *said))
    return rows


def _best(asked: dict[str, list[Asked]]) -> Fusion:
    every = (Fusion(weight, k) for weight, k in product(WEIGHTS, CONSTANTS))
    return max(every, key=lambda fusion: _mean(asked, fusion.score))


async def ask(database: Database, model: Model, corpus: Corpus) -> list[Asked]:
    """Index the corpus as a source of its own, and ask each of its questions."""
    await _index(database, model, corpus)
    asked = []
    for question, relevant in corpus.questions:
        vector = QueryVector(SPACE, model.vectors([question])[0])
        wanted = SearchFilter(new_id(), any_owner=True, sources=(corpus.name,))
        async with database.transaction(DEFAULT_TENANT_ID) as tx:
            hits = await tx.passages.search(question, [vector], wanted, 200, Ranking(exact=True))
        asked.append(Asked(relevant, tuple(map(_found, hits))))
    return asked


def _found(hit: Hit) -> Found:
    coverage = hit.explanation.coverage or 0.0
    return Found(str(hit.passage.metadata["key"]), hit.lexical_rank, hit.vector_rank, coverage)


def _said(fusion: Fusion) -> str:
    return f"weight {fusion.vector_weight:g}, k {fusion.k}"


def measured(questions: Sequence[Asked], score: Score) -> tuple[float, float]:
    """Recall@10 and nDCG@10 over documents, with gains of 0 and 1 (Järvelin and Kekäläinen 2002)."""
    tops = [(_top(asked, score), asked.relevant) for asked in questions]
    recalls = [len(set(top) & relevant) / min(len(relevant), TOP) for top, relevant in tops]
    gains = [
        _gain(key in relevant for key in top) / _gain([True] * min(len(relevant), TOP))
        for top, relevant in tops
    ]
    return sum(recalls) / len(recalls), sum(gains) / len(gains)


def _top(asked: Asked, score: Score) -> list[str]:
    """The documents of the best passages, each once."""
    scored = [(score(found), found.document) for found in asked.found]
    ordered = sorted((pair for pair in scored if pair[0] > 0), reverse=True)
    return list(dict.fromkeys(document for _, document in ordered))[:TOP]


def _gain(hits: Iterable[bool]) -> float:
    return sum(1 / math.log2(place + 2) for place, hit in enumerate(hits) if hit)


def _mean(asked: dict[str, list[Asked]], score: Score) -> float:
    """nDCG@10 over the corpora, each counting the same."""
    return sum(measured(questions, score)[1] for questions in asked.values()) / len(asked)


async def _index(database: Database, model: Model, corpus: Corpus) -> None:
    print(
        f"  {len(corpus.documents)} documents and {len(corpus.questions)} questions of {corpus.name}",
        flush=True,
    )
    for document in corpus.documents:
        passages = [(new_id(), passage) for passage in _passages(corpus, document)]
        vectors = model.vectors([f"{p.title}\n{p.text}" for _, p in passages])
        async with database.transaction(DEFAULT_TENANT_ID) as tx:
            await tx.passages.add(passages, owner_id=None)
            pairs = [(id_, vector) for (id_, _), vector in zip(passages, vectors, strict=True)]
            await tx.passages.set_vectors(SPACE, pairs)


def _passages(corpus: Corpus, document: Document) -> list[NewPassage]:
    source = uuid5(UUID(int=0), f"{corpus.name} {document.key}")
    return [
        NewPassage(
            kind=PassageKind.EVENT,
            source_id=source,
            part=part,
            title=document.title,
            text=text,
            uri=f"devops://events/{source}",
            occurred_at=datetime(2026, 11, 1, tzinfo=UTC),
            metadata={"source": corpus.name, "key": document.key},
        )
        for part, text in enumerate(split(document.text)[:PARTS])
    ]
