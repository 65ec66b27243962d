"""Secrets at rest, each in an envelope of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from devops_mcp.auth.envelope import Envelope
from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import SealBroken

OLD, NEW = (
    SecretStr("the master key of last year, long enough"),
    SecretStr("the master key of now, long enough too"),
)
CONTENT, PLACE, ADDRESS = b"canary-5b1d", "tenant/table/row/1", "https://example.com"


def envelope(*masters: SecretStr) -> Envelope:
    return Envelope(Keyring(masters or (NEW,)))


def test_what_is_sealed_opens_where_it_was_sealed_for_and_shows_nothing_meanwhile():
    sealed = envelope().close(CONTENT, PLACE, ADDRESS)
    assert b"canary" not in sealed
    assert envelope().open(sealed, PLACE, ADDRESS) == CONTENT
    assert envelope().close(CONTENT, PLACE, ADDRESS) != sealed


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("other/table/row/1", ADDRESS),
        ("tenant/table/row/2", ADDRESS),
        (PLACE, "https://evil.example"),
        (PLACE, ""),
    ],
)
def test_it_does_not_open_in_anothers_place_nor_for_another_address(place, address):
    """K03"""
    with pytest.raises(SealBroken):
        envelope().open(envelope().close(CONTENT, PLACE, ADDRESS), place, address)


@given(st.data())
def test_no_bit_of_it_can_change_and_no_end_be_cut_off(data):
    """K03"""
    sealed = bytearray(envelope().close(CONTENT, PLACE))
    position = data.draw(st.integers(0, len(sealed) * 8 - 1))
    length = data.draw(st.integers(0, len(sealed) - 1))
    cut = bytes(sealed[:length])
    sealed[position // 8] ^= 1 << position % 8
    for wrong in (bytes(sealed), cut):
        with pytest.raises(SealBroken):
            envelope().open(wrong, PLACE)


def test_a_key_is_exchanged_without_knowing_the_address_and_without_touching_the_content():
    sealed = envelope(OLD).close(CONTENT, PLACE, ADDRESS)
    anew = envelope(NEW, OLD).anew(sealed, PLACE)
    assert envelope(NEW).open(anew, PLACE, ADDRESS) == CONTENT
    assert anew[68:] == sealed[68:]
    with pytest.raises(SealBroken):
        envelope(NEW).open(sealed, PLACE, ADDRESS)
    with pytest.raises(SealBroken):
        envelope(NEW, OLD).anew(sealed, "tenant/table/row/2")
