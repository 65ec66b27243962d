from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.outbound.addresses import may_reach, parse_networks
from support.addresses import FORBIDDEN, METADATA


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_address_that_is_not_public_is_refused(address):
    """I05"""
    assert not may_reach(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "140.82.112.3", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:140.82.112.3"]
)
def test_a_public_address_is_allowed(address):
    assert may_reach(address)


@pytest.mark.parametrize("address", ["", "localhost", "127.1", "0x7f.1", "2130706433", "1.2.3.4/32", "::g"])
def test_what_is_no_address_is_refused(address):
    assert not may_reach(address)


def test_the_operator_opens_one_network_and_no_more():
    opened = parse_networks(["10.2.0.0/16", "fd12::/32"])

    assert may_reach("10.2.3.4", opened)
    assert may_reach("::ffff:10.2.3.4", opened)
    assert may_reach("fd12::9", opened)
    assert not may_reach("10.3.0.1", opened)
    assert not may_reach("fd13::9", opened)
    assert not may_reach("127.0.0.1", opened)


@pytest.mark.parametrize("address", METADATA)
def test_metadata_services_stay_closed_whatever_is_opened(address):
    """I06"""
    assert not may_reach(address, parse_networks(["0.0.0.0/0", "::/0"]))


def test_a_network_that_is_not_written_as_cidr_is_refused():
    with pytest.raises(ValueError, match="host bits"):
        parse_networks(["10.0.0.1/8"])


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_like_the_address_within(address: IPv4Address):
    assert may_reach(f"::ffff:{address}") == may_reach(str(address))


@given(st.ip_addresses(v=6))
def test_ipv6_outside_of_global_unicast_is_never_allowed(address: IPv6Address):
    if address.ipv4_mapped is None and not 0x2000 <= int(address) >> 112 < 0x4000:
        assert not may_reach(str(address))
