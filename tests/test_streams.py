import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.streams import stream, uniforms

SEEDS = st.integers(0, 2**63)


@given(SEEDS, st.lists(st.integers(0, 40_000), max_size=30), st.integers(0, 7))
def test_any_rows_drawn_alone_equal_the_rows_of_the_whole_table(seed: int, rows: list[int], n: int) -> None:
    """uniforms(rows)[k] is row rows[k] of the whole table, bit for bit, across the blocks and in any order."""
    whole = uniforms(seed, "luck", 3, rows=np.arange(40_001), n=n)
    some = uniforms(seed, "luck", 3, rows=np.array(rows, dtype=np.int64), n=n)
    assert some.shape == (len(rows), n)
    assert (some == whole[rows]).all()


def test_row_zero_begins_the_stream_itself() -> None:
    """The table is the stream cut into rows: nothing is skipped or drawn twice."""
    table = uniforms(5, "luck", rows=np.arange(20_000), n=3)
    assert (table.ravel() == stream(5, "luck").random(60_000)).all()


@given(SEEDS, SEEDS, st.text(max_size=5), st.text(max_size=5), st.integers(-3, 3))
def test_other_names_and_seeds_give_other_numbers(seed: int, other: int, name: str, word: str, number: int) -> None:
    """A name's parts, their order, their type and their number all count."""
    names: set[tuple[str | int, ...]] = {(name,), (name, word), (name, number), (name, str(number)), (number, name)}
    firsts = {stream(seed, *parts).random() for parts in names}
    assert len(firsts) == len(names)
    assert (stream(other, name).random() in firsts) == (other == seed)


def test_streams_do_not_correlate() -> None:
    """Streams of one seed are independent (made carelessly, they correlate at 0.79): |r| < 5 / sqrt(n)."""
    n = 200_000
    draws = np.array([stream(1, name).random(n) for name in ("a", "b", "a\x1fb")] + [stream(1, "a", "b").random(n)])
    correlation = np.corrcoef(draws) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "7"])
def test_a_seed_that_is_not_a_whole_number_is_refused(seed: object) -> None:
    """The error names the seed."""
    with pytest.raises(ConfigError, match="seed"):
        stream(seed)  # type: ignore[arg-type]


def test_a_number_is_the_same_name_whoever_made_it() -> None:
    """numpy's whole numbers name the same stream as Python's, whichever was asked for first; others are refused."""
    assert stream(7, "a", np.int64(3)).random() == stream(7, "a", 3).random()
    assert stream(7, "b", 4).random() == stream(int(np.int64(7)), "b", np.int32(4)).random()
    assert stream(7, "c", 1).random() != stream(7, "c", "1").random()
    for part in (True, 1.0, None):
        with pytest.raises(ConfigError, match="stream's name"):
            stream(7, "c", part)  # type: ignore[arg-type]


def test_rows_below_zero_are_refused() -> None:
    """Jumping backwards would wrap round the whole period in silence."""
    with pytest.raises(ConfigError, match="rows"):
        uniforms(1, "luck", rows=np.array([3, -1]), n=2)
