"""Tools that ask their caller before they answer."""

from typing import Any

import orjson
from pydantic import Field, JsonValue

from conformance_fixtures.tools import text
from devops_mcp.adapters.base import Outside, Params, Tool, ToolResult
from devops_mcp.models.base import JsonObject
from devops_mcp.models.conversation import (
    Answer,
    Conversation,
    Form,
    FormAnswer,
    Question,
    Roots,
    RootsAnswer,
    Sampling,
    SamplingAnswer,
)


def form(message: str, **properties: JsonValue) -> Form:
    """A form whose fields are all required, but for those with a default."""
    required: list[JsonValue] = [
        name for name, field in properties.items() if isinstance(field, dict) and "default" not in field
    ]
    fields: JsonObject = {"type": "object", "properties": properties}
    return Form(message=message, fields=fields | ({"required": required} if required else {}))


STRING: JsonObject = {"type": "string"}
NAME = form("What is your name?", name=STRING)
OK = form("Please confirm", ok={"type": "boolean"})


async def one(conversation: Conversation, name: str, question: Question) -> Answer:
    return (await conversation.ask({name: question}))[name]


def field(answer: Answer, name: str) -> JsonValue:
    assert isinstance(answer, FormAnswer)
    return answer.content.get(name)


def completed(answer: Answer) -> ToolResult:
    assert isinstance(answer, FormAnswer)
    content = orjson.dumps(answer.content).decode()
    return text(f"Elicitation completed: action={answer.action}, content={content}")


class SamplingParams(Params):
    prompt: str = Field(max_length=1_000, description="What to ask the model.")


async def sampling(client: Outside, params: SamplingParams, conversation: Conversation) -> ToolResult:
    """Asks the client's model."""
    answer = await one(conversation, "text", Sampling(prompt=params.prompt, max_tokens=100))
    assert isinstance(answer, SamplingAnswer)
    return text(f"LLM response: {answer.text}")


class MessageParams(Params):
    message: str = Field(max_length=1_000, description="What to show the person.")


async def elicitation(client: Outside, params: MessageParams, conversation: Conversation) -> ToolResult:
    """Asks the person."""
    question = form(
        params.message,
        username={"type": "string", "description": "User's response"},
        email={"type": "string", "description": "User's email address"},
    )
    answer = await one(conversation, "user", question)
    assert isinstance(answer, FormAnswer)
    content = orjson.dumps(answer.content).decode()
    return text(f"User response: action: {answer.action}, content: {content}")


async def with_defaults(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks with a value suggested for each kind of field."""
    question = form(
        "Please check",
        name={"type": "string", "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        verified={"type": "boolean", "default": True},
    )
    return completed(await one(conversation, "defaults", question))


async def with_choices(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks with each kind of choice."""

    def options(first: str, *others: str) -> list[JsonValue]:
        return [{"const": f"value{n}", "title": title} for n, title in enumerate((first, *others), 1)]

    question = form(
        "Please choose",
        untitledSingle={"type": "string", "enum": ["option1", "option2", "option3"]},
        titledSingle={
            "type": "string",
            "oneOf": options("First Option", "Second Option", "Third Option"),
        },
        legacyEnum={
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        untitledMulti={
            "type": "array",
            "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        titledMulti={
            "type": "array",
            "items": {"anyOf": options("First Choice", "Second Choice", "Third Choice")},
        },
    )
    return completed(await one(conversation, "choices", question))


async def asks_name(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks for a name and greets it."""
    return text(f"Hello, {field(await one(conversation, 'user_name', NAME), 'name')}!")


async def asks_model(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks the client's model for a capital."""
    question = Sampling(prompt="What is the capital of France?", max_tokens=100)
    answer = await one(conversation, "capital_question", question)
    assert isinstance(answer, SamplingAnswer)
    return text(answer.text)


async def asks_roots(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks for the client's folders."""
    answer = await one(conversation, "client_roots", Roots())
    assert isinstance(answer, RootsAnswer)
    return text(f"Roots: {', '.join(answer.uris)}")


async def asks_to_confirm(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks for a confirmation; that it came back at all shows that the state was ours."""
    await one(conversation, "confirm", OK)
    return text("state-ok")


async def asks_several(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks person, model and client at once."""
    answers = await conversation.ask(
        {
            "user_name": NAME,
            "greeting": Sampling(prompt="Generate a greeting", max_tokens=50),
            "client_roots": Roots(),
        }
    )
    return text(f"{len(answers)} answers for {field(answers['user_name'], 'name')}")


async def asks_twice(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks one thing after the other."""
    first = await one(conversation, "step1", form("Step 1: What is your name?", name=STRING))
    second = await one(conversation, "step2", form("Step 2: What is your favorite color?", color=STRING))
    return text(f"{field(first, 'name')} likes {field(second, 'color')}")


async def asks_what_it_may(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks only what the client can answer."""
    questions: dict[str, Question] = {
        "name": NAME,
        "text": Sampling(prompt="Say hello", max_tokens=50),
        "folders": Roots(),
    }
    answerable = {name: q for name, q in questions.items() if conversation.can_answer(q.kind)}
    return text(f"{len(await conversation.ask(answerable))} answers")


async def needs_sampling(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Needs a client with a model."""
    return await asks_model(client, params, conversation)


def _asking(name: str, run: Any, params: type[Params] = Params) -> Tool[Outside, Any, Any]:
    return Tool(name, "Asks", params, ToolResult, run)


ASKING_TOOLS: tuple[Tool[Outside, Any, Any], ...] = (
    _asking("test_sampling", sampling, SamplingParams),
    _asking("test_elicitation", elicitation, MessageParams),
    _asking("test_elicitation_sep1034_defaults", with_defaults),
    _asking("test_elicitation_sep1330_enums", with_choices),
    _asking("test_streaming_elicitation", asks_name),
    _asking("test_missing_capability", needs_sampling),
    _asking("test_input_required_result_elicitation", asks_name),
    _asking("test_input_required_result_sampling", asks_model),
    _asking("test_input_required_result_list_roots", asks_roots),
    _asking("test_input_required_result_request_state", asks_to_confirm),
    _asking("test_input_required_result_tampered_state", asks_to_confirm),
    _asking("test_input_required_result_multiple_inputs", asks_several),
    _asking("test_input_required_result_multi_round", asks_twice),
    _asking("test_input_required_result_capabilities", asks_what_it_may),
)
