"""How an operation talks to its caller while it runs: it reports, and it asks.

Whether a caller can be asked depends on how it is connected. Some answer at once; others are answered "I need to know this first" and call
again with the answers, so that an operation that asks must do nothing that cannot be repeated before it has all its answers. Where an
answer says that nothing is to be done, it raises `Forbidden`: a result is what its call's idempotency key stands for from then on.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Protocol, TypeAlias

from pydantic import Field

from devops_mcp.models.base import JsonObject, Model


class Form(Model):
    """A form for the person behind the caller. `fields` is the JSON Schema of a flat object."""

    kind: Literal["form"] = "form"
    message: str
    fields: JsonObject


class Sampling(Model):
    """A text that the caller's own language model should write."""

    kind: Literal["sampling"] = "sampling"
    prompt: str
    system: str | None = None
    max_tokens: int = 1_000


class Roots(Model):
    """The folders that the caller works in."""

    kind: Literal["roots"] = "roots"


Question: TypeAlias = Annotated[Form | Sampling | Roots, Field(discriminator="kind")]


class FormAnswer(Model):
    """`content` holds the fields, when the person accepted."""

    kind: Literal["form"] = "form"
    action: Literal["accept", "decline", "cancel"]
    content: JsonObject = Field(default_factory=dict)


class SamplingAnswer(Model):
    kind: Literal["sampling"] = "sampling"
    text: str
    model: str


class RootsAnswer(Model):
    kind: Literal["roots"] = "roots"
    uris: tuple[str, ...]


Answer: TypeAlias = Annotated[FormAnswer | SamplingAnswer | RootsAnswer, Field(discriminator="kind")]
Level: TypeAlias = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


class InputRequired(Exception):
    """Not a failure: the operation goes on when it is called again with answers to `questions`. Only a conversation raises it."""

    def __init__(self, questions: Mapping[str, Question]) -> None:
        super().__init__(f"answers are needed: {', '.join(questions)}")
        self.questions = questions


class Conversation(Protocol):
    """The caller, as far as an operation can talk to it."""

    def can_answer(self, kind: Literal["form", "sampling", "roots"]) -> bool:
        """Whether this caller can be asked such a question."""
        ...

    async def ask(self, questions: Mapping[str, Question]) -> Mapping[str, Answer]:
        """The answers, by the questions' names, which must be the same each time the operation runs.

        Raises `Unanswerable` for a question that this caller cannot be asked, and may raise `InputRequired`, which must be let through.
        """
        ...

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far the operation is, in whatever unit; `done` only grows."""
        ...

    async def log(self, level: Level, message: str) -> None:
        """Tell the caller something, if it wants to hear of this level."""
        ...

    async def let_go(self) -> None:
        """Free the caller's connection while the operation goes on, where the caller can come back for the answer; else do nothing."""
        ...
