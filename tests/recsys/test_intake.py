"""What is fit to be logged: whatever comes, what is left has the schema, each row once, and of the day."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from simlab.recsys.intake import admit
from simlab.recsys.log import EventLog
from simlab.tables import FEEDBACK, IMPRESSIONS
from tests.recsys.rows import feedback, impressions

DAY = 3
SHOWN = impressions(
    pd.DataFrame(
        {
            "visit": [1, 1, 2],
            "day": [DAY] * 3,
            "user_id": [0, 0, 1],
            "item_id": [1, 2, 3],
            "clicked": [True, False, True],
        }
    )
)
HEARD = feedback(
    pd.DataFrame(
        {
            "impression_id": [5, 6],
            "item_id": [1, 2],
            "kind": ["purchase", "return"],
            "day": [DAY] * 2,
            "value": [2.0, 3.0],
        }
    )
)


def test_what_is_sound_passes_as_it_is() -> None:
    """The same rows, in the same order."""
    shown, heard = admit(DAY, SHOWN, HEARD, 9)
    assert shown.equals(SHOWN)
    assert heard.equals(HEARD)


@pytest.mark.parametrize(
    ("shown", "n"),
    [
        (pa.concat_tables([SHOWN, SHOWN.slice(0, 2)]), 3),
        (SHOWN.set_column(2, IMPRESSIONS.field("day"), pa.array([DAY, DAY + 1, None], pa.int32())), 1),
        (SHOWN.rename_columns(["click" if name == "clicked" else name for name in SHOWN.column_names]), 3),
        (SHOWN.append_column("extra", pa.array([1, 2, 3])), 3),
        (SHOWN.set_column(5, "item_id", pa.array(["1", "two", "3"])), 0),
        (SHOWN.drop_columns(["user_id"]), 0),
        (SHOWN.slice(0, 0), 0),
        (SHOWN.set_column(5, "item_id", pa.array([1, 2**40, 3])), 2),
        (SHOWN.set_column(5, IMPRESSIONS.field("item_id"), pa.array([1, 9, -5], pa.int32())), 1),
    ],
    ids=[
        "twice",
        "days",
        "renamed",
        "extra",
        "words for numbers",
        "without users",
        "nothing",
        "too large",
        "no such goods",
    ],
)
def test_what_is_left_can_be_logged(shown: pa.Table, n: int, tmp_path: Path) -> None:
    """The log takes it, and it has as many rows as there were sound ones."""
    fit, heard = admit(DAY, shown, HEARD, 9)
    assert fit.num_rows == n
    log = EventLog(tmp_path / "log")
    log.append(DAY, fit, heard)
    assert log.day(DAY)[0].num_rows == n


def test_of_two_copies_the_first_stays() -> None:
    """The later one says otherwise, and is not heard."""
    again = SHOWN.set_column(12, IMPRESSIONS.field("clicked"), pa.array([False, True, False]))
    shown, _ = admit(DAY, pa.concat_tables([SHOWN, again]), HEARD, 9)
    assert shown["clicked"].to_pylist() == [True, False, True]


def test_feedback_of_no_kind_is_left_out() -> None:
    """Two rows of one impression and kind are one; another kind of the same impression is another row."""
    rows = pd.DataFrame(
        {
            "impression_id": [5, 5, 5, 7],
            "item_id": [1, 1, 1, 2],
            "kind": ["purchase", "purchase", "return", "gift"],
            "day": [DAY] * 4,
            "value": [2.0, 9.0, 2.0, 1.0],
        }
    )
    _, heard = admit(DAY, SHOWN, pa.table({name: pa.array(rows[name]) for name in FEEDBACK.names}).cast(FEEDBACK), 9)
    assert heard.num_rows == 2
    assert np.allclose(heard["value"].to_numpy(), [2.0, 2.0])
