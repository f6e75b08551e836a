"""The shop that is opened is the one that was asked for, with the history that belongs to it."""

import pytest

from simlab import datasets
from simlab.errors import ConfigError, DataError
from simlab.lab.config import RunConfig
from simlab.lab.worlds import open_world, shop_tables
from simlab.schema import IMPRESSIONS


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
    assert history.schema.equals(IMPRESSIONS)
    assert history.equals(shop_tables()["history"])


def test_another_seed_has_another_history() -> None:
    """Only the default shop's history is stored; others are simulated."""
    small = {"n_users": 30, "n_items": 20, "history_days": 8}
    _, first = open_world(RunConfig(seed=1, world=small))
    _, second = open_world(RunConfig(seed=2, world=small))
    assert not first.equals(second)


def test_a_damaged_history_is_named(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte changed: the file is named, and the command that makes it again."""
    folder = tmp_path_factory.mktemp("data")
    stored = {file.name: file.read_bytes() for file in datasets.check_shop().iterdir()}
    (folder / "shop").mkdir()
    for name, data in stored.items():
        (folder / "shop" / name).write_bytes(data)
    history = bytearray(stored["history.parquet"])
    history[1000] ^= 1
    (folder / "shop" / "history.parquet").write_bytes(history)
    monkeypatch.setenv("SIMLAB_DATA", str(folder))
    with pytest.raises(DataError, match="history.parquet.*simlab data build shop"):
        open_world(RunConfig())
    (folder / "shop" / "history.parquet").unlink()
    with pytest.raises(DataError, match="history.parquet.*simlab data build shop"):
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
    assert set(history["user_id"].to_pylist()) == set(range(5))
    with pytest.raises(ConfigError, match="n_dims: 24.*more of them"):
        open_world(RunConfig(data="movielens-100k", world={"n_users": 5, "n_dims": 24}))
