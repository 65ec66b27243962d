from devops_mcp.models.errors import UpstreamUnavailable
from devops_mcp.resilience.policies import PolicyTable


def test_each_integration_has_policies_of_its_own_that_last():
    table = PolicyTable()

    assert table.of("a") is table.of("a")
    assert table.of("a").breaker is not table.of("b").breaker
    assert table.of("a").retry.budget is not table.of("b").retry.budget


def test_the_snapshot_tells_the_state_of_each_by_its_key():
    table = PolicyTable()
    table.of("quiet")
    try:
        with table.of("failing").breaker.guard():
            raise UpstreamUnavailable("down")
    except UpstreamUnavailable:
        pass

    snapshot = table.snapshot()

    assert {key: policies.breaker.failures for key, policies in snapshot.items()} == {
        "quiet": 0,
        "failing": 1,
    }


def test_a_forgotten_integration_begins_anew():
    table = PolicyTable()
    before = table.of("a")

    table.forget("a")

    assert table.of("a") is not before


def test_a_refusal_names_the_integration_as_its_tenant_does():
    policies = PolicyTable().of("00000000-0000-7000-8000-000000000001/prom-eu", "prom-eu")
    assert (policies.breaker.name, policies.bulkhead.name) == ("prom-eu", "prom-eu")
