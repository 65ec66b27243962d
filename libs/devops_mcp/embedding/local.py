"""all-MiniLM-L6-v2 on this machine, in one thread of its own.

Questions go ahead of passages that wait to be indexed: a search waits for its vector, an index does not. A batch under way is not
interrupted, so a question waits for at most one batch.
"""

import asyncio
import heapq
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import structlog

from devops_mcp.embedding.base import Embedded, EmbeddingModel, Purpose, Vector
from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.models.errors import Unavailable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

log = structlog.get_logger()

SPACE = "all-MiniLM-L6-v2/int8/384"
DIMENSIONS = 384
MAX_TOKENS = 256
GRAPH = "model.int8.onnx"
TOKENIZER = "tokenizer.json"
MANIFEST = "manifest.json"

BATCH = 16
TOGETHER = 512
"""Texts computed together, and their tokens, each text counted as the longest, to which it is padded.

More gain nothing on one core, take memory that is not given back (530 MB for 16 of 256, 170 for two), and make a question wait longer.
"""
WAITING = 10_000
"""Texts that may wait; beyond, `embed` raises `Unavailable`."""

LOADED_AFTER_S = 3.0
"""A start has other things to do first; then the first question should not wait for the model."""

_QUESTION, _PASSAGE = 0, 1


def default_folder() -> Path:
    """Where the model is prepared: within the environment that runs, so that it comes and goes with it."""
    return Path(sys.prefix) / "share" / "devops-mcp" / "models" / SPACE.replace("/", "-")


class ModelFailed(Exception):
    """onnxruntime or tokenizers failed; both raise plain exceptions of their own making."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ModelFailed(type(error).__name__) from error


class Model:
    """The tokenizer and the graph. Loading takes some 0.2 s; nothing here is asynchronous."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        with _translated():
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
            self._tokenizer.enable_truncation(MAX_TOKENS)
            self._tokenizer.no_padding()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(
                str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
            )

    def vectors(self, texts: Sequence[str]) -> list[Vector]:
        """Unit vectors of the texts, in order. Texts of like length are computed together, since all are padded to the longest."""
        with _translated():
            return self._vectors(texts)

    def _vectors(self, texts: Sequence[str]) -> list[Vector]:
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        vectors: list[Vector] = [[]] * len(encoded)
        for chosen in _together([len(ids) for ids in encoded]):
            for i, vector in zip(chosen, self._batch([encoded[i] for i in chosen]).tolist(), strict=True):
                vectors[i] = vector
        return vectors

    def _batch(self, ids: Sequence[Sequence[int]]) -> "npt.NDArray[np.float32]":
        import numpy as np

        width = max(len(row) for row in ids)
        tokens = np.zeros((len(ids), width), dtype=np.int64)
        mask = np.zeros_like(tokens)
        for i, row in enumerate(ids):
            tokens[i, : len(row)] = row
            mask[i, : len(row)] = 1
        outputs = self._session.run(["embedding"], {"input_ids": tokens, "attention_mask": mask})
        return cast("npt.NDArray[np.float32]", outputs[0])


def _together(lengths: Sequence[int]) -> list[list[int]]:
    """The places of texts that are computed together: of like length, the shortest first."""
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        size = len(groups[-1]) if groups else BATCH
        if size < BATCH and (size + 1) * lengths[place] <= TOGETHER:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


@dataclass(order=True, slots=True)
class _Job:
    """Texts to embed; jobs are taken by rank, then in order of arrival."""

    rank: int
    number: int
    texts: Sequence[str] = field(compare=False)
    answer: "asyncio.Future[list[Vector]]" = field(compare=False)


class LocalProvider:
    """An `EmbeddingProvider` over a `Model`, which its thread loads when first asked, or soon after the start.

    A service is ready before; what is asked meanwhile waits.

    Open it with `open_local`.
    """

    def __init__(self, load: Callable[[], Model], *, name: str = "local") -> None:
        self.model = EmbeddingModel(name, "local", SPACE, DIMENSIONS, max_tokens=MAX_TOKENS, max_batch=BATCH)
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._jobs: list[_Job] = []
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="local embeddings", daemon=True)
        self._thread.start()

    async def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.PASSAGE) -> Embedded:
        """Batch by batch, so that questions come in between."""
        rank = _QUESTION if purpose is Purpose.QUESTION else _PASSAGE
        tokens = [count_tokens(text) for text in texts]
        vectors: list[Vector] = [[]] * len(texts)
        for chosen in _together([min(count, MAX_TOKENS) for count in tokens]):
            for i, vector in zip(chosen, await self._ask(rank, [texts[i] for i in chosen]), strict=True):
                vectors[i] = vector
        return Embedded(vectors, self.model, sum(tokens))

    async def close(self) -> None:
        """Finish the batch under way; what waits is answered with `Unavailable`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)
        for job in self._jobs:
            if not job.answer.done():
                job.answer.set_exception(Unavailable("the embedding model is being closed"))

    async def _ask(self, rank: int, texts: Sequence[str]) -> list[Vector]:
        answer: asyncio.Future[list[Vector]] = self._loop.create_future()
        with self._changed:
            if self._closed or self._waiting + len(texts) > WAITING:
                raise Unavailable("the embedding model has too much to do", retry_after_s=5)
            self._waiting += len(texts)
            heapq.heappush(self._jobs, _Job(rank, next(self._numbers), texts, answer))
            self._changed.notify()
        return await answer

    def _work(self) -> None:
        model = self._loaded()
        while (job := self._next()) is not None:
            if not job.answer.cancelled():
                self._finish(model, job)

    def _loaded(self) -> Model | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed, LOADED_AFTER_S)
            if self._closed:
                return None
        try:
            return self._load()
        except (ModelFailed, ImportError):
            log.exception("embedding model not loaded")
            return None

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._closed:
                return None
            job = heapq.heappop(self._jobs)
            self._waiting -= len(job.texts)
            return job

    def _finish(self, model: Model | None, job: _Job) -> None:
        if model is None:
            self._loop.call_soon_threadsafe(_fail, job.answer, "it was not loaded; the log says why")
            return
        try:
            vectors = model.vectors(job.texts)
        except ModelFailed as error:
            self._loop.call_soon_threadsafe(_fail, job.answer, str(error))
        else:
            self._loop.call_soon_threadsafe(_answer, job.answer, vectors)


def _answer(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any]", reason: str) -> None:
    if not future.done():
        future.set_exception(Unavailable(f"the embedding model failed ({reason})"))


@asynccontextmanager
async def open_local(folder: Path, *, threads: int = 1, name: str = "local") -> AsyncIterator[LocalProvider]:
    """Begin to load the model that `folder` holds, and close it at the end."""
    provider = LocalProvider(partial(Model, folder, threads=threads), name=name)
    try:
        yield provider
    finally:
        await provider.close()
