"""Who asks for a tool, through which door, and how it can be talked to: what a transport knows of a call besides its arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from devops_mcp.adapters.base import Effect
from devops_mcp.models.conversation import Answer, Conversation, Level, Question
from devops_mcp.models.errors import Unanswerable
from devops_mcp.models.principals import Principal
from devops_mcp.operations.catalogue import SUITE, CatalogueEntry


@dataclass(frozen=True, slots=True)
class View:
    """Which of the tools that a principal may call are laid before it. A principal's rights come first; a view only takes away.

    `systems` are those whose tools are listed, and so may be called by their own names, besides the suite's; None: of all systems. What is
    not listed can be searched, and called through `tools_call`. `read_only` refuses every tool that changes something, whatever the way.
    """

    systems: frozenset[str] | None = None
    read_only: bool = False

    def lists(self, entry: CatalogueEntry) -> bool:
        """Whether the tool is in the list."""
        essential = entry.system == SUITE and entry.tool.essential
        listed = self.systems is None or essential or entry.system in self.systems
        return listed and self.admits(entry)

    def admits(self, entry: CatalogueEntry) -> bool:
        """Whether the tool can be reached at all."""
        return not self.read_only or entry.tool.effect is Effect.READ


WHOLE = View()
"""Everything that the principal may call."""
FRONT_DOOR = View(systems=frozenset())
"""The suite's own tools; the others are found with `tools_search`."""


class NobodyToAsk:
    """The conversation with a caller that sends one request and reads one answer."""

    def can_answer(self, kind: Literal["form", "sampling", "roots"]) -> bool:
        return False

    async def ask(self, questions: Mapping[str, Question]) -> Mapping[str, Answer]:
        """Raises `Unanswerable`."""
        raise Unanswerable("this needs an answer from its caller, who cannot be asked over this connection")

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Nobody listens."""

    async def log(self, level: Level, message: str) -> None:
        """Nobody listens."""

    async def let_go(self) -> None:
        """The one answer is waited for."""


NOBODY = NobodyToAsk()


@dataclass(frozen=True, slots=True)
class Requester:
    """The caller of a tool.

    `idempotency_key` and `context_id` are those that came beside the arguments, in a header or the protocol's metadata. `confirmed` says
    that what the call loses was confirmed when it was accepted. `rules` are those that led to the call, where no caller did.
    """

    principal: Principal
    view: View = WHOLE
    conversation: Conversation = NOBODY
    idempotency_key: str | None = None
    context_id: UUID | None = None
    confirmed: bool = False
    rules: tuple[UUID, ...] = ()

    def talking(self, conversation: Conversation) -> "Requester":
        """The same, who can be talked to in another way."""
        key, context_id = self.idempotency_key, self.context_id
        return Requester(self.principal, self.view, conversation, key, context_id, self.confirmed, self.rules)
