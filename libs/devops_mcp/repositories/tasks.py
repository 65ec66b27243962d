"""Tasks. Whoever runs one names its attempt in each write, so that a worker that woke too late writes nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.conversation import Answer, Question
from devops_mcp.models.pages import Order
from devops_mcp.models.tasks import NewTask, Task, TaskResult, TaskStatus, TasksWanted
from devops_mcp.repositories.rows import rows
from devops_mcp.repositories.sorting import Columns, behind, by, values_of

_COLUMNS = sql.SQL("""
    id, tenant_id, owner_id, tool, arguments, priority, status, message, progress, total, answerable, questions, answers, result,
    attempt, attempts_before, context_id, origin, limits, created_at, updated_at, expires_at
""")
_KNOWN_MESSAGES = sql.SQL("coalesce(message_ids, array_remove(ARRAY[message_id], NULL))")
"""Of a task that an older version made, the one."""

_SORTED: Columns = {"created_at": "timestamptz", "updated_at": "timestamptz", "tool": "text"}


class Tasks:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, task: NewTask, message_id: UUID) -> Task:
        """A task that waits for this message."""
        values = task.model_dump(mode="json")
        found = await self._one(
            sql.SQL("""
            INSERT INTO tasks (id, owner_id, tool, arguments, priority, status, answerable, answers, context_id, origin, limits, expires_at,
                               message_id, message_ids)
            VALUES (%(id)s, %(owner_id)s, %(tool)s, %(arguments)s, %(priority)s, 'working', %(answerable)s, %(answers)s,
                    %(context_id)s, %(origin)s, %(limits)s, %(expires_at)s, %(message_id)s, ARRAY[%(message_id)s])
            RETURNING {columns}
            """).format(columns=_COLUMNS),
            {
                **values,
                **{name: Jsonb(values[name]) for name in ("arguments", "answers", "limits")},
                "origin": _origin(values),
                "message_id": message_id,
            },
        )
        assert found is not None
        return found

    async def add_all(self, tasks: Sequence[NewTask], message_ids: Sequence[UUID]) -> None:
        """Several that no credential asked for, and of which nobody has been asked anything; each waits for its message."""
        await self._connection.execute(
            """
            INSERT INTO tasks (id, owner_id, tool, arguments, priority, status, answerable, context_id, origin, expires_at,
                               message_id, message_ids)
            SELECT id, owner_id, tool, arguments, priority, 'working', '{}', context_id, origin, expires_at,
                   message_id, ARRAY[message_id]
            FROM jsonb_to_recordset(%s::jsonb) AS t (id uuid, owner_id uuid, tool text, arguments jsonb, priority text,
                context_id uuid, origin jsonb, expires_at timestamptz, message_id uuid)
            """,
            (
                rows(
                    task.model_dump(mode="json", exclude={"answers", "answerable", "limits"})
                    | {"message_id": str(message_id)}
                    for task, message_id in zip(tasks, message_ids, strict=True)
                ),
            ),
        )

    async def find(self, task_id: UUID) -> Task | None:
        return await self._one(
            sql.SQL("SELECT {columns} FROM tasks WHERE id = %(id)s").format(columns=_COLUMNS), {"id": task_id}
        )

    async def page(self, owner_id: UUID | None, wanted: TasksWanted, order: Order, limit: int) -> list[Task]:
        """Of one owner, or of all."""
        async with self._connection.cursor(row_factory=class_row(Task)) as cursor:
            await cursor.execute(
                sql.SQL("""
                SELECT {columns} FROM tasks
                WHERE (%(owner)s::uuid IS NULL OR owner_id = %(owner)s) AND {behind}
                    AND (%(status)s::text IS NULL OR status = %(status)s) AND (%(tool)s::text IS NULL OR tool = %(tool)s)
                    AND (%(priority)s::text IS NULL OR priority = %(priority)s)
                    AND (%(owner_id)s::uuid IS NULL OR owner_id = %(owner_id)s)
                    AND (%(context_id)s::uuid IS NULL OR context_id = %(context_id)s)
                    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
                    AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
                ORDER BY {order} LIMIT %(limit)s
                """).format(
                    columns=_COLUMNS,
                    behind=sql.SQL(behind(_SORTED, order)),
                    order=sql.SQL(by(_SORTED, order)),
                ),
                {"owner": owner_id, "limit": limit, **dict(wanted), **values_of(order)},
            )
            return await cursor.fetchall()

    async def wait_for(self, task_id: UUID, message_id: UUID) -> None:
        """From here on the task waits for another message, too."""
        await self._connection.execute(
            sql.SQL("""
            UPDATE tasks SET message_id = %(message)s, message_ids = {known} || %(message)s WHERE id = %(id)s
            """).format(known=_KNOWN_MESSAGES),
            {"id": task_id, "message": message_id},
        )

    async def pass_by(self, task_id: UUID, message_id: UUID) -> None:
        """The message came to nothing, and will not come again."""
        await self._connection.execute(
            "UPDATE tasks SET message_ids = array_remove(message_ids, %s) WHERE id = %s",
            (message_id, task_id),
        )

    async def claim(self, task_id: UUID, lease_until: datetime, message_id: UUID) -> Task | None:
        """Begin the next attempt by this message; None when the task has ended, waits for answers, or is held by another."""
        return await self._one(
            sql.SQL("""
            UPDATE tasks SET attempt = attempt + 1, lease_until = %(lease)s, message_id = %(message)s,
                             message_ids = array_remove({known}, %(message)s) || %(message)s, updated_at = now()
            WHERE id = %(id)s AND status = 'working' AND (lease_until IS NULL OR lease_until < now())
            RETURNING {columns}
            """).format(columns=_COLUMNS, known=_KNOWN_MESSAGES),
            {"id": task_id, "lease": lease_until, "message": message_id},
        )

    async def disclaim(self, task_id: UUID, lease_until: datetime) -> None:
        """Undo a claim of which nobody knows whether it was made: by the lease that it would have, to the microsecond."""
        await self._connection.execute(
            "UPDATE tasks SET lease_until = NULL, attempt = attempt - 1 WHERE id = %s AND lease_until = %s AND status = 'working'",
            (task_id, lease_until),
        )

    async def renew(self, task_id: UUID, attempt: int, lease_until: datetime) -> bool:
        """Hold the task on; False when it is no longer this attempt's, or was cancelled."""
        cursor = await self._connection.execute(
            "UPDATE tasks SET lease_until = %s WHERE id = %s AND attempt = %s AND status = 'working'",
            (lease_until, task_id, attempt),
        )
        return cursor.rowcount == 1

    async def release(self, task_id: UUID, attempt: int) -> None:
        """Let another worker take the task at once."""
        await self._connection.execute(
            "UPDATE tasks SET lease_until = NULL WHERE id = %s AND attempt = %s AND status = 'working'",
            (task_id, attempt),
        )

    async def report(
        self, task_id: UUID, attempt: int, progress: float | None, total: float | None, message: str | None
    ) -> bool:
        """Progress only grows; False when the task is no longer this attempt's."""
        cursor = await self._connection.execute(
            """
            UPDATE tasks SET progress = greatest(progress, %(progress)s), total = coalesce(%(total)s, total),
                             message = coalesce(%(message)s, message), updated_at = now()
            WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'working'
            """,
            {
                "id": task_id,
                "attempt": attempt,
                "progress": progress,
                "total": total,
                "message": message,
            },
        )
        return cursor.rowcount == 1

    async def ask(self, task_id: UUID, attempt: int, questions: Mapping[str, Question]) -> bool:
        """Put the task aside until its questions are answered."""
        cursor = await self._connection.execute(
            """
            UPDATE tasks SET status = 'input_required', questions = %s, lease_until = NULL, updated_at = now(),
                             message_ids = array_remove(message_ids, message_id)
            WHERE id = %s AND attempt = %s AND status = 'working'
            """,
            (Jsonb(_dumped(questions)), task_id, attempt),
        )
        return cursor.rowcount == 1

    async def answer(self, task: Task, answers: Mapping[str, Answer]) -> Task | None:
        """Keep answers; with the last of them the task is to be run again. None when it does not wait for any."""
        left = {name: question for name, question in task.questions.items() if name not in answers}
        return await self._one(
            sql.SQL("""
            UPDATE tasks SET answers = answers || %(answers)s, questions = %(left)s, updated_at = now(),
                             status = CASE WHEN %(done)s THEN 'working' ELSE status END,
                             message_ids = coalesce(array_remove(message_ids, message_id), '{{}}')
            WHERE id = %(id)s AND status = 'input_required'
            RETURNING {columns}
            """).format(columns=_COLUMNS),
            {
                "id": task.id,
                "answers": Jsonb(_dumped(answers)),
                "left": Jsonb(_dumped(left)),
                "done": not left,
            },
        )

    async def lock(self, task_id: UUID) -> Task | None:
        """The task, which nobody else changes until this transaction ends."""
        return await self._one(
            sql.SQL("SELECT {columns} FROM tasks WHERE id = %(id)s FOR UPDATE").format(columns=_COLUMNS),
            {"id": task_id},
        )

    async def die(self, task_id: UUID, message_id: UUID, result: TaskResult) -> Task | None:
        """End it as failed with the last of its messages; None when a worker is at it, or it waits for another message or for none."""
        return await self._one(
            sql.SQL("""
            UPDATE tasks SET status = 'failed', result = %(result)s, message_id = %(message)s, lease_until = NULL, updated_at = now()
            WHERE id = %(id)s AND status = 'working' AND (lease_until IS NULL OR lease_until < now())
                AND coalesce(message_ids, ARRAY[coalesce(message_id, %(message)s)]) = ARRAY[%(message)s]
            RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": task_id, "message": message_id, "result": Jsonb(result.model_dump(mode="json"))},
        )

    async def revive(self, task_id: UUID, message_id: UUID, kept_for: timedelta) -> Task | None:
        """Let it wait again for the message whose death ended it; None when it ended otherwise, or has not.

        The number of its attempts goes on at once, so that who made one of them still writes nothing.
        """
        return await self._one(
            sql.SQL("""
            UPDATE tasks SET status = 'working', result = NULL, message_ids = ARRAY[%(message)s],
                             attempt = attempt + 1, attempts_before = attempt + 1,
                             updated_at = now(), expires_at = greatest(expires_at, now() + %(kept_for)s)
            WHERE id = %(id)s AND status = 'failed' AND message_id = %(message)s
            RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": task_id, "message": message_id, "kept_for": kept_for},
        )

    async def end(self, task_id: UUID, attempt: int, status: TaskStatus, result: TaskResult) -> Task | None:
        """Write down how it ended; None when it is no longer this attempt's to end."""
        return await self._one(
            sql.SQL("""
            UPDATE tasks SET status = %(status)s, result = %(result)s, message_id = NULL, lease_until = NULL, updated_at = now()
            WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'working'
            RETURNING {columns}
            """).format(columns=_COLUMNS),
            {
                "id": task_id,
                "attempt": attempt,
                "status": status,
                "result": Jsonb(result.model_dump(mode="json")),
            },
        )

    async def cancel(self, task_id: UUID) -> Task | None:
        """End it as cancelled; None when it has ended before."""
        return await self._one(
            sql.SQL("""
            UPDATE tasks SET status = 'cancelled', questions = '{{}}', lease_until = NULL, updated_at = now()
            WHERE id = %(id)s AND status IN ('working', 'input_required')
            RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": task_id},
        )

    async def abandoned(self, grace: timedelta, limit: int) -> list[Task]:
        """Tasks whose worker has not renewed its lease for `grace`: its message may be lost. None is given twice within `grace`."""
        async with self._connection.cursor(row_factory=class_row(Task)) as cursor:
            await cursor.execute(
                sql.SQL("""
                UPDATE tasks SET lease_until = now() - interval '1 millisecond'
                WHERE id IN (SELECT id FROM tasks WHERE status = 'working' AND lease_until < now() - %s
                             ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
                RETURNING {columns}
                """).format(columns=_COLUMNS),
                (grace, limit),
            )
            return await cursor.fetchall()

    async def drop_expired(self, now: datetime, limit: int) -> int:
        """Remove up to `limit` whose time is over; how many."""
        cursor = await self._connection.execute(
            "DELETE FROM tasks WHERE ctid = ANY (ARRAY(SELECT ctid FROM tasks WHERE expires_at <= %s LIMIT %s))",
            (now, limit),
        )
        return cursor.rowcount

    async def _one(self, query: sql.Composed, values: Mapping[str, object]) -> Task | None:
        async with self._connection.cursor(row_factory=class_row(Task)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchone()


def _origin(values: Mapping[str, object]) -> Jsonb | None:
    return None if values["origin"] is None else Jsonb(values["origin"])


def _dumped(models: Mapping[str, Question] | Mapping[str, Answer]) -> dict[str, object]:
    return {name: model.model_dump(mode="json") for name, model in models.items()}
