"""Tenants besides the default one."""

from uuid import UUID

import psycopg


def add_tenant(database, tenant_id: UUID, name: str = "another") -> None:
    """Add a tenant to a test's database."""
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("INSERT INTO tenants (tenant_id, name) VALUES (%s, %s)", (tenant_id, name))
