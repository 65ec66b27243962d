"""A summary without a language model: the sentences that say most of a text, each in its own words.

A sentence's weight is how near it is to the whole text in the words they share, rare words counting more; what was said already counts
less. The same text always gives the same summary.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from devops_mcp.embedding.tokens import count_tokens

MAX_SENTENCES = 12
MAX_TOKENS = 800
MAX_CANDIDATES = 2_000
"""Sentences that are looked at: the latest."""
_MIN_CHARS = 15
_MAX_CHARS = 400
_REPEATED = 0.6
"""A sentence that shares so much with a chosen one says nothing new."""
_TELLING = 1.5
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"[^\W\d_][\w-]{2,}")
_TELLS = re.compile(
    r"\b(because|cause[ds]?|decid|decision|deploy|error|fail|fix|found|resolv|root cause|rolled back|alert|warn|must|never)",
    re.IGNORECASE,
)
_Bag = Mapping[str, float]


def extract(text: str, max_tokens: int = MAX_TOKENS, max_sentences: int = MAX_SENTENCES) -> str:
    """At most so many sentences, in their order, as a list; the beginning of a text that has none."""
    sentences = _sentences(text)
    bags = _bags(sentences)
    whole = _sum(bags)
    order = sorted(range(len(sentences)), key=lambda i: -_weight(sentences[i], bags[i], whole))
    chosen: list[int] = []
    left = max_tokens
    for i in order:
        tokens = count_tokens(sentences[i]) + 1
        if len(chosen) == max_sentences:
            break
        if tokens <= left and all(_likeness(bags[i], bags[j]) < _REPEATED for j in chosen):
            chosen.append(i)
            left -= tokens
    return "\n".join(f"- {sentences[i]}" for i in sorted(chosen)) or text[: max(max_tokens, 1) * 3]


def _sentences(text: str) -> list[str]:
    found = [sentence.strip()[:_MAX_CHARS] for sentence in _SENTENCE.split(text)]
    return [sentence for sentence in found if len(sentence) > _MIN_CHARS][-MAX_CANDIDATES:]


def _bags(sentences: Sequence[str]) -> list[_Bag]:
    words = [set(_WORD.findall(sentence.lower())) for sentence in sentences]
    known = Counter(word for said in words for word in said)
    rarity = {word: math.log(1 + len(sentences) / count) for word, count in known.items()}
    return [{word: rarity[word] for word in sorted(said)} for said in words]


def _sum(bags: Sequence[_Bag]) -> _Bag:
    whole: dict[str, float] = {}
    for bag in bags:
        for word, weight in bag.items():
            whole[word] = whole.get(word, 0.0) + weight
    return whole


def _weight(sentence: str, bag: _Bag, whole: _Bag) -> float:
    return _likeness(bag, whole) * (_TELLING if _TELLS.search(sentence) else 1.0)


def _likeness(one: _Bag, other: _Bag) -> float:
    """The cosine of two bags of words."""
    if len(one) > len(other):
        one, other = other, one
    shared = sum(weight * other.get(word, 0.0) for word, weight in one.items())
    lengths = math.sqrt(sum(w * w for w in one.values()) * sum(w * w for w in other.values()))
    return shared / lengths if lengths else 0.0
