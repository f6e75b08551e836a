"""The feedback loop: meters that are exact where they can be, and shoppers against themselves."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import RunError
from simlab.lab import plots
from simlab.lab.config import RunConfig
from simlab.lab.feedback_loop import TRUE, meters, seen, self_caused, taste_shift, truth
from simlab.lab.holdback import HoldbackConfig, held_back
from simlab.lab.loop import run
from simlab.lab.oracle import Oracle
from simlab.lab.run import Run
from simlab.recsys.metrics import gini
from simlab.recsys.training import TrainingConfig
from simlab.streams import stream

N, ITEMS = 5, 40
WORLD = {"n_users": 150, "n_items": ITEMS, "history_days": 21}
CONFIG = RunConfig(
    preset="influence",
    days=21,
    seed=2,
    retrain="scheduled:7",
    n_positions=N,
    world=WORLD,
    training=TrainingConfig(algorithm="als", n_components=4, window_days=14),
)


def shop(factory: pytest.TempPathFactory, **changes: Any) -> Run:
    over = changes.pop("over", None)
    return run(replace(CONFIG, **changes), out=factory.mktemp("runs") / "run", over=over)


@pytest.fixture(scope="module")
def personal(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shop(tmp_path_factory)


@pytest.fixture(scope="module")
def popular(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One frozen list for everybody."""
    return shop(tmp_path_factory, retrain="never", segments=False, training=TrainingConfig(algorithm="popularity"))


@pytest.fixture(scope="module")
def chance(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shop(tmp_path_factory, retrain="never", training=TrainingConfig(algorithm="random", window_days=14))


def test_without_influence_nobody_has_moved(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Exactly: drift and shift are the shopper's own luck, whatever is shown; and no click is made."""
    change = {"influence": 0.0, "shift_day": 4, "shift_share": 0.5}
    free = shop(tmp_path_factory, days=8, world={**WORLD, "drift": 0.2, "change": change})
    table = truth(free)
    assert (table[["taste_shift", "low", "high", "made"]].to_numpy() == 0).all()
    assert (table["crowd"] == 1).all()
    moved = taste_shift(free.oracle.state(7).taste, free.oracle.state(0).taste)
    assert moved.mean() > 0.3  # though all of them have moved


def test_with_influence_they_move_and_clicks_are_made(personal: Run, popular: Run) -> None:
    """Week after week, beyond the interval of the week before; most where all get the same, who grow alike."""
    for one in (personal, popular):
        table = truth(one)
        assert (table["low"].to_numpy()[1:] > table["high"].to_numpy()[:-1]).all()
        assert (np.diff(table["made"]) > 0).all()
        assert table["made"].iloc[0] > 0
    assert truth(popular)["taste_shift"][3] > truth(personal)["high"][3]
    assert truth(popular)["crowd"][3] < 0.95 * truth(personal)["crowd"][3]


def test_chance_is_a_treatment(chance: Run) -> None:
    """Looks at all goods alike pull to the middle: the crowd shrinks, and clicks are lost. So it is no control."""
    table = truth(chance)
    assert table["low"][3] > 0.05
    assert table["crowd"][3] < 0.9
    assert table["made"][3] < 0


def test_the_shift_of_a_day_is_that_of_its_looks(popular: Run) -> None:
    """Who has not come by the second day is exactly where they would have been; whoever has looked is not."""
    away = np.bincount(popular.log.day(0)[0]["user_id"].to_numpy(), minlength=150) == 0
    shift = taste_shift(popular.oracle.state(1).taste, Oracle(popular.world).state(1).taste)
    assert away.any()
    assert (shift[away] == 0).all()
    assert (shift[~away] > 0).mean() > 0.7  # a few look at nothing


def test_a_run_against_itself_has_not_moved(personal: Run, chance: Run) -> None:
    """As its own control; and against chance it has moved, and makes clicks."""
    assert (truth(personal, personal)[["taste_shift", "made"]].to_numpy() == 0).all()
    table = meters(personal, chance)
    assert table["low"][3] > 0
    assert table["made"][3] > truth(personal)["made"][3]


def test_one_list_for_all_has_the_meters_of_its_closed_form(popular: Run) -> None:
    """5 of 40 items: Gini 1 - 5/40; categories and diversity of the one slate; all of it repeated."""
    table = seen(popular)
    slate = popular.log.day(0)[0]["item_id"].to_numpy()[:N]
    _, n = np.unique(popular.world.catalogue.category.codes[slate], return_counts=True)
    entropy = -float((n / N * np.log(n / N)).sum())
    for column, value in (
        ("gini", 1 - N / ITEMS),
        ("categories", np.exp(entropy)),
        ("diversity", 1 - float((n * (n - 1)).sum()) / (N * (N - 1))),
    ):
        assert table[column].to_numpy() == pytest.approx(value), column
    assert np.isnan(table["repeated"][1])
    assert (table["repeated"].to_numpy()[1:] == 1).all()


def test_chance_shows_everything(chance: Run, personal: Run) -> None:
    """More categories than models, a smaller Gini; what repeats is near n / N for each slate of the week before."""
    by_chance, by_model = seen(chance), seen(personal)
    assert (by_chance["gini"] < by_model["gini"] - 0.2).all()
    assert (by_chance["categories"] > by_model["categories"] + 1).all()
    assert N / ITEMS < by_chance["repeated"][3] < by_model["repeated"][3]
    shown = personal.log.sql("select item_id from impressions where day between 7 and 13")["item_id"]
    assert by_model["gini"][2] == pytest.approx(gini(np.bincount(shown, minlength=ITEMS)))


def test_what_is_learnt_from_was_shown_by_the_models(personal: Run, chance: Run) -> None:
    """Counted by hand on day 6; all of it once the window has left the old policy; none of it by chance."""
    rows = personal.log.sql("select source, clicked from impressions where day between -7 and 6 and clicked")
    assert self_caused(personal)[6] == pytest.approx((rows["source"] == "model").mean())
    assert 0 < self_caused(personal)[6] < 1
    later = personal.log.sql("select avg((source = 'model')::int) as own from impressions where day >= 7 and clicked")
    assert self_caused(personal)[20] == pytest.approx(later["own"][0])
    assert (self_caused(chance) == 0).all()


def test_a_holdback_keeps_some_of_it_from_the_models(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The rows of those held back are no model's, whose clicks are learnt from like others; who is held back is moved
    otherwise."""
    config = HoldbackConfig(share=0.5)
    done = shop(tmp_path_factory, over=held_back(config))
    rows = done.log.sql("select user_id, source from impressions where day >= 7 and clicked")
    held = config.holds(rows["user_id"].to_numpy())
    assert held.any()
    assert self_caused(done)[20] == pytest.approx(((rows["source"] == "model") & ~held).mean())


def test_an_open_window_learns_from_everything(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without a window the old policy's rows stay for ever: all rows until the day, the share grows and never is 1."""
    done = shop(tmp_path_factory, days=18, training=replace(CONFIG.training, window_days=None))
    share = self_caused(done)
    own = done.log.sql("select avg((source = 'model')::int) as own from impressions where clicked and day <= 5")["own"]
    assert share[5] == pytest.approx(own[0])
    assert (np.diff(share) > 0).all()
    assert share[-1] < 1


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_the_unit_of_the_shift_is_the_crowd(scale: float, move: float) -> None:
    """Tastes twice as long, or all moved together, are as far apart; two strangers are sqrt(2) apart in the mean."""
    rng = stream(1, "tastes")
    taste, control = rng.standard_normal((200, 6)), rng.standard_normal((200, 6))
    shift = taste_shift(taste, control)
    assert taste_shift(scale * taste + move, scale * control + move) == pytest.approx(shift)
    assert np.sqrt(np.square(shift).mean()) == pytest.approx(np.sqrt(2), rel=0.05)


def test_another_world_is_no_control(personal: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(RunError, match="another world"):
        meters(personal, shop(tmp_path_factory, days=1, seed=3))
    with pytest.raises(RunError, match="run 21"):
        meters(personal, shop(tmp_path_factory, days=1))


def test_the_figure_says_how_far_they_are(personal: Run) -> None:
    """In its title, from the last week; a loss of clicks is no share of them."""
    table = meters(personal)
    title = plots.loop(table).get_suptitle().replace("\n", " ")
    assert title.startswith(f"Week 3: shoppers are {table['taste_shift'][3]:.2f} from where they would be")
    assert list(table.columns[-len(TRUE) :]) == list(TRUE)
    assert "0 % of the clicks" in plots.loop(table.assign(made=-0.5)).get_suptitle().replace("\n", " ")
