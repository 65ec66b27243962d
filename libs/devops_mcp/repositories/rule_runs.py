"""What rules made of events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.pages import Order
from devops_mcp.models.rules import RuleRun, RunOutcome
from devops_mcp.repositories.rows import rows
from devops_mcp.repositories.sorting import BY_AGE, behind, by, values_of

_COLUMNS = sql.SQL("""
    r.id, r.rule_id, r.version, r.event_id, r.outcome, r.reason, r.task_id, r.sent_id, r.at, r.ended_at, t.status AS task_status
""")


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be written down. `digest` is that of what is called, `ended` whether nothing more is to come."""

    id: UUID
    rule_id: UUID
    version: int
    event_id: UUID
    outcome: RunOutcome
    reason: str | None = None
    digest: bytes | None = None
    task_id: UUID | None = None
    sent_id: UUID | None = None

    @property
    def ended(self) -> bool:
        return self.outcome is not RunOutcome.STARTED


class RuleRuns:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def known(self, triples: Sequence[tuple[UUID, UUID, int]]) -> set[tuple[UUID, UUID, int]]:
        """Those of these rules, events and versions that there is a run of."""
        cursor = await self._connection.execute(
            """
            SELECT r.rule_id, r.event_id, r.version FROM rule_runs AS r
            JOIN unnest(%s::uuid[], %s::uuid[], %s::integer[]) AS g (rule_id, event_id, version)
                USING (rule_id, event_id, version)
            """,
            ([t[0] for t in triples], [t[1] for t in triples], [t[2] for t in triples]),
        )
        return {(row[0], row[1], row[2]) for row in await cursor.fetchall()}

    async def add(self, runs: Sequence[NewRun]) -> None:
        """Write runs down. Their rules are locked, and none is known."""
        given = rows(
            {
                "id": run.id,
                "rule_id": run.rule_id,
                "version": run.version,
                "event_id": run.event_id,
                "outcome": run.outcome,
                "reason": run.reason,
                "digest": None if run.digest is None else run.digest.hex(),
                "task_id": run.task_id,
                "sent_id": run.sent_id,
                "ended": run.ended,
            }
            for run in runs
        )
        await self._connection.execute(
            """
            INSERT INTO rule_runs (id, rule_id, version, event_id, outcome, reason, digest, task_id, sent_id, ended_at)
            SELECT id, rule_id, version, event_id, outcome, reason, decode(digest, 'hex'), task_id, sent_id,
                   CASE WHEN ended THEN clock_timestamp() END
            FROM jsonb_to_recordset(%s::jsonb) AS r (id uuid, rule_id uuid, version integer, event_id uuid, outcome text,
                reason text, digest text, task_id uuid, sent_id uuid, ended boolean)
            """,
            (given,),
        )

    async def started_within(self, windows: Mapping[UUID, timedelta]) -> dict[UUID, int]:
        """How often each of these rules has done something within its time."""
        cursor = await self._connection.execute(
            """
            SELECT g.rule_id, (SELECT count(*) FROM rule_runs AS r WHERE r.rule_id = g.rule_id
                               AND r.at > clock_timestamp() - g.within AND (r.task_id IS NOT NULL OR r.sent_id IS NOT NULL))
            FROM unnest(%s::uuid[], %s::interval[]) AS g (rule_id, within)
            """,
            (list(windows), list(windows.values())),
        )
        return {row[0]: int(row[1]) for row in await cursor.fetchall()}

    async def called_within(self, calls: Sequence[tuple[UUID, bytes, timedelta]]) -> set[tuple[UUID, bytes]]:
        """Those of these calls, by rule and digest, that the rule has started within the time."""
        cursor = await self._connection.execute(
            """
            SELECT g.rule_id, g.digest FROM unnest(%s::uuid[], %s::bytea[], %s::interval[]) AS g (rule_id, digest, within)
            WHERE EXISTS (SELECT FROM rule_runs AS r WHERE r.rule_id = g.rule_id AND r.digest = g.digest
                          AND r.at > clock_timestamp() - g.within AND r.task_id IS NOT NULL)
            """,
            ([call[0] for call in calls], [call[1] for call in calls], [call[2] for call in calls]),
        )
        return {(row[0], bytes(row[1])) for row in await cursor.fetchall()}

    async def end(self, run_id: UUID, outcome: RunOutcome, reason: str | None) -> None:
        """Write down how a started run ended; once it has, nothing but `begin_again` changes it."""
        await self._connection.execute(
            """
            UPDATE rule_runs SET outcome = %s, reason = %s, ended_at = clock_timestamp()
            WHERE id = %s AND outcome = 'started'
            """,
            (outcome, reason, run_id),
        )

    async def begin_again(self, run_id: UUID) -> None:
        """Of a failed run: its end is to be written anew."""
        await self._connection.execute(
            "UPDATE rule_runs SET outcome = 'started', reason = NULL, ended_at = NULL WHERE id = %s AND outcome = 'failed'",
            (run_id,),
        )

    async def page(
        self, rule_id: UUID, outcome: RunOutcome | None, order: Order, limit: int
    ) -> list[RuleRun]:
        """A rule's."""
        async with self._connection.cursor(row_factory=class_row(RuleRun)) as cursor:
            await cursor.execute(
                sql.SQL("""
                SELECT {columns} FROM rule_runs AS r LEFT JOIN tasks AS t ON t.tenant_id = r.tenant_id AND t.id = r.task_id
                WHERE r.rule_id = %(rule_id)s AND (%(outcome)s::text IS NULL OR r.outcome = %(outcome)s)
                    AND {behind}
                ORDER BY {order} LIMIT %(limit)s
                """).format(
                    columns=_COLUMNS,
                    behind=sql.SQL(behind(BY_AGE, order, "r.id")),
                    order=sql.SQL(by(BY_AGE, order, "r.id")),
                ),
                {"rule_id": rule_id, "outcome": outcome, **values_of(order), "limit": limit},
            )
            return await cursor.fetchall()

    async def drop_older(self, before: datetime, limit: int) -> int:
        """Remove up to `limit` runs of before; how many."""
        cursor = await self._connection.execute(
            "DELETE FROM rule_runs WHERE ctid = ANY (ARRAY(SELECT ctid FROM rule_runs WHERE at < %s LIMIT %s))",
            (before, limit),
        )
        return cursor.rowcount
