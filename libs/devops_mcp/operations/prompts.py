"""Prompts: the suite's own, and those of the systems that a tenant has."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from devops_mcp.adapters.base import AnyAdapter, Prompt, PromptArgument, PromptMessage
from devops_mcp.models.errors import DeadlineExceeded, InvalidInput, NotFound, Violation
from devops_mcp.models.principals import Principal
from devops_mcp.operations.catalogue import SUITE
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.tools import ToolService
from devops_mcp.operations.upstream_access import UpstreamAccess

TARGET: PromptArgument[Any] = PromptArgument("target", "Which integration to use; default: the first.")
"""What every prompt of a system takes, as its tools do; shown where there is a choice."""
MAX_ARGUMENT = 2_000
MAX_COMPLETIONS = 100
COMPLETE_WITHIN_S = 5.0
AnyPrompt = Prompt[Any]


class PromptService:
    """Lists the prompts that a principal may use, and renders them. What a prompt reads, it reads as that principal."""

    def __init__(
        self,
        adapters: Mapping[str, AnyAdapter],
        suite_prompts: Sequence[AnyPrompt],
        access: UpstreamAccess,
        tools: ToolService,
        *,
        deadline_s: float,
    ) -> None:
        everything = [(SUITE, prompt) for prompt in suite_prompts]
        everything += [
            (name, _with_target(prompt)) for name, adapter in adapters.items() for prompt in adapter.prompts
        ]
        self._prompts = {
            prompt.name: (system, prompt)
            for system, prompt in sorted(everything, key=lambda pair: pair[1].name)
        }
        if len(self._prompts) != len(everything):
            raise ValueError("two prompts share a name")
        self._access = access
        self._integrations = access.integrations
        self._tools = tools
        self._deadline_s = deadline_s

    def visible(self, principal: Principal) -> tuple[AnyPrompt, ...]:
        """In the order of their names."""
        offered = (
            (prompt, self._usable(principal, system, prompt)) for system, prompt in self._prompts.values()
        )
        return tuple(_shown(prompt, usable) for prompt, usable in offered if usable)

    async def render(
        self, requester: Requester, name: str, arguments: Mapping[str, str]
    ) -> tuple[AnyPrompt, tuple[PromptMessage, ...]]:
        """The prompt's messages. Raises `NotFound`, `InvalidInput`, or what its tools raise; lets `InputRequired` through."""
        system, prompt = self._find(requester.principal, name)
        _check(prompt, arguments)
        own = dict(arguments)
        target = own.pop(TARGET.name, None) if _targets(prompt) else None
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client(requester, system, prompt, target) as client,
            ):
                return prompt, await prompt.render(client, own, requester.conversation)
        except TimeoutError:
            raise DeadlineExceeded(f"the prompt {name} took longer than {self._deadline_s:g} s") from None

    async def complete(self, requester: Requester, name: str, argument: str, begun: str) -> list[str]:
        """Values for an argument that begin as `begun`; none where the prompt knows none. Raises `NotFound`."""
        system, prompt = self._find(requester.principal, name)
        chosen = next((a for a in prompt.arguments if a.name == argument), None)
        if chosen is None:
            raise NotFound(f"the prompt {name} has no argument {argument!r}")
        if chosen is TARGET:
            return [one for one in self._usable(requester.principal, system, prompt) if one.startswith(begun)]
        async with self._client(requester, system, prompt, None) as client:
            return await completed(chosen, client, begun)

    def _find(self, principal: Principal, name: str) -> tuple[str, AnyPrompt]:
        system, prompt = self._prompts.get(name, (SUITE, None))
        if prompt is None or not self._usable(principal, system, prompt):
            raise NotFound(f"there is no prompt {name!r}")
        return system, prompt

    def _usable(self, principal: Principal, system: str, prompt: AnyPrompt) -> tuple[str, ...]:
        """The integrations that the principal may use the prompt on; for those of the suite itself, the suite."""
        permission = _permission(prompt)
        if system == SUITE:
            return (SUITE,) if principal.may(permission) else ()
        return self._integrations.usable(principal, system, permission)

    @asynccontextmanager
    async def _client(
        self, requester: Requester, system: str, prompt: AnyPrompt, target: str | None
    ) -> AsyncIterator[Any]:
        if system == SUITE:
            yield self._tools.desk_of(requester)
            return
        principal = requester.principal
        integration = self._integrations.chosen(principal, system, target, _permission(prompt))
        async with self._access.client(principal, integration) as client:
            yield client


async def completed(argument: PromptArgument[Any], client: Any, begun: str) -> list[str]:
    """At most `MAX_COMPLETIONS` values, within `COMPLETE_WITHIN_S`; none when that is not enough."""
    if argument.complete is None:
        return []
    try:
        async with asyncio.timeout(COMPLETE_WITHIN_S):
            return list(await argument.complete(client, begun))[:MAX_COMPLETIONS]
    except TimeoutError:
        return []


def _permission(prompt: AnyPrompt) -> str:
    return f"prompts:read:{prompt.name}"


def _with_target(prompt: AnyPrompt) -> AnyPrompt:
    """A prompt of a system; one that has an argument of that name keeps its own."""
    if any(argument.name == TARGET.name for argument in prompt.arguments):
        return prompt
    return replace(prompt, arguments=(*prompt.arguments, TARGET))


def _shown(prompt: AnyPrompt, usable: Sequence[str]) -> AnyPrompt:
    if len(usable) > 1 or not _targets(prompt):
        return prompt
    return replace(prompt, arguments=tuple(a for a in prompt.arguments if a is not TARGET))


def _targets(prompt: AnyPrompt) -> bool:
    return TARGET in prompt.arguments


def _check(prompt: AnyPrompt, arguments: Mapping[str, str]) -> None:
    known = {argument.name: argument for argument in prompt.arguments}
    faults = [
        Violation(f"arguments.{name}", "is not an argument of this prompt")
        for name in arguments
        if name not in known
    ]
    faults += [
        Violation(f"arguments.{name}", "is missing")
        for name, argument in known.items()
        if argument.required and not arguments.get(name)
    ]
    faults += [
        Violation(f"arguments.{name}", "is too long, or contains a NUL character")
        for name, value in arguments.items()
        if len(value) > MAX_ARGUMENT or "\0" in value
    ]
    if faults:
        raise InvalidInput("; ".join(f"{fault.where}: {fault.problem}" for fault in faults), tuple(faults))
