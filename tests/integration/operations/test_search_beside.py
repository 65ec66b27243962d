"""What search keeps in mind is renewed beside the questions: none of them waits for it."""

from datetime import timedelta

import psycopg

from devops_mcp.embedding.base import EmbeddingModel
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import Question
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.embedding_meter import WRITTEN_AFTER
from devops_mcp.operations.search import SearchService
from devops_mcp.repositories.database import open_database
from support.embedding import FakeProvider

ME = Principal(
    id=new_id(), tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="me", grants=("search:*",)
)
LOCAL = EmbeddingModel("local", "local", "here/384", 384)


async def test_a_question_is_answered_while_its_spaces_cannot_be_counted_nor_questions_accounted_for(
    database,
):
    passed = 0.0
    began = utc_now()
    async with open_database(database.app_url, pool_size=4, application="test") as opened:
        models = EmbeddingModels([FakeProvider(LOCAL)])
        search = SearchService(
            opened,
            models,
            Metrics(),
            now=lambda: began + timedelta(seconds=passed),
            monotonic=lambda: passed,
        )
        first = await search.ask(ME, Question(query="what broke?"))
        passed += WRITTEN_AFTER.total_seconds()  # as long as the spaces are fresh
        with psycopg.connect(database.superuser_url) as holder:
            holder.execute("LOCK TABLE embedding_choices, embedding_usage IN ACCESS EXCLUSIVE MODE")
            again = await search.ask(ME, Question(query="what broke?"))
        assert (first.mode, again.mode) == ("hybrid", "hybrid")
        assert first.spaces == again.spaces == (LOCAL.space,)
        await search.close()
    with psycopg.connect(database.superuser_url) as connection:
        assert connection.execute("SELECT sum(texts) FROM embedding_usage").fetchone() == (2,)
