"""Talking with the client of a call: by requests of our own up to 2025-11-25, by `input_required` from 2026-07-28 on."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import mcp_types as types
from jsonschema import Draft202012Validator
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter

from devops_mcp.models.conversation import (
    Answer,
    Conversation,
    Form,
    FormAnswer,
    InputRequired,
    Level,
    Question,
    RootsAnswer,
    Sampling,
    SamplingAnswer,
)
from devops_mcp.models.errors import InvalidInput, PlatformError, Unanswerable

LEVELS: tuple[Level, ...] = (
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
)
MISSING_CAPABILITY = -32021
LEVEL_KEY = "devops_mcp.log_level"
_STATE: TypeAdapter[dict[str, Answer]] = TypeAdapter(dict[str, Answer])
# Older clients know them, so they are served; the SDK says at each use that newer ones should not.
warnings.filterwarnings("ignore", category=MCPDeprecationWarning)


class _Reporting:
    """What both ways have in common: one direction needs no answer."""

    def __init__(self, ctx: ServerRequestContext[Any, Any]) -> None:
        self._ctx = ctx

    def can_answer(self, kind: Literal["form", "sampling", "roots"]) -> bool:
        """As the client declared, for this request or when it connected."""
        declared = self._ctx.session.client_capabilities
        if declared is None:
            return False
        if kind == "form":
            return declared.elicitation is not None and _takes_forms(declared.elicitation)
        return (declared.sampling if kind == "sampling" else declared.roots) is not None

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        await self._ctx.session.report_progress(done, total, message)

    async def log(self, level: Level, message: str) -> None:
        wanted = self._ctx.session._connection.state.get(LEVEL_KEY, "debug")
        if LEVELS.index(level) >= LEVELS.index(wanted):
            await self._ctx.session.send_log_message(level, message, related_request_id=self._ctx.request_id)

    async def let_go(self) -> None:
        """Up to 2025-11-25 an HTTP client may be sent away, and comes back to its stream with `Last-Event-ID`."""
        if self._ctx.close_sse_stream is not None:
            await self._ctx.close_sse_stream()

    def _require(self, questions: Mapping[str, Question]) -> None:
        for question in questions.values():
            if not self.can_answer(question.kind):
                raise Unanswerable(
                    f"this asks for {_NAMES[question.kind]}, which the client did not declare that it can give",
                    details={"requires": _CAPABILITIES[question.kind]},
                )


class AskingConversation(_Reporting):
    """Asks at once, over the connection that the call came by."""

    async def ask(self, questions: Mapping[str, Question]) -> Mapping[str, Answer]:
        self._require(questions)
        return {name: await self._answer(question) for name, question in questions.items()}

    async def _answer(self, question: Question) -> Answer:
        session, request_id = self._ctx.session, self._ctx.request_id
        try:
            if isinstance(question, Form):
                form = await session.elicit_form(question.message, question.fields, request_id)
                return _checked(question, FormAnswer(action=form.action, content=_plain(form.content)))
            if isinstance(question, Sampling):
                sampled = await session.create_message(
                    [_message(question)],
                    max_tokens=question.max_tokens,
                    system_prompt=question.system,
                    related_request_id=request_id,
                )
                return _sampled(sampled)
            roots = await session.list_roots()
            return RootsAnswer(uris=tuple(str(root.uri) for root in roots.roots))
        except MCPError as error:
            raise Unanswerable(f"the client did not answer: {error.error.message}") from None


class RetryingConversation(_Reporting):
    """Answers `input_required`, and finds the answers when the client calls again; those of earlier rounds are in the sealed state."""

    def __init__(
        self,
        ctx: ServerRequestContext[Any, Any],
        responses: types.InputResponses | None,
        state: str | None,
    ) -> None:
        super().__init__(ctx)
        self._responses = responses or {}
        self._known = _STATE.validate_json(state) if state else {}

    async def ask(self, questions: Mapping[str, Question]) -> Mapping[str, Answer]:
        self._require(questions)
        missing = {
            name: question
            for name, question in questions.items()
            if name not in self._known and not self._take(name, question)
        }
        if missing:
            raise InputRequired(missing)
        return {name: self._known[name] for name in questions}

    def required(self, needed: InputRequired) -> types.InputRequiredResult:
        """What tells the client to answer and call again."""
        requests: types.InputRequests = {name: input_request(q) for name, q in needed.questions.items()}
        return types.InputRequiredResult(
            input_requests=requests, request_state=_STATE.dump_json(self._known).decode()
        )

    def _take(self, name: str, question: Question) -> bool:
        """Whether the client answered this question, and fittingly."""
        answer = _read(question, self._responses.get(name))
        if answer is not None:
            self._known[name] = answer
        return answer is not None


def incapable(ctx: ServerRequestContext[Any, Any], error: PlatformError) -> MCPError | None:
    """The protocol's own error where a call needs what the client did not declare; None in the revisions that have none."""
    required = error.details.get("requires")
    if required is None or ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return None
    return MCPError(MISSING_CAPABILITY, error.message, {"requiredCapabilities": {str(required): {}}})


def conversation_of(
    ctx: ServerRequestContext[Any, Any], params: types.InputResponseRequestParams
) -> Conversation:
    """The conversation that this request allows."""
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return RetryingConversation(ctx, params.input_responses, params.request_state)
    return AskingConversation(ctx)


_CAPABILITIES = {"form": "elicitation", "sampling": "sampling", "roots": "roots"}
_NAMES = {"form": "a form (elicitation)", "sampling": "a text of its model (sampling)", "roots": "its roots"}


def _takes_forms(declared: types.ElicitationCapability) -> bool:
    # An empty capability means forms: they were there before addresses.
    return declared.form is not None or declared.url is None


def input_request(question: Question) -> types.InputRequest:
    """The question as the protocol asks it."""
    if isinstance(question, Form):
        form = types.ElicitRequestFormParams(message=question.message, requested_schema=question.fields)
        return types.ElicitRequest(params=form)
    if isinstance(question, Sampling):
        params = types.CreateMessageRequestParams(
            messages=[_message(question)],
            max_tokens=question.max_tokens,
            system_prompt=question.system,
        )
        return types.CreateMessageRequest(params=params)
    return types.ListRootsRequest()


def answer_to(question: Question, response: Any) -> Answer | None:
    """A response as it came, read as an answer to the question; None where it is none. Raises `ValidationError`."""
    if response is None:
        return None
    if isinstance(question, Form):
        return _read(question, types.ElicitResult.model_validate(response, by_name=False))
    if isinstance(question, Sampling):
        return _read(question, types.CreateMessageResult.model_validate(response, by_name=False))
    return _read(question, types.ListRootsResult.model_validate(response, by_name=False))


def _message(question: Sampling) -> types.SamplingMessage:
    return types.SamplingMessage(role="user", content=types.TextContent(type="text", text=question.prompt))


def _read(question: Question, response: types.InputResponse | None) -> Answer | None:
    """The response as an answer to the question; None where it is none."""
    if isinstance(question, Form) and isinstance(response, types.ElicitResult):
        answer = FormAnswer(action=response.action, content=_plain(response.content))
        return answer if _fits(question, answer) else None
    if isinstance(question, Sampling) and isinstance(
        response, types.CreateMessageResult | types.CreateMessageResultWithTools
    ):
        return _sampled(response)
    if question.kind == "roots" and isinstance(response, types.ListRootsResult):
        return RootsAnswer(uris=tuple(str(root.uri) for root in response.roots))
    return None


def _sampled(result: types.CreateMessageResult | types.CreateMessageResultWithTools) -> SamplingAnswer:
    parts = result.content if isinstance(result.content, list) else [result.content]
    text = "\n".join(part.text for part in parts if isinstance(part, types.TextContent))
    return SamplingAnswer(text=text, model=result.model)


def _plain(content: Mapping[str, Any] | None) -> dict[str, Any]:
    return dict(content or {})


def _fits(form: Form, answer: FormAnswer) -> bool:
    return answer.action != "accept" or Draft202012Validator(form.fields).is_valid(answer.content)


def _checked(form: Form, answer: FormAnswer) -> FormAnswer:
    if not _fits(form, answer):
        raise InvalidInput("the answer does not have the form's fields; nothing was done")
    return answer
