"""The suite's prompts: what people on call begin with. Each gathers its data through the tools, as the person who chose it."""

from collections.abc import Mapping, Sequence

import orjson
from pydantic import JsonValue

from devops_mcp.adapters.base import Prompt, PromptArgument, PromptMessage
from devops_mcp.models.content import Text
from devops_mcp.models.conversation import Conversation
from devops_mcp.models.errors import InvalidInput, PlatformError, Violation
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.operations.suite_tools import Desk

_LATEST = 100
_SECTION_CHARACTERS = 8_000

_MEMORY = """\
Start a context with context_create before you act, and append each finding and decision to it: whoever continues will look there."""

_TRIAGE = """\
Triage the alert below. Say in this order: what it means for users, since when; what changed before it (deployments, merges, builds);
the most probable cause with the evidence for it; what to do now, the least harmful first; what would prove you wrong. Keep facts apart
from guesses."""

_REVIEW = """\
Review the failed pipeline below. Find the first failing step and the line of the log that says why; say whether the change, the pipeline
or its surroundings are at fault; whether it failed like this before; and what to change. Quote the lines you rely on."""

_CHANGE = """\
Prepare the change below for going out. Say what it does in one paragraph; what could break and who would notice; how to tell within ten
minutes that it went wrong; how to take it back; and what is still missing (reviews, checks, a migration, a note to somebody)."""

_TIMELINE = """\
Write the timeline of the incident from the events below: one line each, UTC time first, what happened, where it is recorded. Then: when it
began, when it was noticed, when it was mended, what is not known. Leave out what has nothing to do with it, and invent nothing."""


async def triage_alert(
    desk: Desk, arguments: Mapping[str, str], conversation: Conversation
) -> tuple[PromptMessage, ...]:
    alert = arguments["alert"]
    return await _written(
        desk,
        f"{_TRIAGE}\n\nThe alert: {alert}",
        {
            "Alerts lately": ("event_list", {"type": "alert.fired", "limit": 20}),
            "Firing in Prometheus": ("prometheus_alerts", {"state": "firing", "limit": 20}),
            "Deployments lately": ("event_list", {"type": "deployment.finished", "limit": 10}),
            "Merged lately": ("event_list", {"type": "change.merged", "limit": 10}),
            "What is remembered of it": ("context_search", {"query": alert, "limit": 8}),
        },
    )


async def review_pipeline(
    desk: Desk, arguments: Mapping[str, str], conversation: Conversation
) -> tuple[PromptMessage, ...]:
    repository = arguments["repository"]
    gathered: dict[str, tuple[str, dict[str, JsonValue]]] = {
        "Builds lately": ("event_list", {"type": "build.finished", "subject": repository, "limit": 10}),
        "Merged lately": ("event_list", {"type": "change.merged", "subject": repository, "limit": 5}),
        "What is remembered": (
            "context_search",
            {"query": f"failed pipeline build of {repository}", "limit": 6},
        ),
    }
    if run := arguments.get("run_id"):
        asked: dict[str, JsonValue] = {"action": "run", "repo": repository, "run_id": _number("run_id", run)}
        gathered = {"Log of the failed steps": ("github_job_logs", asked), **gathered}
    about = f"{_REVIEW}\n\nThe repository: {repository}" + (f", run {run}" if run else "")
    return await _written(desk, about, gathered)


async def prepare_change(
    desk: Desk, arguments: Mapping[str, str], conversation: Conversation
) -> tuple[PromptMessage, ...]:
    repository, number = arguments["repository"], _number("number", arguments["number"])
    change: dict[str, JsonValue] = {"repo": repository, "number": number}
    return await _written(
        desk,
        f"{_CHANGE}\n\nThe change: {repository}#{number}",
        {
            "The change": ("github_pr_read", {**change, "action": "get"}),
            "Its files": ("github_pr_read", {**change, "action": "files"}),
            "Its checks": ("github_pr_read", {**change, "action": "checks"}),
            "Its reviews": ("github_pr_read", {**change, "action": "reviews"}),
            "What happened in the repository": ("event_list", {"subject": repository, "limit": 15}),
        },
    )


async def write_timeline(
    desk: Desk, arguments: Mapping[str, str], conversation: Conversation
) -> tuple[PromptMessage, ...]:
    incident = arguments["incident"]
    search: dict[str, JsonValue] = {"query": incident, "limit": 20}
    search |= {name: value for name in ("since", "until") if (value := arguments.get(name))}
    gathered: dict[str, tuple[str, dict[str, JsonValue]]] = {
        "What is recorded of it": ("context_search", search),
        "Events lately": ("event_list", {"limit": 50}),
    }
    if subject := arguments.get("subject"):
        gathered[f"Events of {subject}"] = ("event_list", {"subject": subject, "limit": 50})
    return await _written(desk, f"{_TIMELINE}\n\nThe incident: {incident}", gathered)


async def subjects(desk: Desk, begun: str) -> Sequence[str]:
    """What events were about lately."""
    page = await desk.suite.events.page(desk.principal, limit=_LATEST)
    return [name for name in dict.fromkeys(e.subject for e in page.items) if name.startswith(begun)]


async def alerts(desk: Desk, begun: str) -> Sequence[str]:
    """Titles of the latest alerts."""
    page = await desk.suite.events.page(desk.principal, EventsWanted(type="alert.fired"), limit=_LATEST)
    wanted = begun.lower()
    return [title for title in dict.fromkeys(e.title for e in page.items) if wanted in title.lower()]


async def _written(
    desk: Desk, task: str, gathered: Mapping[str, tuple[str, Mapping[str, JsonValue]]]
) -> tuple[PromptMessage, ...]:
    sections = [await _section(desk, title, tool, arguments) for title, (tool, arguments) in gathered.items()]
    text = "\n\n".join([task, _MEMORY, *(section for section in sections if section)])
    return (PromptMessage(content=Text(text=text)),)


async def _section(desk: Desk, title: str, tool: str, arguments: Mapping[str, JsonValue]) -> str | None:
    """What a tool answered; None where the person has no such tool, the reason where it failed."""
    if tool not in {entry.tool.name for entry in desk.toolbox.entries()}:
        return None
    try:
        outcome = await desk.toolbox.call(tool, arguments)
    except PlatformError as error:
        return f"## {title}\n({tool} failed: {error.message})"
    said = orjson.dumps(outcome.data).decode()
    cut = "…" if len(said) > _SECTION_CHARACTERS else ""
    return f"## {title} ({tool})\n{said[:_SECTION_CHARACTERS]}{cut}"


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise InvalidInput(
            f"arguments.{name}: not a number", (Violation(f"arguments.{name}", "not a number"),)
        )
    return int(value)


_REPOSITORY: PromptArgument[Desk] = PromptArgument(
    "repository", "Such as acme/shop.", required=True, complete=subjects
)

SUITE_PROMPTS: tuple[Prompt[Desk], ...] = (
    Prompt(
        "triage_alert",
        "Triage an alert",
        "What an alert means, what changed before it, what to do: with the alerts and changes of late.",
        triage_alert,
        (PromptArgument("alert", "Its name, or what it says.", required=True, complete=alerts),),
    ),
    Prompt(
        "review_pipeline",
        "Review a failed pipeline",
        "Why a build failed, from its log, and what to change.",
        review_pipeline,
        (_REPOSITORY, PromptArgument("run_id", "The run, where you know it.")),
    ),
    Prompt(
        "prepare_change",
        "Prepare a change",
        "What a pull request does, what could break, how to notice and how to take it back.",
        prepare_change,
        (_REPOSITORY, PromptArgument("number", "The pull request's number.", required=True)),
    ),
    Prompt(
        "write_timeline",
        "Write the incident timeline",
        "What happened when, from the events and what is remembered.",
        write_timeline,
        (
            PromptArgument("incident", "What it was about.", required=True),
            PromptArgument("subject", "A repository or service.", complete=subjects),
            PromptArgument("since", "Not before this time, as 2026-11-01T00:00:00Z."),
            PromptArgument("until", "Before this time."),
        ),
    ),
)
