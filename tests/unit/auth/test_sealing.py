"""Secrets at rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import SealBroken, SecretSeal

OLD, NEW = (
    SecretStr("the master key of last year, long enough"),
    SecretStr("the master key of now, long enough too"),
)
SECRET = SecretStr("whsec_canary-5b1d")
PLACE = "tenant/table/row/1"


def seal(*masters: SecretStr) -> SecretSeal:
    return SecretSeal(Keyring(masters or (NEW,)))


def test_a_secret_opens_where_it_was_sealed_for_and_shows_nothing_meanwhile():
    sealed = seal().close(SECRET, PLACE)
    assert b"canary" not in sealed
    assert seal().open(sealed, PLACE) == SECRET
    assert seal().close(SECRET, PLACE) != sealed


@pytest.mark.parametrize("place", ["other/table/row/1", "tenant/table/other/1", "tenant/table/row/2", ""])
def test_a_secret_does_not_open_in_anothers_place_nor_as_another_version(place):
    """K03"""
    with pytest.raises(SealBroken):
        seal().open(seal().close(SECRET, PLACE), place)


@given(st.data())
def test_no_bit_of_what_is_sealed_can_change(data):
    """K03"""
    sealed = bytearray(seal().close(SECRET, PLACE))
    position = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[position // 8] ^= 1 << position % 8
    with pytest.raises(SealBroken):
        seal().open(bytes(sealed), PLACE)


@pytest.mark.parametrize("length", range(0, 40, 3))
def test_what_was_cut_off_is_refused(length):
    """K03"""
    with pytest.raises(SealBroken):
        seal().open(seal().close(SECRET, PLACE)[:length], PLACE)


def test_a_new_master_key_seals_and_the_old_one_still_opens_until_it_is_taken_away():
    before, between, after = seal(OLD), seal(NEW, OLD), seal(NEW)
    sealed = before.close(SECRET, PLACE)
    assert between.open(sealed, PLACE) == SECRET
    assert not between.is_current(sealed)
    assert between.is_current(between.close(SECRET, PLACE))
    with pytest.raises(SealBroken, match="not among the master keys"):
        after.open(sealed, PLACE)
