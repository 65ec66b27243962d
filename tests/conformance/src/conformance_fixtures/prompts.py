"""Prompts."""

import base64
from collections.abc import Mapping, Sequence

from conformance_fixtures.samples import PNG
from conformance_fixtures.tools_asking import STRING, field, form, one
from devops_mcp.adapters.base import Outside, Prompt, PromptArgument, PromptMessage
from devops_mcp.models.content import Document, Image, Text
from devops_mcp.models.conversation import Conversation

Messages = tuple[PromptMessage, ...]


def _text(value: str) -> PromptMessage:
    return PromptMessage(content=Text(text=value))


async def simple(client: Outside, arguments: Mapping[str, str], conversation: Conversation) -> Messages:
    return (_text("This is a simple prompt for testing."),)


async def with_arguments(
    client: Outside, arguments: Mapping[str, str], conversation: Conversation
) -> Messages:
    return (_text(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'"),)


async def with_resource(
    client: Outside, arguments: Mapping[str, str], conversation: Conversation
) -> Messages:
    document = Document(
        uri=arguments["resourceUri"],
        mime_type="text/plain",
        text="Embedded resource content for testing.",
    )
    return PromptMessage(content=document), _text("Please process the embedded resource above.")


async def with_image(client: Outside, arguments: Mapping[str, str], conversation: Conversation) -> Messages:
    picture = Image(data=base64.b64encode(PNG), mime_type="image/png")
    return PromptMessage(content=picture), _text("Please analyze the image above.")


async def asking(client: Outside, arguments: Mapping[str, str], conversation: Conversation) -> Messages:
    question = form("What context should the prompt use?", context=STRING)
    answer = await one(conversation, "user_context", question)
    return (_text(f"Use this context: {field(answer, 'context')}"),)


async def cities(client: Outside, begun: str) -> Sequence[str]:
    return [city for city in ("paris", "park", "party") if city.startswith(begun)]


PROMPTS: tuple[Prompt[Outside], ...] = (
    Prompt("test_simple_prompt", "Simple", "A simple prompt.", simple),
    Prompt(
        "test_prompt_with_arguments",
        "Arguments",
        "A prompt with arguments.",
        with_arguments,
        (
            PromptArgument("arg1", "First test argument", required=True, complete=cities),
            PromptArgument("arg2", "Second test argument", required=True),
        ),
    ),
    Prompt(
        "test_prompt_with_embedded_resource",
        "Document",
        "A prompt with a document.",
        with_resource,
        (PromptArgument("resourceUri", "URI of the resource to embed", required=True),),
    ),
    Prompt("test_prompt_with_image", "Picture", "A prompt with a picture.", with_image),
    Prompt("test_input_required_result_prompt", "Asks", "A prompt that asks first.", asking),
)
