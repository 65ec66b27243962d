"""A whole worker and rest-api over real queues: long contexts are summed up, and what was kept apart leaves with its context."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx2
import psycopg
import pytest

from support.s3 import BUCKET, keys_in, running_s3
from support.services import new_key, running_rest, settings_for
from support.worker_process import a_worker

WITHIN_S = 40.0


@dataclass
class Bench:
    http: httpx2.AsyncClient
    s3: str


@pytest.fixture
async def bench(database, redis_url, queues) -> AsyncIterator[Bench]:
    with running_s3() as s3:
        rest = settings_for(
            database.app_url, redis_url, embedding_provider="lexical", blobs_bucket=BUCKET, s3_endpoint_url=s3
        )
        worker = {
            "DATABASE_URL": database.worker_url,
            "REDIS_URL": redis_url,
            "MASTER_KEYS": json.dumps([key.get_secret_value() for key in rest.master_keys]),
            "SQS_ENDPOINT_URL": queues.endpoint_url,
            "QUEUE_PREFIX": queues.prefix,
            "EMBEDDING_PROVIDER": "lexical",
            "BLOBS_BUCKET": BUCKET,
            "S3_ENDPOINT_URL": s3,
        }
        key = await new_key(database.owner_url)
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(running_rest(rest))
            await stack.enter_async_context(a_worker(worker))
            headers = {"X-API-Key": key}
            yield Bench(
                await stack.enter_async_context(
                    httpx2.AsyncClient(base_url=url, headers=headers, timeout=60)
                ),
                s3,
            )


async def test_a_worker_sums_up_what_is_long_and_removes_what_is_deleted(bench, database):
    created = await bench.http.post("/api/v1/contexts", json={"title": "night", "compact_above": 500})
    path = f"/api/v1/contexts/{created.json()['id']}"
    items = [{"text": f"the disk of node {n} was looked at and found in good order"} for n in range(50)]
    for batch in ([{"text": "a line of the log\n" * 4_000}], items):
        assert (await bench.http.post(f"{path}/items", json={"items": batch})).status_code == 201
    assert len(keys_in(bench.s3)) == 1
    async with asyncio.timeout(WITHIN_S):
        while not (found := (await bench.http.get(path)).json())["compacted_to"] or found["compaction_id"]:
            await asyncio.sleep(0.05)
    window = (await bench.http.get(f"{path}/window", params={"max_tokens": 1_500})).json()
    summaries = [item for item in window["items"] if item["why"] == "summary"]
    assert summaries[0]["covers_from"] == 1
    assert (await bench.http.delete(path)).status_code == 204
    async with asyncio.timeout(WITHIN_S):
        while keys_in(bench.s3):
            await asyncio.sleep(0.05)
    with psycopg.connect(database.superuser_url) as connection:
        left = connection.execute("SELECT count(*) FROM blobs").fetchone()
    assert left == (0,)
