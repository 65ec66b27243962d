"""A context in short: written by the caller's own model where it lends one, else picked from its sentences."""

import re
from collections import Counter
from collections.abc import Sequence

from devops_mcp.models.contexts import ContextItem, ItemKind
from devops_mcp.models.conversation import Conversation, Sampling, SamplingAnswer

MAX_READ = 40_000
"""Characters of a context that are summed up: the latest."""
MAX_SENTENCES = 12
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"[a-z][a-z0-9_-]{2,}")
_SYSTEM = "You sum up an operations log for the colleague who takes over. Facts only, as a short list; keep names, numbers and times."


async def summary_of(title: str, items: Sequence[ContextItem], conversation: Conversation) -> tuple[str, str]:
    """The summary, and how it was made: the model's name, or `extractive`."""
    text = _latest(items)
    if not conversation.can_answer("sampling"):
        return extract(text), "extractive"
    question = Sampling(prompt=f"Sum up: {title}\n\n{text}", system=_SYSTEM, max_tokens=800)
    answer = (await conversation.ask({"summary": question}))["summary"]
    assert isinstance(answer, SamplingAnswer)
    return answer.text, answer.model


def extract(text: str) -> str:
    """The sentences that say most in the text's own words, in their order."""
    sentences = [sentence.strip() for sentence in _SENTENCE.split(text) if len(sentence.strip()) > 15]
    counts = Counter(word for sentence in sentences for word in set(_words(sentence)))
    best = sorted(range(len(sentences)), key=lambda i: -_weight(sentences[i], counts))[:MAX_SENTENCES]
    return "\n".join(f"- {sentences[i]}" for i in sorted(best)) or text[:500]


def _weight(sentence: str, counts: Counter[str]) -> float:
    words = set(_words(sentence))
    return sum(counts[word] for word in words) / (len(words) + 5) if words else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _latest(items: Sequence[ContextItem]) -> str:
    lines = [f"{item.created_at:%Y-%m-%d %H:%M} {_label(item)}: {item.text}" for item in items]
    return "\n".join(lines)[-MAX_READ:]


def _label(item: ContextItem) -> str:
    return item.role or ("note" if item.kind is ItemKind.NOTE else item.kind.value)
