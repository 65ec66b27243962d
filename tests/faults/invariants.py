"""What must hold after every fault, counted in PostgreSQL and held against the senders' own history.

I1 what was accepted has exactly one effect; I2 what was not has at most one; I3 accepted = done + pending + dead; I4 no event without its
state change and the reverse; I5 what is to be done for a context is done in order; I6 each task ends once; I7 attempts stay within the
limit; I8 the audit chain closes; I10 everything comes to rest; I11 connections do not pile up.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from devops_mcp.events.queues import QUEUES, QueueName
from devops_mcp.events.sqs import Depth, SqsQueue
from faults.load import History

EMPTY = Depth(ready=0, in_flight=0, delayed=0)
ATTEMPTS_ALLOWED = QUEUES[0].max_receives
POOL = 12
"""Connections of one process's pool, as the settings have it by default."""


@dataclass
class Counts:
    """How much there was of what; `broken` names each violation."""

    sent: int = 0
    accepted: int = 0
    unknown: int = 0
    stored: int = 0
    done: int = 0
    pending: int = 0
    dead: int = 0
    indexed: int = 0
    claimed: int = 0
    told: int = 0
    tasks: int = 0
    summed: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> Mapping[str, int]:
        return {name: value for name, value in asdict(self).items() if name != "broken"}

    def require(self, holds: bool, complaint: str) -> None:
        if not holds:
            self.broken.append(complaint)


def check(
    connection: psycopg.Connection, history: History, dead_on_purpose: int, submitted: Collection[UUID]
) -> Counts:
    """Count everything, with nothing under way. `dead_on_purpose` messages were made to die and belong to no webhook."""
    counts = Counts(sent=len(history.sent), accepted=len(history.accepted))
    counts.unknown = counts.sent - counts.accepted
    events = _rows(connection, _EVENTS)
    _webhooks(counts, history, events)
    _effects(counts, events)
    _dead_letters(counts, connection, events, dead_on_purpose)
    _outgoing(counts, connection)
    _tasks(counts, connection, submitted)
    _contexts(counts, connection)
    _audit(counts, connection)
    _at_rest(counts, connection)
    for complaint, number in Counter(history.complaints).items():
        counts.broken.append(f"P01: {complaint} ({number} times)")
    return counts


async def waiting_in_queues(queues: Mapping[QueueName, SqsQueue]) -> dict[str, str]:
    """What is still in the queues and the dead-letter queues."""
    found = {}
    for name, queue in queues.items():
        for key, dead in ((name.value, False), (f"{name}-dead", True)):
            if (depth := await queue.depth(dead_letters=dead)) != EMPTY:
                found[key] = f"{depth.ready}+{depth.in_flight}+{depth.delayed}"
    return found


def waiting(connection: psycopg.Connection) -> dict[str, int]:
    """What is still under way in the database."""
    [row] = _rows(
        connection,
        """
        SELECT (SELECT count(*) FROM outbox WHERE due_at <= now()) AS outbox,
               (SELECT count(*) FROM webhook_deliveries WHERE status = 'pending') AS deliveries,
               (SELECT count(*) FROM tasks WHERE status = 'working') AS tasks,
               (SELECT count(*) FROM contexts WHERE compaction_id IS NOT NULL) AS contexts,
               (SELECT count(*) FROM events AS e WHERE processed_at IS NULL AND NOT EXISTS (
                   SELECT FROM dead_letters AS d WHERE d.body::jsonb ->> 'event_id' = e.id::text AND d.body IS JSON)) AS events
        """,
    )
    return {name: value for name, value in row.items() if value}


_EVENTS = """
    SELECT e.tenant_id, e.id, e.source, e.type, e.event ->> 'title' AS title, e.processed_at IS NOT NULL AS done,
           count(p.id) FILTER (WHERE p.part = 0) AS indexed,
           EXISTS (SELECT FROM dead_letters AS d WHERE d.tenant_id = e.tenant_id AND d.body LIKE '%' || e.id || '%') AS dead,
           EXISTS (SELECT FROM outbox AS o WHERE o.tenant_id = e.tenant_id AND o.message LIKE '%' || e.id || '%') AS pending
    FROM events AS e LEFT JOIN passages AS p ON p.tenant_id = e.tenant_id AND p.source_id = e.id
    WHERE e.system = 'standard' GROUP BY e.tenant_id, e.id
"""


def _webhooks(counts: Counts, history: History, events: Sequence[Mapping[str, Any]]) -> None:
    """I1, I2: against what the senders know."""
    stored = Counter((e["tenant_id"], e["title"].rpartition(": ")[2]) for e in events)
    counts.stored = stored.total()
    for one in history.sent:
        times = stored.pop((one.sender.tenant_id, one.marker), 0)
        if one.accepted:
            counts.require(times == 1, f"I1: {one.marker} was accepted and stored {times} times")
        else:
            counts.require(times <= 1, f"I2: {one.marker} was not accepted and stored {times} times")
    counts.require(not stored, f"I1: nobody sent {list(stored)[:3]}")


def _effects(counts: Counts, events: Sequence[Mapping[str, Any]]) -> None:
    """I3, I4: each event is done, waits or is dead, and only what is done is indexed, once."""
    counts.done = sum(e["done"] for e in events)
    counts.indexed = sum(e["indexed"] for e in events)
    counts.pending = sum(e["pending"] for e in events)
    for event in events:
        state = (event["done"], event["pending"], event["dead"])
        counts.require(sum(state) == 1, f"I3: event {event['id']} is done, pending, dead: {state}")
        counts.require(
            event["indexed"] == event["done"], f"I4: event {event['id']} is indexed {event['indexed']} times"
        )


def _dead_letters(
    counts: Counts,
    connection: psycopg.Connection,
    events: Sequence[Mapping[str, Any]],
    on_purpose: int,
) -> None:
    """I7, D12: what died says why, and did not try too often."""
    letters = _rows(connection, "SELECT reason, attempts, trace FROM dead_letters")
    counts.dead = len(letters)
    of_events = sum(event["dead"] for event in events)
    counts.require(
        len(letters) == of_events + on_purpose,
        f"I3: {len(letters)} dead letters, {of_events} of events, {on_purpose} on purpose",
    )
    for letter in letters:
        counts.require(
            letter["attempts"] <= ATTEMPTS_ALLOWED,
            f"I7: {letter['attempts']} attempts of {ATTEMPTS_ALLOWED}: {letter['reason']}",
        )
        counts.require(bool(letter["reason"]), "D12: a dead letter without a reason")


def _outgoing(counts: Counts, connection: psycopg.Connection) -> None:
    """I1 of what follows an event: one delivery to each endpoint that wants to hear of it, and one claim for each message."""
    [row] = _rows(
        connection,
        """
        SELECT (SELECT count(*) FROM webhook_deliveries WHERE status = 'delivered') AS told,
               (SELECT count(*) FROM events AS e JOIN webhook_endpoints AS w USING (tenant_id)
                WHERE e.subject = 'fault.told' AND e.processed_at IS NOT NULL) AS wanted,
               (SELECT count(*) FROM processed_messages WHERE consumer = 'events') AS claimed,
               (SELECT count(*) FROM events WHERE processed_at IS NOT NULL) AS done
        """,
    )
    counts.told, counts.claimed = row["told"], row["claimed"]
    counts.require(row["told"] == row["wanted"], f"I1: {row['wanted']} to be told, {row['told']} were")
    counts.require(row["claimed"] == row["done"], f"I4: {row['claimed']} claims for {row['done']} events")
    [keys] = _rows(
        connection,
        """
        SELECT count(*) AS keys, (SELECT count(*) FROM events WHERE system = 'standard') AS events
        FROM delivery_keys WHERE source IN ('shop', 'depot')
        """,
    )
    counts.require(
        keys["keys"] == keys["events"], f"I4: {keys['keys']} delivery keys, {keys['events']} events"
    )


def _tasks(counts: Counts, connection: psycopg.Connection, submitted: Collection[UUID]) -> None:
    """I6: each that was submitted has ended, with the tool's answer."""
    tasks = {task["id"]: task for task in _rows(connection, "SELECT id, status, attempt, result FROM tasks")}
    counts.tasks = len(tasks)
    counts.require(submitted <= tasks.keys(), "I6: a task that was submitted is not there")
    for id_, task in tasks.items():
        ended = task["status"] == "completed" and task["result"]["code"] is None
        counts.require(ended, f"I6: task {id_} is {task['status']} after {task['attempt']}: {task['result']}")


def _contexts(counts: Counts, connection: psycopg.Connection) -> None:
    """I5: each summary begins where the last one ended, or stands for whole summaries; no item is summed up twice."""
    summaries = _rows(
        connection,
        """
        SELECT context_id, covers_from AS first, covers_to AS last FROM context_items
        WHERE covers_to IS NOT NULL ORDER BY context_id, position
        """,
    )
    counts.summed = len(summaries)
    known: defaultdict[UUID, set[tuple[int, int]]] = defaultdict(set)
    for one in summaries:
        spans, span = known[one["context_id"]], (one["first"], one["last"])
        end = max((last for _, last in spans), default=0)
        whole = span[0] in {first for first, _ in spans} and span[1] in {last for _, last in spans}
        in_order = span[0] == end + 1 or (whole and span not in spans)
        counts.require(in_order, f"I5: {one['context_id']} was summed up to {end}, then {span}")
        spans.add(span)


def _audit(counts: Counts, connection: psycopg.Connection) -> None:
    """I8: the chain of each tenant closes, record by record."""
    broken = _rows(
        connection,
        """
        SELECT tenant_id, seq FROM (
            SELECT a.*, audit_digest(a) AS digest, lag(hash, 1, ''::bytea) OVER chain AS before,
                   row_number() OVER chain AS number
            FROM audit_log AS a WHERE seq IS NOT NULL WINDOW chain AS (PARTITION BY tenant_id ORDER BY seq)
        ) AS checked WHERE digest <> hash OR before <> prev_hash OR number <> seq
        """,
    )
    counts.require(not broken, f"I8: the chain is broken at {broken[:3]}")


def _at_rest(counts: Counts, connection: psycopg.Connection) -> None:
    """I10, I11: nothing waits, nobody holds a transaction open, and no process has more connections than its pool and one to listen."""
    left = waiting(connection)
    counts.require(not left, f"I10: not at rest: {left}")
    sessions = _rows(
        connection,
        """
        SELECT application_name AS name, count(*) AS number,
               count(*) FILTER (WHERE state LIKE 'idle in transaction%' AND state_change < now() - interval '20 s') AS stuck
        FROM pg_stat_activity WHERE usename IN ('devops_mcp_rest', 'devops_mcp_work') GROUP BY application_name
        """,
    )
    for session in sessions:
        counts.require(
            not session["stuck"], f"I11: {session['name']} holds {session['stuck']} transactions open"
        )
        counts.require(
            session["number"] <= 2 * POOL + 2, f"I11: {session['number']} connections of {session['name']}"
        )


def _rows(connection: psycopg.Connection, query: str) -> list[dict[str, Any]]:
    return connection.cursor(row_factory=dict_row).execute(query).fetchall()  # type: ignore[arg-type]
