"""How a session of the handshake era answers POST and GET.

A request is answered with JSON when its answer is the first thing said and comes soon, and with server-sent events otherwise: a stream
costs twice the work of a document, and most calls have one thing to say. When the client goes away, its calls go on; what they say is
kept for its return (Last-Event-ID).
"""

import mcp_types as types
from starlette.responses import Response

from devops_mcp.cache.message_log import Position
from devops_mcp.models.errors import Unavailable
from mcp_server.transports.http_exchange import Exchange, rpc_error, session_header
from mcp_server.transports.http_session import Session
from mcp_server.transports.http_streams import (
    STANDALONE,
    EventStream,
    Outgoing,
    Reader,
    Stream,
    event_id,
    read_event_id,
    request_of,
)

SOON_S = 0.5
"""How long an answer may take and still be a plain document."""
UNKNOWN_OUTCOME = -32003
"""Our own code, in the range that JSON-RPC leaves to servers."""
_GONE = "the server that ran this request ended before it answered; whether it took effect is not known"


async def answer_initialize(exchange: Exchange, session: Session, answer: Outgoing) -> None:
    """Answer the request that began a session."""
    if exchange.accepts()[0]:
        await exchange.respond(_document(session, answer))
        return
    events = EventStream(exchange.receive, exchange.send, session_header(session.id))
    await events.begin()
    await events.message(answer, None)
    await events.end()


async def answer_post(session: Session, exchange: Exchange) -> None:
    """Hand the message over, and answer it."""
    message = exchange.message
    if not isinstance(message, types.JSONRPCRequest):
        assert message is not None, "a POST has been read"
        await session.take(message, exchange.request)
        await exchange.respond(Response(status_code=202, headers=_headers(session)))
    elif (refused := session.refusal(message.id)) is not None:
        status, fault = refused
        await exchange.refuse(status, fault.message, fault.code)
    else:
        await _answer_request(session, exchange, message)


async def _answer_request(session: Session, exchange: Exchange, message: types.JSONRPCRequest) -> None:
    json, events = exchange.accepts()
    began_at = session.positions.next()
    stream = await session.ask(message, exchange.request, answers=events)
    with stream.read() as reader:
        if not events:
            answer = await final_of(reader)
            await exchange.respond(_document(session, answer))
            return
        first = await _soon(reader) if json else None
        if first is not None and first.final:
            await exchange.respond_json(first.body, *session_header(session.id))
            return
        await _stream_request(session, exchange, stream, began_at, reader, first)


async def _stream_request(
    session: Session,
    exchange: Exchange,
    stream: Stream,
    began_at: Position,
    reader: Reader,
    first: Outgoing | None,
) -> None:
    session.keep(stream, *([] if first is None else [first]))
    answer = EventStream(exchange.receive, exchange.send, session_header(session.id))
    await answer.begin()
    if session.resumable:
        await answer.prime(event_id(began_at, stream.name))
    marked = stream.name if session.log is not None else None
    if first is not None:
        await answer.message(first, marked)
    await answer.pump(reader, stream=marked)
    await answer.end()


async def answer_get(session: Session, exchange: Exchange, last_event_id: str | None) -> None:
    """The stream of what no request began, or the one that was cut off, from where it was."""
    if not exchange.accepts()[1]:
        await exchange.refuse(406, "a GET needs Accept: text/event-stream")
        return
    since = read_event_id(last_event_id) if last_event_id else None
    if last_event_id and since is None:
        await exchange.refuse(400, "Last-Event-ID is not the id of an event of ours")
        return
    answer = EventStream(exchange.receive, exchange.send, session_header(session.id))
    await answer.begin()
    if since is None:
        with session.standalone.read() as reader, exchange.closing_when_revoked(reader):
            await answer.pump(reader, stream=STANDALONE)
    else:
        await _resume(session, answer, *since)
    await answer.end()


async def _resume(session: Session, answer: EventStream, position: Position, name: str) -> None:
    stream = session.standalone if name == STANDALONE else session.requests.get(name)
    if stream is None:
        await _replay(session, answer, position, name)
        return
    with stream.read() as reader:
        last, ended = await _replayed(session, answer, position, name)
        if not ended:
            await answer.pump(reader, stream=name, after=last)


async def _replay(session: Session, answer: EventStream, position: Position, name: str) -> None:
    """A request that is not under way: its answer is kept, or nobody has it."""
    _, ended = await _replayed(session, answer, position, name)
    request_id = request_of(name)
    if not ended and request_id is not None:
        body = bytes(rpc_error(200, UNKNOWN_OUTCOME, _GONE, request_id).body)
        await answer.message(Outgoing(session.positions.next(), body, True), name)


async def _replayed(
    session: Session, answer: EventStream, position: Position, name: str
) -> tuple[Position, bool]:
    """Send what is kept behind the position; where that ends, and whether with the answer."""
    if session.log is None:
        return position, False
    try:
        kept = await session.log.after(session.id, position, name)
    except Unavailable:
        return position, False
    for at, body in kept:
        final = name != STANDALONE and _is_answer(body)
        await answer.message(Outgoing(at, body, final), name)
        position = at
        if final:
            return position, True
    return position, False


def _is_answer(body: bytes) -> bool:
    message = types.jsonrpc_message_adapter.validate_json(body, by_name=False)
    return isinstance(message, types.JSONRPCResponse | types.JSONRPCError)


async def _soon(reader: Reader) -> Outgoing | None:
    try:
        return await reader.next_within(SOON_S)
    except TimeoutError:
        return None


async def answer_broken_off(exchange: Exchange, *, started: bool, is_stream: bool) -> None:
    """End an answer that another replica owed and cannot give any more."""
    events = EventStream(exchange.receive, exchange.send, [])
    if exchange.request_id is None and not started:
        raise Unavailable("the replica that has this session is gone", retry_after_s=1)
    if not started:
        await exchange.respond(rpc_error(200, UNKNOWN_OUTCOME, _GONE, exchange.request_id))
        return
    if is_stream and exchange.request_id is not None:
        await events.event("message", bytes(rpc_error(200, UNKNOWN_OUTCOME, _GONE, exchange.request_id).body))
    await events.end()


async def final_of(reader: Reader) -> Outgoing | None:
    while (message := await reader.next()) is not None:
        if message.final:
            return message
    return None


def _document(session: Session, answer: Outgoing | None) -> Response:
    if answer is None:
        return Response(status_code=404)
    return Response(answer.body, media_type="application/json", headers=_headers(session))


def _headers(session: Session) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in session_header(session.id)}
