"""Grants, what they cover, and the built-in roles."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.models.errors import InvalidInput
from devops_mcp.models.ids import OPERATOR_TENANT_ID, new_id
from devops_mcp.models.permissions import (
    BUILT_IN,
    PERMISSIONS,
    BuiltInRole,
    covers,
    require_grants,
    require_useful,
)
from devops_mcp.models.principals import Principal, PrincipalKind


def who(*grants: str, limits: tuple[tuple[str, ...], ...] = (), tenant_id=OPERATOR_TENANT_ID) -> Principal:
    return Principal(
        id=new_id(), tenant_id=tenant_id, kind=PrincipalKind.USER, name="x", grants=grants, limits=limits
    )


@pytest.mark.parametrize(
    ("grant", "permission", "covered"),
    [
        ("tools:read:*", "tools:read:github_search", True),
        ("tools:read:*", "tools:write:github_issue_write", False),
        ("tools:call:github_*", "tools:write:github_issue_write", True),
        ("tools:call:github_*", "tools:read:fs_read", False),
        ("tools:call*", "tools:call:*", False),
        ("tools:c*:x", "tools:call:x", False),
        ("tools:low:*", "tools:low:fs_read", True),
        ("tools:write:x", "tools:write:x@staging", False),
        ("tools:write:*@staging", "tools:write:x", False),
        ("contexts:?ead", "contexts:read", False),
        ("contexts:[r]ead", "contexts:read", False),
        ("contexts.read", "contextsxread", False),
        ("*", "anything:at:all", True),
    ],
)
def test_what_a_grant_covers(grant, permission, covered):
    assert covers((grant,), permission) is covered


GRANTS = st.text("ab:*", min_size=1, max_size=8)


@given(
    held=st.lists(GRANTS, max_size=3).map(tuple),
    given_on=GRANTS,
    filling=st.lists(st.text("ab:", max_size=3), min_size=8, max_size=8),
)
def test_what_may_be_handed_on_never_allows_more_than_is_held(held, given_on, filling):
    """Whatever a pattern that is covered matches is covered itself."""
    fill = iter(filling)
    matched = "".join(next(fill) if letter == "*" else letter for letter in given_on)
    if covers(held, given_on):
        assert covers((given_on,), matched)
        assert covers(held, matched)


@pytest.mark.parametrize("text", ["", "a b", "a\n", "Tools:read:*", "x" * 121, "a:*b*c*d*", "a:?", "a:[b]"])
def test_a_text_that_is_no_grant_is_refused(text):
    """I01"""
    with pytest.raises(InvalidInput):
        require_grants([text])


@pytest.mark.parametrize(
    "text",
    ["context:read", "tools:raed:*", "tools:call*", "contexts", "contexts:read:x", "tools:read"],
)
def test_a_grant_that_is_like_no_permission_is_refused_before_somebody_relies_on_it(text):
    assert not any(covers((text,), permission.grant) for permission in PERMISSIONS)
    with pytest.raises(InvalidInput, match="allows nothing"):
        require_useful(["search:read", text])


def test_every_grant_that_allows_something_is_taken():
    useful = [
        "*",
        "tools:*",
        "*:read",
        "*ex*",
        "tools:call:github_*",
        "tools:write:*@github-staging",
    ]
    named = ["integrations:*:staging-*", "*:read:*@eu", "tools:*:fs_read", "t*s:l*w:x", "platform:*"]
    require_useful([*useful, *named, *(permission.grant for permission in PERMISSIONS)])
    require_useful(grant for role in BUILT_IN.values() for grant in role)


def test_each_role_may_all_that_the_next_one_may():
    order = [
        BuiltInRole.OWNER,
        BuiltInRole.ADMIN,
        BuiltInRole.OPERATOR,
        BuiltInRole.DEVELOPER,
        BuiltInRole.VIEWER,
    ]
    for higher, lower in itertools.pairwise(order):
        assert [grant for grant in BUILT_IN[lower] if not covers(BUILT_IN[higher], grant)] == []
        assert [grant for grant in BUILT_IN[higher] if not covers(BUILT_IN[lower], grant)] != []
    assert [
        grant for grant in BUILT_IN[BuiltInRole.AGENT] if not covers(BUILT_IN[BuiltInRole.ADMIN], grant)
    ] == []


def test_only_the_operators_tenant_can_run_the_platform():
    assert who("*").may("platform:write")
    assert not who("*", "platform:*", tenant_id=new_id()).may("platform:write")
    assert not who("*", tenant_id=new_id()).may("platform:*")


def test_a_principal_stays_within_each_of_its_limits():
    """A key of a user who was made a viewer does what viewers may, whatever it was made with."""
    narrowed = who("*", limits=(BUILT_IN[BuiltInRole.VIEWER],))
    assert narrowed.may("contexts:read")
    assert not narrowed.may("contexts:write")
    assert not narrowed.may("*")
    by_risk = who("tools:low:*", limits=(("tools:read:*",),))
    assert by_risk.may("tools:read:fs_read", "tools:low:fs_read")
    assert not by_risk.may("tools:write:fs_write", "tools:low:fs_write")


def test_the_table_is_in_order_and_names_each_permission_once():
    names = [permission.name for permission in PERMISSIONS]
    assert names == sorted(set(names))
