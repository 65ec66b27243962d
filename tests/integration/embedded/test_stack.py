"""The fixtures that other tests rely on."""

import psycopg
import pytest
from psycopg import errors
from redis import Redis

from devops_mcp.events.queues import QueueName
from devops_mcp.events.sqs import Depth, Outgoing, open_queues


@pytest.mark.parametrize("turn", ["first", "second"])
def test_each_test_gets_a_database_that_no_other_has_written_to(database, turn):
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("CREATE TABLE left_behind (turn text)")
        (migrated,) = connection.execute("SELECT count(*) FROM schema_migrations").fetchone()

    assert migrated >= 1


def test_the_roles_of_the_services_cannot_create_tables_or_pass_by_row_security(database):
    for url in (database.app_url, database.mcp_url, database.worker_url):
        with psycopg.connect(url, autocommit=True) as connection:
            rights = "SELECT rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
            assert connection.execute(rights).fetchone() == (False,)
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute("CREATE TABLE mine (id int)")


@pytest.mark.parametrize("turn", ["first", "second"])
def test_each_test_gets_an_empty_redis(redis_url, turn):
    with Redis.from_url(redis_url) as client:
        found = client.keys()
        client.set("left behind", turn)

    assert found == []


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_each_test_gets_empty_queues_of_its_own(queues, turn):
    async with open_queues(
        endpoint_url=queues.endpoint_url, region=queues.region, prefix=queues.prefix
    ) as opened:
        depths = [await queue.depth() for queue in opened.values()]
        await opened[QueueName.EVENTS].send_batch([Outgoing(turn)])

    assert depths == [Depth(0, 0, 0)] * len(opened)
