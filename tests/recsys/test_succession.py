"""Laws of succession: who passes follows, who does not is registered and stays away, and the history says why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlab.errors import DataError
from simlab.recsys.gates import GATES, GateConfig
from simlab.recsys.log import EventLog
from simlab.recsys.models import PopularityModel
from simlab.recsys.recipe import TrainingConfig
from simlab.recsys.registry import Registry
from simlab.recsys.succession import Attempt, last_tried, succeed
from simlab.streams import stream
from tests.recsys.logs import PEOPLE, goods_of, log_of

GOODS = goods_of(6)
PLAIN = Attempt(day=0, reason="it is time", training=TrainingConfig(algorithm="popularity"))


def log_from(path: Path, n: int = 4000) -> EventLog:
    """Two weeks of slates of two, all by chance; the higher its number, the better an item."""
    rng = stream(0, "test", "succession")
    item = np.array([rng.permutation(6)[:2] for _ in range(n)])
    columns: dict[str, Any] = {
        "item_id": item.ravel(),
        "propensity": np.tile([1 / 6, 1 / 5], n),
        "position": np.tile([0, 1], n),
        "request_id": np.repeat(np.arange(n) << 12, 2),
        "user_id": np.repeat(np.arange(n) % 50, 2),
        "day": np.repeat(-1 - np.arange(n) % 8, 2),
        "clicked": rng.random(2 * n) < 0.05 + 0.1 * item.ravel(),
    }
    return log_of(path, **columns)


def registry_with(path: Path, score: list[float]) -> Registry:
    """A champion of these scores, trained long ago."""
    registry = Registry(path / "models")
    registry.register(PopularityModel(score=np.array(score)), "old", {"trained_day": -30})
    registry.promote("old", day=-30, actor="test", reason="first")
    return registry


BAD, GOOD = [5.0, 4.0, 3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def with_gate(**settings: Any) -> Attempt:
    """An attempt that must pass a gate."""
    return replace(PLAIN, gate=GateConfig(k=2, min_users=10, **settings))


def test_without_a_gate_everybody_follows(tmp_path: Path) -> None:
    """The new model is promoted with its reason, as ever, and its card says nothing of a gate."""
    log, registry = log_from(tmp_path), registry_with(tmp_path, GOOD)
    assert succeed(log, registry, GOODS, PEOPLE, PLAIN)
    last = registry.history()[-1]
    assert (last["version"], last["reason"], last["actor"]) == ("popularity-day00000", "it is time", "simlab")
    assert "gate" not in registry.card("popularity-day00000")
    assert last_tried(registry) is None


def test_who_passes_follows(tmp_path: Path) -> None:
    """A better model is promoted by the gate, with its evidence; doing it again changes nothing."""
    log, registry = log_from(tmp_path), registry_with(tmp_path, BAD)
    assert succeed(log, registry, GOODS, PEOPLE, with_gate())
    rows = registry.history()
    assert (rows[-1]["version"], rows[-1]["actor"]) == ("popularity-day00000", "gate")
    assert rows[-1]["reason"].startswith("it is time; pass: ")
    assert rows[-1]["evidence"]["gate"]["off_policy"]["effective"] > 100
    assert registry.card("popularity-day00000")["gate"] == {"finding": "pass", "outcome": "promote"}
    assert last_tried(registry) == 0


@pytest.mark.parametrize(
    ("settings", "finding"), [({}, "fail"), ({"min_effective": 1e6, "days": 7}, "inconclusive")], ids=["fail", "doubt"]
)
def test_who_does_not_pass_is_registered_and_stays_away(tmp_path: Path, settings: dict[str, Any], finding: str) -> None:
    """The champion goes on; the history says that it stays, why, and on what evidence; again, nothing changes.

    Trained on purchases, of which there are none, popularity ranks items by their numbers, the worst first.
    """
    log, registry = log_from(tmp_path), registry_with(tmp_path, GOOD)
    attempt = replace(with_gate(**settings), training=TrainingConfig(algorithm="popularity", signal="purchased"))
    for _ in range(2):
        assert not succeed(log, registry, GOODS, PEOPLE, attempt)
        assert registry.alias("champion") == "old"
        assert registry.versions() == ["old", "popularity-day00000"]
        rows = registry.history()
        assert len(rows) == 2
        assert (rows[-1]["version"], rows[-1]["actor"]) == ("old", "gate")
        assert rows[-1]["reason"].startswith("it is time, but it stays, and popularity-day00000 does not: " + finding)
        assert last_tried(registry) == 0


def test_a_gate_can_send_on_to_a_canary(tmp_path: Path) -> None:
    """Then the champion goes on beside it, and the canary's judge decides."""
    log, registry = log_from(tmp_path), registry_with(tmp_path, BAD)
    assert not succeed(log, registry, GOODS, PEOPLE, with_gate(passed="canary"))
    assert registry.alias("champion") == "old"
    assert registry.alias("canary") == "popularity-day00000"
    assert last_tried(registry) == 0


def test_the_first_champion_is_not_judged(tmp_path: Path) -> None:
    """Somebody must answer, and there is nobody to be compared with."""
    registry = Registry(tmp_path / "models")
    assert succeed(log_from(tmp_path), registry, GOODS, PEOPLE, with_gate())
    assert registry.history()[-1]["actor"] == "simlab"


def test_where_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    """The champion stays, as without a gate; where only the days before the judgement are empty, it is inconclusive."""
    log, registry = log_from(tmp_path), registry_with(tmp_path, GOOD)
    nothing = replace(PLAIN, training=TrainingConfig(algorithm="als", signal="purchased"), gate=GATES["strict"])
    assert not succeed(log, registry, GOODS, PEOPLE, nothing)
    assert (registry.versions(), registry.history()[-1]["actor"]) == (["old"], "simlab")
    early = replace(nothing, training=TrainingConfig(algorithm="als", n_components=2), gate=GateConfig(days=60))
    assert not succeed(log, registry, GOODS, PEOPLE, replace(early, day=1))
    assert "inconclusive" in registry.history()[-1]["reason"]
    with pytest.raises(DataError):
        succeed(log, Registry(tmp_path / "empty"), GOODS, PEOPLE, nothing)


def test_a_warm_start_goes_on_from_the_champion(tmp_path: Path) -> None:
    """The card says from which; the first model starts from nothing."""
    log, registry = log_from(tmp_path), Registry(tmp_path / "models")
    warm = replace(PLAIN, training=TrainingConfig(n_components=2, epochs=2, warm_epochs=1))
    assert succeed(log, registry, GOODS, PEOPLE, warm)
    assert "warm_start" not in registry.card("lightfm-day00000")
    assert succeed(log, registry, GOODS, PEOPLE, replace(warm, day=1))
    assert registry.card("lightfm-day00001")["warm_start"] == "lightfm-day00000"
