"""LocalStack does what the conformance suite asks, so that what our own server is held to is SQS and not our idea of it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.localstack import LocalStack, ensure_installed
from support.sqs_conformance import SqsConformance, sqs  # noqa: F401

pytestmark = pytest.mark.systems


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sqs_endpoint(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    server = LocalStack(ensure_installed(), tmp_path_factory.mktemp("localstack"))
    await server.start()
    yield server.url
    server.stop()


class TestLocalStackSqs(SqsConformance):
    """Everything is inherited."""
