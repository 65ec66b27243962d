"""Which items of a context go into a window: decided on their lengths alone, so that only what is shown is ever read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from devops_mcp.models.windows import Why
from devops_mcp.repositories.context_windows import Mark

RECENT_SHARE = 0.5
SUMMARY_SHARE = 0.2
EXCERPT_SHARE = 0.25
"""An earlier item takes at most so much of the room for earlier items; of a longer one the passage is shown that was found."""
MIN_PART = 40
"""Tokens below which a part of an item says nothing."""


class Choice(NamedTuple):
    """An item that is shown; `room` is what it may take of tokens, less than it has where it is shortened."""

    mark: Mark
    why: Why
    room: int

    @property
    def shortened(self) -> bool:
        return self.room < self.mark.tokens


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may be shown. `recent` is the newest first, without gaps, and as long as the budget or the context; `relevant` the best first.

    `passage_tokens` are those of the passage found in a relevant item, by position.
    """

    anchors: Sequence[Mark] = ()
    recent: Sequence[Mark] = ()
    summaries: Sequence[Mark] = ()
    relevant: Sequence[Mark] = ()
    passage_tokens: Mapping[int, int] = field(default_factory=dict)


def plan(budget: int, candidates: Candidates) -> list[Choice]:
    """The choices, in the order of the window; together they take at most `budget` tokens.

    First what must not be forgotten; then half of the room for the latest, a fifth for summaries of what is older, the rest for what the
    query finds; what is left over goes to the latest again.
    """
    window = _Plan(budget)
    window.anchor(candidates.anchors)
    earlier = bool(candidates.summaries or candidates.relevant)
    room = window.left
    window.take_recent(candidates.recent, int(room * RECENT_SHARE) if earlier else room)
    window.take_summaries(candidates.summaries, int(room * SUMMARY_SHARE))
    window.take_relevant(candidates.relevant, candidates.passage_tokens)
    window.take_recent(candidates.recent, window.left)
    window.drop_needless_summaries()
    window.take_recent(candidates.recent, window.left)
    return window.ordered()


class _Plan:
    def __init__(self, budget: int) -> None:
        self.left = budget
        self._chosen: dict[int, Choice] = {}
        self._has_recent = False
        self._shown_from: int | None = None

    def anchor(self, marks: Iterable[Mark]) -> None:
        for mark in marks:
            self._take(mark, Why.SYSTEM if mark.system else Why.PINNED, self.left)

    def take_recent(self, marks: Iterable[Mark], room: int) -> None:
        """Go back from the end, without a gap, as far as the room reaches; the very last item is shortened rather than left out."""
        for mark in marks:
            if mark.position not in self._chosen and mark.covers_to is None:
                if mark.tokens > room and (self._has_recent or room < MIN_PART):
                    return
                self._add(Choice(mark, Why.RECENT, min(mark.tokens, room)))
                room -= min(mark.tokens, room)
                self._has_recent = True
            self._shown_from = mark.position

    def take_summaries(self, marks: Iterable[Mark], room: int) -> None:
        spans: list[range] = []
        for mark in marks:
            span = mark.span
            if self._is_shown(span) or any(span[0] in other and span[-1] in other for other in spans):
                continue
            if mark.tokens <= room and self._take(mark, Why.SUMMARY, room):
                room -= mark.tokens
                spans.append(span)

    def take_relevant(self, marks: Iterable[Mark], passage_tokens: Mapping[int, int]) -> None:
        most = int(self.left * EXCERPT_SHARE)
        for mark in marks:
            if mark.tokens <= most:
                self._take(mark, Why.RELEVANT, self.left)
            elif mark.position not in self._chosen:
                room = min(mark.tokens, passage_tokens.get(mark.position, most), self.left)
                if room >= min(MIN_PART, mark.tokens):
                    self._add(Choice(mark, Why.RELEVANT, room))

    def drop_needless_summaries(self) -> None:
        """Those of which everything is shown itself by now."""
        for choice in list(self._chosen.values()):
            if choice.why is Why.SUMMARY and self._is_shown(choice.mark.span):
                self.left += choice.room
                del self._chosen[choice.mark.position]

    def ordered(self) -> list[Choice]:
        return sorted(self._chosen.values(), key=_place)

    def _is_shown(self, span: range) -> bool:
        return self._shown_from is not None and span[0] >= self._shown_from

    def _take(self, mark: Mark, why: Why, room: int) -> bool:
        if mark.position in self._chosen or mark.tokens > min(room, self.left):
            return False
        self._add(Choice(mark, why, mark.tokens))
        return True

    def _add(self, choice: Choice) -> None:
        self._chosen[choice.mark.position] = choice
        self.left -= choice.room


def _place(choice: Choice) -> tuple[int, int]:
    """A summary stands before the first of the items that it stands for."""
    mark = choice.mark
    if choice.why is Why.SUMMARY and mark.covers_from is not None:
        return mark.covers_from, 0
    return mark.position, 1
