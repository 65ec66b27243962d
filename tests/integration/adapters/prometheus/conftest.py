from collections.abc import AsyncIterator

import pytest

from devops_mcp.adapters.prometheus.client import Prometheus
from support.prometheus_calls import connected
from support.prometheus_fake import PrometheusFake


@pytest.fixture
def fake() -> PrometheusFake:
    return PrometheusFake()


@pytest.fixture
async def client(fake: PrometheusFake) -> AsyncIterator[Prometheus]:
    async with connected(fake.app) as connection:
        yield connection
