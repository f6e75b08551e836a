"""The company as the ring meets it: told of the day, asked for slates, told what came; what it logs it remembers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from simlab.errors import ModelError, RunError
from simlab.lab.company import Company, InProcess
from simlab.recsys.log import EventLog
from simlab.recsys.models import PopularityModel, SegmentModel
from simlab.recsys.online import OnlineConfig
from simlab.recsys.registry import Registry
from simlab.recsys.service import Service
from simlab.schema import NEVER, Catalogue, Clicks, Labels, Outcomes, Requests, Shoppers, Slates
from simlab.tables import FEEDBACK, IMPRESSIONS, History, to_feedback, to_impressions
from simlab.testing import check_slates

N_ITEMS, N_USERS = 12, 6

PRICE = np.full(N_ITEMS, 5.0)

LISTENING = OnlineConfig(suppress_days=3)


def goods() -> Catalogue:
    """Ten items, and one more on each of the days 1 and 2."""
    words = Labels.constant("toys", N_ITEMS)
    return Catalogue(
        name=("thing",) * N_ITEMS,
        category=words,
        brand=words,
        price=PRICE,
        margin=np.full(N_ITEMS, 0.3),
        launch_day=np.maximum(np.arange(N_ITEMS) - 9, 0),
        retire_day=np.full(N_ITEMS, NEVER),
    )


def people() -> Shoppers:
    """Two kinds; the last shopper comes on day 1."""
    words = Labels(codes=np.arange(N_USERS) % 2, names=("a", "b"))
    return Shoppers(segment=words, region=words, arrival_day=np.array([0] * (N_USERS - 1) + [1]))


def favouring(item_id: int) -> PopularityModel:
    return PopularityModel(score=np.arange(10.0) + 100 * (np.arange(10) == item_id))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log without history and a registry with two models, "old" at work."""
    EventLog(tmp_path / "log").import_history(
        History(impressions=IMPRESSIONS.empty_table(), feedback=FEEDBACK.empty_table())
    )
    registry = Registry(tmp_path / "models")
    for version, item_id in (("old", 3), ("new", 4)):
        registry.register(favouring(item_id), version, {"trained_day": 0})
    registry.promote("old", day=0, actor="test", reason="the first")
    return tmp_path


def company(folder: Path, online: OnlineConfig | None = None) -> InProcess:
    kinds = SegmentModel(
        score=np.array([np.arange(10.0), -np.arange(10.0)]), segment=people().arrived_by(0).segment.codes
    )
    log = EventLog(folder / "log")
    service = Service(goods().launched_by(len(log.days)), favouring(0), segment=kinds, online=online)
    return InProcess(service, log, Registry(folder / "models"), goods(), people())


EVERYTHING = np.ones(N_ITEMS, dtype=np.bool_)

NOTHING = FEEDBACK.empty_table()


def visits(day: int, *user_id: int, n: int = 3) -> Requests:
    return Requests(
        day=day, user_id=np.array(user_id, dtype=np.int64), visit=np.zeros(len(user_id), dtype=np.int64), n=n
    )


def bought(slates: Slates, row: int, position: int, day: int) -> tuple[Outcomes, pa.Table]:
    """One click that is followed by a purchase on `day`, and the FEEDBACK of it."""
    clicked = np.zeros(slates.item_id.shape, dtype=np.bool_)
    clicked[row, position] = True
    clicks = Clicks(
        place=np.flatnonzero(clicked),
        dwell=np.array([9.0]),
        units=np.array([1]),
        purchase_day=np.array([day]),
        rating=np.array([0]),
        rating_day=np.array([NEVER]),
        return_day=np.array([NEVER]),
    )
    outcomes = Outcomes(examined=clicked, clicked=clicked, clicks=clicks)
    return outcomes, to_feedback(slates, outcomes, PRICE)


def test_it_shows_what_is_there_on_the_day(folder: Path) -> None:
    """Lawful slates of goods that are launched and can be delivered; who has come is known by their kind."""
    mine: Company = company(folder)
    mine.open_day(0, np.arange(10) != 3, NOTHING)
    slates = mine.show(visits(0, 0, 1))
    check_slates(slates, goods())
    assert slates.item_id.tolist() == [[9, 8, 7]] * 2
    mine.close_day(0, to_impressions(slates, bought(slates, 0, 0, 0)[0]), NOTHING)
    mine.open_day(1, EVERYTHING, NOTHING)
    slates = mine.show(visits(1, 5, n=11))
    assert slates.model_version.words() == ["fallback-static"]  # eleven items are there, and no model knows so many
    assert sorted(slates.item_id[0].tolist()) == list(range(11))


def test_it_serves_the_traffic_of_the_registry(folder: Path) -> None:
    """As it stood when it was last told: at the beginning, in the morning, and when it is told within the day."""
    mine, registry = company(folder), Registry(folder / "models")
    assert mine.show(visits(0, 0)).model_version.words() == ["old"]
    registry.promote("new", day=0, actor="test", reason="to see")
    mine.open_day(0, EVERYTHING, NOTHING)
    assert mine.show(visits(0, 0)).model_version.words() == ["new"]
    registry.rollback(day=0, actor="test", reason="to see")
    mine.refresh()
    assert mine.show(visits(0, 0)).model_version.words() == ["old"]
    registry.promote("new", day=0, actor="test", reason="again")
    (folder / "models" / "new" / "arrays.npz").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="new"):
        company(folder)


def test_what_is_told_changes_the_next_slate(folder: Path) -> None:
    """A purchase of the same day is heard at once, by who listens; one of a later day when it arrives."""
    for online, shown in ((LISTENING, [9, 8, 7]), (OnlineConfig(), [3, 9, 8])):
        mine = company(folder, online)
        mine.open_day(0, EVERYTHING, NOTHING)
        slates = mine.show(visits(0, 0, 2))
        outcomes, feedback = bought(slates, 0, 0, day=0)
        mine.tell(slates, outcomes, feedback)
        assert mine.show(visits(0, 0, 2)).item_id.tolist() == [shown, [3, 9, 8]]
    mine = company(folder, LISTENING)
    mine.open_day(0, EVERYTHING, NOTHING)
    slates = mine.show(visits(0, 0, 2))
    outcomes, feedback = bought(slates, 1, 0, day=1)
    mine.tell(slates, outcomes, NOTHING)
    assert mine.show(visits(0, 2)).item_id.tolist() == [[3, 9, 8]]
    mine.close_day(0, to_impressions(slates, outcomes), NOTHING)
    mine.open_day(1, EVERYTHING, feedback)
    assert mine.show(visits(1, 0, 2)).item_id.tolist() == [[3, 9, 8], [9, 8, 7]]


def test_a_company_that_starts_again_shows_the_same(folder: Path) -> None:
    """What it knows of past days is in the log: after a crash nothing is missing."""
    mine = company(folder, replace(LISTENING, exploration="thompson", candidates=5))
    mine.open_day(0, EVERYTHING, NOTHING)
    slates = mine.show(visits(0, 0, 2, 4))
    outcomes, feedback = bought(slates, 1, 1, day=0)
    mine.tell(slates, outcomes, feedback)
    mine.close_day(0, to_impressions(slates, outcomes), feedback)
    again = company(folder, mine.service.live.config)
    for one in (mine, again):
        one.open_day(1, EVERYTHING, NOTHING)
    first, second = (one.show(visits(1, *range(6))) for one in (mine, again))
    np.testing.assert_array_equal(first.item_id, second.item_id)
    np.testing.assert_array_equal(first.propensity, second.propensity)
    assert slates.item_id[1, 1] not in first.item_id[2]


def test_what_a_version_in_quarantine_has_shown_is_forgotten(folder: Path) -> None:
    """Purchases by its slates hold nothing back, whether they came before the verdict or arrive after it."""
    mine, registry = company(folder, LISTENING), Registry(folder / "models")
    registry.promote("new", day=0, actor="test", reason="to see")
    mine.open_day(0, EVERYTHING, NOTHING)
    slates = mine.show(visits(0, 0, 2))
    early, at_once = bought(slates, 0, 1, day=0)
    _, to_come = bought(slates, 1, 1, day=1)
    mine.tell(slates, early, at_once)
    assert mine.show(visits(0, 0)).item_id.tolist() == [[4, 8, 7]]
    mine.close_day(0, to_impressions(slates, early), at_once)
    registry.rollback(day=1, actor="test", reason="it was bad")
    mine.open_day(1, EVERYTHING, to_come)
    assert mine.show(visits(1, 0, 2)).item_id.tolist() == [[3, 9, 8]] * 2


def test_a_day_is_logged_once(folder: Path) -> None:
    """The log is what it was given, and refuses the same day again."""
    mine = company(folder)
    mine.open_day(0, EVERYTHING, NOTHING)
    slates = mine.show(visits(0, 0))
    outcomes, feedback = bought(slates, 0, 2, day=0)
    impressions = to_impressions(slates, outcomes)
    mine.close_day(0, impressions, feedback)
    assert EventLog(folder / "log").day(0)[0].equals(impressions)
    assert EventLog(folder / "log").day(0)[1].to_pylist() == feedback.to_pylist()
    with pytest.raises(RunError, match="logged already"):
        mine.close_day(0, impressions, feedback)
