"""A world in a file: the same bytes, the same world, and nothing else is taken for one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.errors import DataError
from simlab.testing import EVERYTHING
from simlab.world.birth import make_world, part
from simlab.world.snapshot import from_bytes, to_bytes
from simlab.world.truth import World
from simlab.world_laws import difference, live

SMALL = make_world(replace(EVERYTHING, n_users=5, n_items=4, name="Läden & mehr"), 1)
DATA = to_bytes(SMALL)


def test_a_world_comes_back_from_its_file() -> None:
    """to_bytes and from_bytes are inverse, on any day, and for a part of a world; config and names too."""
    (later,), _ = live([SMALL], 5)
    for world in (SMALL, later, part(later, np.array([3, 1]))):
        again = from_bytes(to_bytes(world))
        assert to_bytes(again) == to_bytes(world)
        assert again.config == world.config
        assert again.catalogue.name == world.catalogue.name
        assert again.shoppers.segment.words() == world.shoppers.segment.words()
        assert again.state.day == world.state.day
        assert again.rows.tolist() == world.rows.tolist()


def test_a_loaded_world_goes_on_as_itself() -> None:
    """Infinite stock, memories in single precision and those who left are kept: the same bytes on every later day."""
    world = make_world(replace(EVERYTHING, change=replace(EVERYTHING.change, stock=0)), 12)
    (middle,), _ = live([world], 5)
    _, told = live([middle], 4)
    _, retold = live([from_bytes(to_bytes(middle))], 4)
    assert difference(told, retold) is None
    nudged = replace(middle, state=replace(middle.state, taste=middle.state.taste * (1 + 1e-15)))
    assert difference(told, live([nudged], 4)[1]) is not None


def changed(**arrays: object) -> World:
    return replace(SMALL, state=replace(SMALL.state, **arrays))  # type: ignore[arg-type]


def test_every_number_of_the_state_is_in_the_file() -> None:
    """Another number anywhere gives other bytes."""
    state = SMALL.state
    others = {
        "day": state.day + 1, "taste": state.taste + 1, "home": state.home + 1, "present": ~state.present,
        "satisfaction": state.satisfaction + 1, "boredom": state.boredom + 1, "seen_item": state.seen_item + 1,
        "seen_level": state.seen_level + 1, "wanted": state.wanted + 1, "fashion": state.fashion + 1,
        "price": state.price + 1, "price_index": state.price_index + 1, "stock": state.stock + 1,
        "due": state.due + 1,
    }  # fmt: skip
    assert others.keys() == vars(state).keys()
    for name, value in others.items():
        assert to_bytes(changed(**{name: value})) != DATA, name


@settings(deadline=None)
@given(st.integers(0, len(DATA) - 1), st.binary(max_size=40))
def test_what_is_no_world_is_refused_in_words(at: int, junk: bytes) -> None:
    """Cut short, or junk: a DataError that names the file."""
    for data in (DATA[:at], junk, junk + DATA[:at]):
        with pytest.raises(DataError, match="my.npz"):
            from_bytes(data, "my.npz")


@settings(deadline=None)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_damaged_byte_is_found_or_harmless(at: int, change: int) -> None:
    """A flipped byte: the file is refused, or the same world comes back; never another world."""
    data = bytearray(DATA)
    data[at] ^= change
    try:
        again = from_bytes(bytes(data))
    except DataError:
        return
    assert to_bytes(again) == DATA
