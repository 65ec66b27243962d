"""Tenants are kept apart by the database: read from the catalogue of a migrated one, and tried (cases T02, T03, T04)."""

from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from psycopg import sql

from devops_mcp.embedded.postgres import SUPERUSER
from devops_mcp.embedded.roles import OWNER
from devops_mcp.models.errors import NotFound
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories.database import open_database

DEFINER_FUNCTIONS = {
    "find_api_keys",
    "find_credentials",
    "find_tenant",
    "list_tenants",
    "installed_integrations",
    "quota_versions",
    "tenants_with_lost_agents",
    "ensure_partitions",
    "erase_some",
    "ensure_space_index",
    "append_audit",
    "chain_waiting_audit",
    "chain_audit_row",
    "passages_by_words",
    "few_passages",
    "begin_audit_after",
    "drop_months",
    "forget_events",
}
"""What runs with the owner's rights, each for a reason given in its migration."""
WITHOUT_TENANT = {"schema_migrations"}


@pytest.fixture
def owner(database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        yield connection


def column(connection: psycopg.Connection, query: str, *arguments: object) -> list[str]:
    return [str(row[0]) for row in connection.execute(query, arguments).fetchall()]


def tables_with_tenant(connection: psycopg.Connection) -> list[str]:
    return column(
        connection,
        """
        SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attname = 'tenant_id' AND NOT a.attisdropped
        ORDER BY 1
        """,
    )


def test_every_table_belongs_to_tenants_or_is_listed(owner):
    tables = column(
        owner,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')",
    )
    assert set(tables) - set(tables_with_tenant(owner)) == WITHOUT_TENANT


def test_every_table_of_tenants_has_row_security_enabled_and_forced(owner):
    """T04"""
    unprotected = column(
        owner,
        "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND NOT (relrowsecurity AND relforcerowsecurity)",
        tables_with_tenant(owner),
    )
    assert unprotected == []


def test_what_crosses_tenants_is_listed(owner):
    """Every other policy lets a row be seen and written by its own tenant only."""
    own, once = "(tenant_id = current_tenant())", "(tenant_id = ( SELECT current_tenant() AS current_tenant))"
    usual = [("{public}", "ALL", qual, qual) for qual in (own, once)]
    policies = owner.execute(
        "SELECT tablename || '.' || policyname, roles::text, cmd, qual, with_check FROM pg_policies WHERE schemaname = 'public'"
    ).fetchall()
    tables = [name.partition(".")[0] for name, *rest in policies if tuple(rest) in usual]
    partitions = set(tables_with_tenant(owner)) - set(tables)
    assert sorted(row for row in policies if row[1:] not in usual) == [
        ("agents.lookup", "{devops_mcp_owner}", "SELECT", "true", None),
        ("api_keys.lookup", "{devops_mcp_owner}", "SELECT", "true", None),
        ("integrations.lookup", "{devops_mcp_owner}", "SELECT", "true", None),
        ("outbox.relay", "{devops_mcp_worker}", "ALL", "true", own),
        ("passages.words", "{devops_mcp_owner}", "SELECT", "true", None),
        ("quotas.lookup", "{devops_mcp_owner}", "SELECT", "true", None),
        ("roles.lookup", "{devops_mcp_owner}", "SELECT", "true", None),
        ("tenants.lookup", "{devops_mcp_owner}", "SELECT", "true", None),
        ("tenants.upkeep", "{devops_mcp_worker}", "SELECT", "true", None),
        ("users.lookup", "{devops_mcp_owner}", "SELECT", "true", None),
    ]
    assert {name.rsplit("_", 2)[0] for name in partitions} == {"events", "audit_log"}


def test_every_unique_key_of_a_table_of_tenants_begins_with_the_tenant(owner):
    """A key across tenants would tell one that another has the value."""
    keys = column(
        owner,
        """
        SELECT i.indexrelid::regclass FROM pg_index AS i
        LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indisunique AND i.indrelid::regclass::text = ANY(%s) AND a.attname IS DISTINCT FROM 'tenant_id'
        """,
        tables_with_tenant(owner),
    )
    assert keys == []


def test_no_view_shows_rows_with_its_owners_rights(owner):
    views = column(
        owner,
        """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
            AND (relkind = 'm' OR (relkind = 'v' AND NOT coalesce(reloptions::text LIKE '%%security_invoker=true%%', false)))
        """,
    )
    assert views == []


def test_only_listed_functions_run_with_their_owners_rights(owner):
    functions = column(
        owner, "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    )
    assert set(functions) == DEFINER_FUNCTIONS


def test_the_services_roles_own_nothing_and_cannot_bypass_row_security(owner):
    """T04"""
    roles = column(
        owner,
        """
        SELECT rolname FROM pg_roles WHERE rolname LIKE 'devops_mcp_%%' AND rolname <> %s
            AND (rolbypassrls OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication)
        """,
        SUPERUSER,
    )
    owned = column(
        owner,
        """
        SELECT format('%%s owns %%s %%s', r.rolname, d.classid::regclass, d.objid) FROM pg_shdepend AS d
        JOIN pg_roles AS r ON d.refclassid = 'pg_authid'::regclass AND r.oid = d.refobjid
        WHERE d.deptype = 'o' AND r.rolname LIKE 'devops_mcp_%%' AND r.rolname NOT IN (%s, %s)
        """,
        OWNER,
        SUPERUSER,
    )
    assert (roles, owned) == ([], [])


def test_the_services_roles_lack_rights_that_row_security_does_not_cover(owner):
    granted = column(
        owner,
        """
        SELECT format('%%s on %%s to %%s', a.privilege_type, c.relname, coalesce(r.rolname, 'public'))
        FROM (SELECT oid, relacl AS acl FROM pg_class UNION ALL SELECT attrelid, attacl FROM pg_attribute) AS granted
        JOIN pg_class AS c ON c.oid = granted.oid CROSS JOIN LATERAL aclexplode(granted.acl) AS a
        LEFT JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE c.relnamespace = 'public'::regnamespace AND (a.grantee = 0 OR r.rolname LIKE 'devops_mcp_%%' AND r.rolname NOT IN (%s, %s))
            AND a.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
        """,
        OWNER,
        SUPERUSER,
    )
    assert granted == []


def fill(connection: psycopg.Connection, tenant: object, table: str) -> None:
    """One row of the tenant, with a value of its type in every column that needs one, past all other rules."""
    columns = connection.execute(
        """
        SELECT column_name, data_type, udt_name FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name = %s AND is_nullable = 'NO' AND is_generated = 'NEVER'
            AND (column_default IS NULL OR column_name = 'tenant_id')
        """,
        (table,),
    ).fetchall()
    values: dict[str, object] = {}
    for name, type_, udt in columns:
        values[name] = _example(str(type_), str(udt))
    values["tenant_id"] = tenant
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder() * len(values)),
    )
    connection.execute(statement, list(values.values()))


def _example(type_: str, udt: str) -> object:
    match type_:
        case "uuid":
            return new_id()
        case "text":
            return "x"
        case "bytea":
            return b"x"
        case "jsonb":
            return "{}"
        case "integer" | "bigint" | "double precision":
            return 1
        case "boolean":
            return True
        case "timestamp with time zone":
            return "2026-11-01T00:00:00Z"
        case "bit varying":
            return "1"
        case "tsvector":
            return ""
        case "USER-DEFINED" if udt == "vector":
            return "[1]"
        case "ARRAY":
            return []
    raise AssertionError(f"no example for {type_} {udt}")


def seen(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return int(row[0])


def readable(connection: psycopg.Connection, role: str) -> list[str]:
    return [
        table
        for table in tables_with_tenant(connection)
        if column(connection, "SELECT has_table_privilege(%s, %s, 'SELECT')", role, table) == ["True"]
    ]


@pytest.mark.parametrize("role", ["app", "worker"])
def test_a_tenant_sees_its_rows_and_nobody_without_a_tenant_sees_any(database, owner, role):
    """T02, in every table that the role can read; the worker alone sees whose outbox it relays, and which tenants there are."""
    tables = readable(owner, f"devops_mcp_{role}")
    ours, theirs = DEFAULT_TENANT_ID, new_id()
    owner.execute("SET session_replication_role = replica")  # foreign keys are not what is tried here
    for table in tables:
        if table != "tenants":
            fill(owner, ours, table)
        fill(owner, theirs, table)
    of_all = {"outbox", "tenants"} if role == "worker" else set()
    assert len(tables) >= 10
    with psycopg.connect(database.app_url if role == "app" else database.worker_url) as connection:
        for table in set(tables) - of_all:
            connection.execute("SELECT set_config('app.tenant', '', true)")
            assert seen(connection, table) == 0, table
            for tenant in (ours, theirs):
                connection.execute("SELECT set_config('app.tenant', %s, true)", (str(tenant),))
                assert seen(connection, table) == 1, table


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE contexts",
        "SET ROLE devops_mcp_owner",
        "ALTER TABLE contexts DISABLE ROW LEVEL SECURITY",
        "DELETE FROM audit_log",
        "UPDATE audit_log SET outcome = 'ok'",
        "SELECT * FROM schema_migrations",
        "SET SESSION AUTHORIZATION devops_mcp_owner",
        "SET session_replication_role = replica",
        "ALTER ROLE CURRENT_USER BYPASSRLS",
        "CREATE TABLE mine ()",
        "COPY contexts TO PROGRAM 'true'",
        "SELECT ensure_partitions(1)",
        "SELECT ensure_space_index('x', 8)",
        "INSERT INTO contexts (tenant_id, id, owner_id, title) VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'x')",
    ],
)
def test_the_role_of_requests_is_refused_what_goes_past_row_security(database, statement):
    """T04"""
    with psycopg.connect(database.app_url) as connection:
        connection.execute("SELECT set_config('app.tenant', %s, true)", (str(DEFAULT_TENANT_ID),))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_row_security_that_is_switched_off_refuses_and_a_copy_holds_ones_own_rows(database, owner):
    """T04"""
    theirs = new_id()
    owner.execute("SET session_replication_role = replica")
    fill(owner, DEFAULT_TENANT_ID, "contexts")
    fill(owner, theirs, "contexts")
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        connection.execute("SELECT set_config('app.tenant', %s, false)", (str(DEFAULT_TENANT_ID),))
        with connection.cursor().copy("COPY contexts (tenant_id) TO STDOUT") as copied:
            assert b"".join(map(bytes, copied)).decode().split() == [str(DEFAULT_TENANT_ID)]
        connection.execute("SET row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM contexts")


def test_nothing_is_copied_into_a_table_past_its_policy(database):
    """T04"""
    with (
        psycopg.connect(database.app_url) as connection,
        pytest.raises(psycopg.errors.FeatureNotSupported),
        connection.cursor().copy("COPY contexts (tenant_id, id, owner_id, title) FROM STDIN") as into,
    ):
        into.write_row((new_id(), new_id(), new_id(), "planted"))


async def test_on_one_connection_no_tenant_ever_sees_another(database):
    """T03"""
    tenants = [new_id(), new_id()]
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        made = {}
        for tenant in tenants:
            async with opened.transaction(tenant) as tx:
                made[tenant] = (await tx.contexts.create(new_id(), tenant, "mine", {})).id
        for turn in range(300):
            tenant, other = tenants[turn % 2], tenants[1 - turn % 2]
            with suppress(NotFound):
                async with opened.transaction(tenant) as tx:
                    assert await tx.contexts.find(made[tenant]) is not None
                    assert await tx.contexts.find(made[other]) is None
                    if turn % 3:
                        raise NotFound("a request that fails")
