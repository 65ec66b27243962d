"""How many connections that last one caller may have, and one tenant."""

from contextlib import ExitStack

import pytest

from devops_mcp.models.errors import RateLimited
from devops_mcp.models.ids import new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.serving.lasting import REASON, Lasting

TENANT = new_id()


def somebody(tenant_id=TENANT, user_id=None) -> Principal:
    kind = PrincipalKind.USER if user_id else PrincipalKind.AGENT
    return Principal(id=new_id(), tenant_id=tenant_id, kind=kind, name="x", grants=("*",), user_id=user_id)


@pytest.mark.parametrize(
    ("connections", "of_one", "caller_may", "tenant_may"),
    [
        (10_000, 5_000, 5_000, 8_000),
        (10_000, 10, 10, 20),
        (960, 5_000, 480, 768),
        (1, 5_000, 1, 1),
        (50, 0, 50, 50),
    ],
)
def test_a_caller_may_so_many_and_a_tenants_callers_twice_as_many(
    connections, of_one, caller_may, tenant_may
):
    told: list[str] = []
    lasting = Lasting(connections, of_one, told.append, "streams")
    with ExitStack() as stack:

        def opened(principal: Principal, wanted: int) -> int:
            for count in range(wanted):
                try:
                    stack.enter_context(lasting.held(principal))
                except RateLimited:
                    return count
            return wanted

        counts = [opened(somebody(), connections + 1) for _ in range(3)]
        assert counts[0] == caller_may
        assert sum(counts) == tenant_may
        assert opened(somebody(new_id()), 1) == 1
        refused = len(told)
    assert (refused, set(told)) == (3, {REASON})
    with lasting.held(somebody()):
        assert lasting._callers.total() == lasting._tenants.total() == 1
    assert not lasting._callers
    assert not lasting._tenants


def test_all_keys_of_a_user_are_one_caller():
    lasting, user = Lasting(5_000, 1, lambda _: None, "x"), new_id()
    with (
        lasting.held(somebody(user_id=user)),
        pytest.raises(RateLimited),
        lasting.held(somebody(user_id=user)),
    ):
        pass
