"""Spoiling: what can befall the tables of a day on their way to the log; see simlab.lab.incidents."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simlab.recsys.letters import SECONDS, first_id, user_of
from simlab.schema import Ints
from simlab.streams import stream
from simlab.tables import FEEDBACK

if TYPE_CHECKING:
    from simlab.lab.watched import Watched

Tables = tuple[pa.Table, pa.Table]
"""The IMPRESSIONS and the FEEDBACK of a day."""

Spoiler = Callable[["Watched", int, pa.Table, pa.Table], Tables]

NOTHING = FEEDBACK.empty_table()


def late(shop: "Watched", day: int, impressions: pa.Table, feedback: pa.Table) -> Tables:
    """Four of five purchases come three to seven days later."""
    rng = stream(shop.seed, "late events", day)
    luck, delay = rng.random(feedback.num_rows), rng.integers(3, 8, size=feedback.num_rows)
    bought = pc.equal(feedback["kind"].cast(pa.string()), "purchase").to_numpy(zero_copy_only=False)
    slow = bought & (luck < 0.8)
    coming = _with(feedback.filter(pa.array(slow)), "day", day + delay[slow])
    in_time, shop.held = released(feedback.filter(pa.array(~slow)), pa.concat_tables([shop.held, coming]), day, day)
    return impressions, in_time


def released(feedback: pa.Table, held: pa.Table, until: int, day: int) -> Tables:
    """What comes on `day`, with what was `held` back until then; and what is still held."""
    due = pc.less_equal(held["day"], until)
    arrived = held.filter(due)
    arrived = _with(arrived, "day", np.full(arrived.num_rows, day))
    return pa.concat_tables([feedback, arrived]).unify_dictionaries(), held.filter(pc.invert(due))


def twice(shop: "Watched", day: int, impressions: pa.Table, feedback: pa.Table) -> Tables:
    """A third of the feedback and a twentieth of the impressions once more."""
    rng = stream(shop.seed, "duplicate events", day)
    again = [
        table.filter(pa.array(rng.random(table.num_rows) < share))
        for table, share in ((impressions, 0.05), (feedback, 0.33))
    ]
    return pa.concat_tables([impressions, again[0]]), pa.concat_tables([feedback, again[1]])


def dropped(shop: "Watched", day: int, impressions: pa.Table, feedback: pa.Table) -> Tables:
    """What shoppers of the first region did is not told."""
    lost = _members(shop, impressions["user_id"].to_numpy())
    heard = pa.array(~_members(shop, user_of(feedback["impression_id"].to_numpy())))
    clicked = impressions["clicked"].to_numpy(zero_copy_only=False) & ~lost
    dwell = pc.if_else(pa.array(clicked), impressions["dwell"], None)
    return _with(_with(impressions, "clicked", clicked), "dwell", dwell), feedback.filter(heard)


def _members(shop: "Watched", user_id: Ints) -> np.ndarray:
    people = shop.ring.world.shoppers
    return np.asarray(people.region.codes[np.clip(user_id, 0, len(people) - 1)] == 0)


def skewed(shop: "Watched", day: int, impressions: pa.Table, feedback: pa.Table) -> Tables:
    """Every third shopper's rows are eight hours later, some of them on the next day."""
    fast = impressions["user_id"].to_numpy() % 3 == 0
    second = impressions["second"].to_numpy() + 8 * 3600 * fast
    moved = _with(impressions, "day", impressions["day"].to_numpy() + second // SECONDS)
    return _with(moved, "second", second % SECONDS), feedback


def renamed(shop: "Watched", day: int, impressions: pa.Table, feedback: pa.Table) -> Tables:
    """The column `clicked` is called `click`."""
    names = ["click" if name == "clicked" else name for name in impressions.column_names]
    return impressions.rename_columns(names), feedback


def cents(shop: "Watched", day: int, impressions: pa.Table, feedback: pa.Table) -> Tables:
    """Money is a hundred times as much."""
    money = pc.is_in(feedback["kind"].cast(pa.string()), pa.array(["purchase", "return"]))
    return impressions, _with(
        feedback, "value", pc.if_else(money, pc.multiply(feedback["value"], 100.0), feedback["value"])
    )


def upside_down(shop: "Watched", day: int, impressions: pa.Table, feedback: pa.Table) -> Tables:
    """The last position is called the first."""
    return _with(
        impressions, "position", shop.ring.config.n_positions - 1 - impressions["position"].to_numpy()
    ), feedback


def silent(shop: "Watched", day: int, impressions: pa.Table, feedback: pa.Table) -> Tables:
    """Nothing comes."""
    return impressions.slice(0, 0), feedback.slice(0, 0)


N_BOTS, BOT_SLATES = 3, 40


def bots(shop: "Watched", day: int, impressions: pa.Table, feedback: pa.Table) -> Tables:
    """Slates like others of the day, but with one item in them, which is clicked; 40 of each of three accounts."""
    rng, n = stream(shop.seed, "bots", day), shop.ring.config.n_positions
    position = impressions["position"].to_numpy()
    firsts = np.flatnonzero(position == 0)
    firsts = firsts[firsts + n <= len(position)]
    firsts = firsts[position[firsts + n - 1] == n - 1]  # whole slates
    if len(firsts) == 0:
        return impressions, feedback
    slate = rng.choice(firsts, size=N_BOTS * BOT_SLATES)
    rows = impressions.take(pa.array((slate[:, None] + np.arange(n)).ravel()))
    bot, number = np.divmod(np.arange(N_BOTS * BOT_SLATES), BOT_SLATES)
    user_id = shop.ring.config.world_config().n_users - 1 - bot
    request_id = first_id(day) | (user_id << 16) | ((12 + number // 16) << 12) | ((number % 16) << 8)
    item_id = rows["item_id"].to_numpy().reshape(-1, n).copy()
    target = int(stream(shop.seed, "bots").integers(item_id.max() // 2 + 1))
    without = ~(item_id == target).any(axis=1)
    item_id[without, rng.integers(n, size=int(without.sum()))] = target
    clicked = (item_id == target).ravel()
    whole = np.repeat(request_id, n)
    for name, values in (
        ("request_id", whole),
        ("impression_id", whole | np.tile(np.arange(n), len(slate))),
        ("user_id", np.repeat(user_id, n)),
        ("item_id", item_id.ravel()),
        ("second", np.repeat(rng.integers(SECONDS, size=len(slate)), n)),
        ("clicked", clicked),
        ("dwell", np.where(clicked, 1.0, np.nan)),
    ):
        rows = _with(rows, name, pa.array(values, from_pandas=True))
    return pa.concat_tables([impressions, rows]), feedback


def _with(table: pa.Table, name: str, values: object) -> pa.Table:
    """The table with other values in a column, of the same type."""
    kind, place = table.schema.field(name).type, table.column_names.index(name)
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    return table.set_column(place, table.schema.field(name), array.cast(kind))
