"""Clients, what users let them do, and the codes in between."""

from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.oauth import AuthorizationCode, Consent, DeviceCode, OAuthClient
from devops_mcp.models.pages import Order
from devops_mcp.repositories.sorting import BY_AGE, behind, by, values_of
from devops_mcp.repositories.statements import composed


class OAuthClients:
    """Rows of the operator's tenant."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def put(self, client: OAuthClient, address: str | None) -> None:
        """Add it; of one that is there what it says of itself is written anew."""
        await self._connection.execute(
            """
            INSERT INTO oauth_clients (id, source, name, uri, redirect_uris, address, created_at)
            VALUES (%(id)s, %(source)s, %(name)s, %(uri)s, %(redirect_uris)s, %(address)s, %(created_at)s)
            ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name, uri = excluded.uri, redirect_uris = excluded.redirect_uris
            """,
            {**client.model_dump(), "redirect_uris": list(client.redirect_uris), "address": address},
        )

    async def find(self, client_id: str) -> OAuthClient | None:
        """Revoked ones too."""
        async with self._connection.cursor(row_factory=class_row(OAuthClient)) as cursor:
            await cursor.execute(
                """
                SELECT id, source, name, uri, redirect_uris, created_at, used_at, revoked_at
                FROM oauth_clients WHERE id = %s
                """,
                (client_id,),
            )
            return await cursor.fetchone()

    async def page(
        self, after: tuple[datetime, str] | None, limit: int, *, newest_first: bool
    ) -> list[OAuthClient]:
        """By when each was made, from behind the one that was made then and has this id; revoked ones too."""
        made, client_id = after or (None, None)
        async with self._connection.cursor(row_factory=class_row(OAuthClient)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT id, source, name, uri, redirect_uris, created_at, used_at, revoked_at
                FROM oauth_clients
                WHERE %(made)s::timestamptz IS NULL OR (created_at, id) {sign} (%(made)s, %(id)s)
                ORDER BY created_at {direction}, id {direction} LIMIT %(limit)s
                """,
                    sign="<" if newest_first else ">",
                    direction="DESC" if newest_first else "ASC",
                ),
                {"made": made, "id": client_id, "limit": limit},
            )
            return await cursor.fetchall()

    async def note_use(self, client_id: str, now: datetime) -> None:
        await self._connection.execute(
            "UPDATE oauth_clients SET used_at = %s WHERE id = %s", (now, client_id)
        )

    async def revoke(self, client_id: str, now: datetime) -> bool:
        """False when it is not there, or was revoked before."""
        cursor = await self._connection.execute(
            "UPDATE oauth_clients SET revoked_at = %s WHERE id = %s AND revoked_at IS NULL", (now, client_id)
        )
        return cursor.rowcount == 1

    async def drop_unused(self, before: datetime, limit: int) -> int:
        """Forget up to `limit` clients that registered before and were never let do anything; how many."""
        cursor = await self._connection.execute(
            """
            DELETE FROM oauth_clients WHERE ctid = ANY (ARRAY(SELECT ctid FROM oauth_clients
                WHERE source = 'registered' AND used_at IS NULL AND revoked_at IS NULL AND created_at < %s LIMIT %s))
            """,
            (before, limit),
        )
        return cursor.rowcount


class Consents:
    """What the users of one tenant let clients do."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def put(self, consent: Consent) -> UUID:
        """Write what was said last, in the place of what was said before; its id."""
        cursor = await self._connection.execute(
            """
            INSERT INTO oauth_consents (id, user_id, client_id, client_name, audience, scopes, remembered, created_at, updated_at)
            VALUES (%(id)s, %(user_id)s, %(client_id)s, %(client_name)s, %(audience)s, %(scopes)s, %(remembered)s, %(created_at)s,
                %(updated_at)s)
            ON CONFLICT (tenant_id, user_id, client_id, audience) DO UPDATE SET client_name = excluded.client_name,
                scopes = excluded.scopes, remembered = excluded.remembered, updated_at = excluded.updated_at
            RETURNING id
            """,
            {**consent.model_dump(), "scopes": list(consent.scopes)},
        )
        row = await cursor.fetchone()
        assert row is not None
        found: UUID = row[0]
        return found

    async def find(self, consent_id: UUID) -> Consent | None:
        async with self._connection.cursor(row_factory=class_row(Consent)) as cursor:
            await cursor.execute(
                """
                SELECT id, user_id, client_id, client_name, audience, scopes, remembered, created_at, updated_at
                FROM oauth_consents WHERE id = %s
                """,
                (consent_id,),
            )
            return await cursor.fetchone()

    async def of(self, user_id: UUID, client_id: str, audience: str) -> Consent | None:
        """What the user let the client do there."""
        async with self._connection.cursor(row_factory=class_row(Consent)) as cursor:
            await cursor.execute(
                """
                SELECT id, user_id, client_id, client_name, audience, scopes, remembered, created_at, updated_at
                FROM oauth_consents WHERE user_id = %s AND client_id = %s AND audience = %s
                """,
                (user_id, client_id, audience),
            )
            return await cursor.fetchone()

    async def page(self, user_id: UUID | None, order: Order, limit: int) -> list[Consent]:
        """Everybody's, or one user's."""
        async with self._connection.cursor(row_factory=class_row(Consent)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT id, user_id, client_id, client_name, audience, scopes, remembered, created_at, updated_at
                FROM oauth_consents
                WHERE (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s) AND {behind}
                ORDER BY {order} LIMIT %(limit)s
                """,
                    behind=behind(BY_AGE, order),
                    order=by(BY_AGE, order),
                ),
                {"user_id": user_id, **values_of(order), "limit": limit},
            )
            return await cursor.fetchall()

    async def withdraw(self, consent: Consent, now: datetime) -> int:
        """Remove it, with codes that were not used, and end the sessions that it led to; how many."""
        await self._connection.execute("DELETE FROM oauth_consents WHERE id = %s", (consent.id,))
        cursor = await self._connection.execute(
            """
            UPDATE sessions SET revoked_at = %s
            WHERE user_id = %s AND client_id = %s AND audience = %s AND revoked_at IS NULL
            """,
            (now, consent.user_id, consent.client_id, consent.audience),
        )
        return cursor.rowcount

    async def withdraw_client(self, client_id: str, now: datetime) -> int:
        """Remove what all users let a client do, and end its sessions; how many sessions."""
        await self._connection.execute("DELETE FROM oauth_consents WHERE client_id = %s", (client_id,))
        cursor = await self._connection.execute(
            "UPDATE sessions SET revoked_at = %s WHERE client_id = %s AND revoked_at IS NULL",
            (now, client_id),
        )
        return cursor.rowcount


class AuthorizationCodes:
    """The codes of one tenant's users."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, code: AuthorizationCode) -> None:
        await self._connection.execute(
            """
            INSERT INTO authorization_codes (code_hash, consent_id, user_id, client_id, client_name, redirect_uri, challenge, audience,
                scopes, expires_at, identity_id)
            VALUES (%(code_hash)s, %(consent_id)s, %(user_id)s, %(client_id)s, %(client_name)s, %(redirect_uri)s, %(challenge)s,
                %(audience)s, %(scopes)s, %(expires_at)s, %(identity_id)s)
            """,
            {**code.model_dump(), "scopes": list(code.scopes)},
        )

    async def lock(self, code_hash: bytes) -> AuthorizationCode | None:
        """The code, used or expired too, which nobody else uses until the transaction ends."""
        async with self._connection.cursor(row_factory=class_row(AuthorizationCode)) as cursor:
            await cursor.execute(
                """
                SELECT code_hash, consent_id, user_id, client_id, client_name, redirect_uri, challenge, audience, scopes, expires_at,
                    identity_id, used_at, session_id
                FROM authorization_codes WHERE code_hash = %s FOR UPDATE
                """,
                (code_hash,),
            )
            return await cursor.fetchone()

    async def note_use(self, code_hash: bytes, now: datetime) -> None:
        await self._connection.execute(
            "UPDATE authorization_codes SET used_at = %s WHERE code_hash = %s", (now, code_hash)
        )

    async def note_second_use(self, code_hash: bytes) -> None:
        await self._connection.execute(
            "UPDATE authorization_codes SET used_again = true WHERE code_hash = %s", (code_hash,)
        )

    async def put_session(self, code_hash: bytes, session_id: UUID) -> bool:
        """Say which session the code began. False when the code was used again meanwhile, or its consent withdrawn."""
        cursor = await self._connection.execute(
            "UPDATE authorization_codes SET session_id = %s WHERE code_hash = %s AND NOT used_again",
            (session_id, code_hash),
        )
        return cursor.rowcount == 1

    async def drop_expired(self, before: datetime, limit: int) -> int:
        """Forget up to `limit` codes that expired before; how many."""
        cursor = await self._connection.execute(
            """
            DELETE FROM authorization_codes WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM authorization_codes WHERE expires_at < %s LIMIT %s))
            """,
            (before, limit),
        )
        return cursor.rowcount


class DeviceCodes:
    """Devices that wait; rows of the operator's tenant."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, code: DeviceCode) -> bool:
        """False when another that waits has the same user code."""
        cursor = await self._connection.execute(
            """
            INSERT INTO device_codes (code_hash, user_code_hash, client_id, client_name, audience, scopes, address, created_at, expires_at,
                interval_s)
            VALUES (%(code_hash)s, %(user_code_hash)s, %(client_id)s, %(client_name)s, %(audience)s, %(scopes)s, %(address)s,
                %(created_at)s, %(expires_at)s, %(interval_s)s)
            ON CONFLICT DO NOTHING
            """,
            {**code.model_dump(), "scopes": list(code.scopes)},
        )
        return cursor.rowcount == 1

    async def lock(
        self, *, code_hash: bytes | None = None, user_code_hash: bytes | None = None
    ) -> DeviceCode | None:
        """By either code, expired ones too; nobody else changes it until the transaction ends."""
        async with self._connection.cursor(row_factory=class_row(DeviceCode)) as cursor:
            await cursor.execute(
                """
                SELECT code_hash, user_code_hash, client_id, client_name, audience, scopes, address, created_at, expires_at, interval_s,
                    polled_at, state, user_tenant_id, user_id, identity_id
                FROM device_codes WHERE code_hash = %(code_hash)s OR user_code_hash = %(user_code_hash)s FOR UPDATE
                """,
                {"code_hash": code_hash, "user_code_hash": user_code_hash},
            )
            return await cursor.fetchone()

    async def note_poll(self, code_hash: bytes, now: datetime, interval_s: int) -> None:
        await self._connection.execute(
            "UPDATE device_codes SET polled_at = %s, interval_s = %s WHERE code_hash = %s",
            (now, interval_s, code_hash),
        )

    async def answer(self, code: DeviceCode) -> None:
        """Write the user's word."""
        await self._connection.execute(
            """
            UPDATE device_codes SET state = %(state)s, user_tenant_id = %(user_tenant_id)s, user_id = %(user_id)s,
                identity_id = %(identity_id)s, scopes = %(scopes)s
            WHERE code_hash = %(code_hash)s
            """,
            {**code.model_dump(), "scopes": list(code.scopes)},
        )

    async def remove(self, code_hash: bytes) -> None:
        await self._connection.execute("DELETE FROM device_codes WHERE code_hash = %s", (code_hash,))

    async def drop_expired(self, before: datetime, limit: int) -> int:
        """Forget up to `limit` devices that waited in vain; how many."""
        cursor = await self._connection.execute(
            "DELETE FROM device_codes WHERE ctid = ANY (ARRAY(SELECT ctid FROM device_codes WHERE expires_at < %s LIMIT %s))",
            (before, limit),
        )
        return cursor.rowcount
