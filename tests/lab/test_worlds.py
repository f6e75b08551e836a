"""The shop that is opened is the one that was asked for, with the history that belongs to it."""

from pathlib import Path

import pytest

from simlab import datasets
from simlab.errors import ConfigError, DataError
from simlab.lab.config import RunConfig
from simlab.lab.loop import run
from simlab.lab.run import load_run
from simlab.lab.worlds import beginning, open_world, shop_tables
from simlab.tables import FEEDBACK, IMPRESSIONS
from simlab.world.history import make_history
from simlab.world.presets import preset
from simlab.world.snapshot import to_bytes


def test_the_built_in_history_is_made_again_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`simlab data build shop` gives the very files that lie in data/shop, at most 3 MB of them."""
    stored = {file.name: file.read_bytes() for file in datasets.check_shop().iterdir()}
    assert sum(map(len, stored.values())) <= 3_000_000
    monkeypatch.setenv("SIMLAB_DATA", str(tmp_path_factory.mktemp("data")))
    built = datasets.write_shop(shop_tables())
    assert {file.name: file.read_bytes() for file in built.iterdir()} == stored


def test_the_default_shop_starts_from_the_built_in_history() -> None:
    """The stored log is the one that its world would have made, in the one schema."""
    _, history = open_world(RunConfig())
    assert history.impressions.schema.equals(IMPRESSIONS)
    assert history.feedback.schema.equals(FEEDBACK)
    made = shop_tables()
    assert history.impressions.equals(made["impressions"])
    assert history.feedback.equals(made["feedback"])


def test_the_built_in_world_stands_where_its_history_ends() -> None:
    """Its history is read and not lived through again, and its truth on day 0 is the same."""
    lived, _ = make_history(beginning(RunConfig()))
    world, _ = open_world(RunConfig())
    assert to_bytes(world) == to_bytes(lived)


def test_another_seed_has_another_history() -> None:
    """Only the default shop's history is stored; others are simulated."""
    small = {"n_users": 30, "n_items": 20, "history_days": 8}
    _, first = open_world(RunConfig(seed=1, world=small))
    _, second = open_world(RunConfig(seed=2, world=small))
    assert not first.impressions.equals(second.impressions)


def test_a_damaged_history_is_named(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte changed: the file is named, and the command that makes it again."""
    folder = tmp_path_factory.mktemp("data")
    stored = {file.name: file.read_bytes() for file in datasets.check_shop().iterdir()}
    (folder / "shop").mkdir()
    for name, data in stored.items():
        (folder / "shop" / name).write_bytes(data)
    damaged = bytearray(stored["impressions.parquet"])
    damaged[1000] ^= 1
    (folder / "shop" / "impressions.parquet").write_bytes(damaged)
    monkeypatch.setenv("SIMLAB_DATA", str(folder))
    with pytest.raises(DataError, match="impressions.parquet.*simlab data build shop"):
        open_world(RunConfig())
    (folder / "shop" / "impressions.parquet").unlink()
    with pytest.raises(DataError, match="impressions.parquet.*simlab data build shop"):
        open_world(RunConfig())


def test_a_setting_that_a_calibrated_world_has_not_is_refused() -> None:
    """The error lists what can be set."""
    with pytest.raises(ConfigError, match="quality_sd.*drift"):
        open_world(RunConfig(data="movielens-100k", world={"quality_sd": 1.0}))


def test_real_ratings_of_few_users_make_a_world(movielens: datasets.Ratings) -> None:
    """Dimensions of taste are lowered to what is there, unless they are asked for."""
    del movielens  # it only has to be here
    world, history = open_world(RunConfig(data="movielens-100k", world={"n_users": 5, "click_rate": 0.3}))
    assert (len(world.shoppers), world.config.n_dims) == (5, 4)
    assert set(history.impressions["user_id"].to_pylist()) == set(range(5))
    with pytest.raises(ConfigError, match="n_dims: 24.*more of them"):
        open_world(RunConfig(data="movielens-100k", world={"n_users": 5, "n_dims": 24}))


def test_a_world_in_a_file_is_opened_with_a_history_of_its_own(tmp_path: Path) -> None:
    """Its size stays, its rates can be set, the seed of the run is its luck, and it stands on day 0 in the end."""
    file = tmp_path / "mine.npz"
    file.write_bytes(to_bytes(beginning(RunConfig(seed=5, world={"n_users": 40, "n_items": 30, "history_days": 9}))))
    world, history = open_world(RunConfig(preset=str(file), seed=1, world={"drift": 0.3}))
    assert (len(world.shoppers), world.state.day, world.config.drift) == (40, 0, 0.3)
    days = history.impressions["day"].to_numpy()
    assert (days.min(), days.max()) == (-28, -1)
    _, other = open_world(RunConfig(preset=str(file), seed=2))
    assert not other.impressions.equals(history.impressions)
    for made in ({"n_users": 50}, {"patience": 0.5}, {"response": {"logit_share": 0.5}}):
        with pytest.raises(ConfigError, match="is made with .*leave this out"):
            open_world(RunConfig(preset=str(file), world=made))
    bored, _ = open_world(RunConfig(preset=str(file), world={"change": {"boredom": 0.1}}))
    assert bored.state.boredom.any()
    with pytest.raises(ConfigError, match="no such file"):
        open_world(RunConfig(preset=str(tmp_path / "other.npz")))
    with pytest.raises(ConfigError, match="n_positions: 50.*30 items"):
        open_world(RunConfig(preset=str(file), n_positions=50))
    done = run(RunConfig(preset=str(file), days=1), out=tmp_path / "run")
    file.rename(tmp_path / "elsewhere.npz")
    assert load_run(done.path).metrics.equals(done.metrics)
    (tmp_path / "elsewhere.npz").rename(file)
    file.write_bytes(b"junk")
    with pytest.raises(DataError, match="mine.npz"):
        open_world(RunConfig(preset=str(file)))


def test_the_movielens_world_is_that_of_its_data() -> None:
    """The name of the preset brings the data set with it."""
    assert RunConfig(preset="movielens") == RunConfig(preset="movielens", data="movielens-100k")
    with pytest.raises(ConfigError, match="movielens"):
        preset("movielens")
