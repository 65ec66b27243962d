"""Our queue server does what the conformance suite asks, which LocalStack is held to in `tests/systems/test_sqs_localstack.py`."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.sqs_conformance import SqsConformance, sqs  # noqa: F401
from support.sqs_server import SqsServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sqs_endpoint(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    server = SqsServer(tmp_path_factory.mktemp("sqs"), durability="machine")
    await server.start()
    yield server.url
    assert server.stop() == 0


class TestEmbeddedSqs(SqsConformance):
    """Everything is inherited."""
