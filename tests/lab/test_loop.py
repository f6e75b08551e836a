"""The ring: the same settings give the same run, whatever is killed, permuted or threaded; and its lessons hold."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlab.cli import main
from simlab.errors import ConfigError, DataError, RunError, SimlabError
from simlab.lab.config import RunConfig
from simlab.lab.loop import open_ring, run, run_day
from simlab.lab.oracle import Oracle
from simlab.lab.run import Run, load_run
from simlab.recsys.evaluation import backtest
from simlab.recsys.traffic import Change
from simlab.recsys.training import TrainingConfig
from simlab.tables import to_impressions
from simlab.world.history import answer
from simlab.world.users import visits

SMALL = {"n_users": 200, "n_items": 60, "history_days": 21, "new_items_per_week": 2}
CONFIG = RunConfig(days=8, retrain="scheduled:3", seed=7, world=SMALL)

DEEP = {
    **SMALL,
    "complements": 1.0, "fuss": 0.5, "budget": 0.3, "tail": 0.1,
    "response": {"cascade_share": 0.3, "dependent_share": 0.3, "logit_share": 0.2, "impatience": 0.3},
    "rhythm": {"yearly": 0.3, "next_page": 0.3, "campaign_days": 3, "campaign_lift": 0.5},
    "loyalty": {"pull": 1.0, "churn": 0.1, "newcomers_per_week": 20},
    "change": {
        "shift_day": 4, "shift_share": 0.3, "season": 0.5, "fashion": 0.5, "boredom": 0.05, "item_boredom": 0.2,
        "influence": 0.01, "price_change": 0.05, "lifetime_days": 60, "stock": 3,
    },
}  # fmt: skip
"""Every behaviour that there is, at once."""
DEEP_CONFIG = RunConfig(days=8, retrain="scheduled:3", seed=7, latency_ms=200.0, world=DEEP)

GOLDEN = "edc7d82335e9f81f75b8c9e068c361af4d39fb17d6c878412d473492bbbd5329"
"""Digest of the log of CONFIG. It changes when anything that a learner sees changes; then say so in CHANGELOG.md."""


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a run folder."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An unbroken run."""
    return run(CONFIG, out=tmp_path_factory.mktemp("runs") / "whole")


def test_the_same_settings_give_the_same_folder(whole: Run, tmp_path: Path) -> None:
    """Twice the same: log, models, history of promotions, metrics and truth, byte for byte."""
    again = run(CONFIG, out=tmp_path / "again")
    assert contents(again.path) == contents(whole.path)
    assert again.log.digest() == whole.log.digest()


def test_the_golden_run(whole: Run) -> None:
    """A change of behaviour is never an accident."""
    assert whole.log.digest() == GOLDEN


def test_other_seeds_give_other_runs(whole: Run, tmp_path: Path) -> None:
    """The digest can tell runs apart."""
    other = run(RunConfig(days=8, retrain="scheduled:3", seed=8, world=SMALL), out=tmp_path / "other")
    assert other.log.digest() != whole.log.digest()


def test_a_longer_run_begins_with_the_shorter_one(whole: Run, tmp_path: Path) -> None:
    """Days to come change nothing of days past."""
    longer = run(RunConfig(days=11, retrain="scheduled:3", seed=7, world=SMALL), out=tmp_path / "longer")
    assert longer.log.digest(until=7) == whole.log.digest()


def test_a_longer_run_of_a_deep_world_begins_with_the_shorter_one(tmp_path: Path) -> None:
    """With every behaviour on, newcomers and launches of days to come change nothing of days past."""
    shorter = run(DEEP_CONFIG, out=tmp_path / "shorter")
    longer = run(replace(DEEP_CONFIG, days=15), out=tmp_path / "longer")
    assert len(longer.world.shoppers) > len(shorter.world.shoppers)
    assert longer.log.digest(until=7) == shorter.log.digest()


KILLER = """
import os, sys
limit, seen = int(sys.argv[1]), 0
for name in ("replace", "rename", "link"):
    def dying(*args, real=getattr(os, name), **others):
        global seen
        seen += 1
        if seen == limit:
            os.kill(os.getpid(), 9)
        return real(*args, **others)
    setattr(os, name, dying)
from tests.lab.test_loop import CONFIG
from simlab.lab.loop import run
run(CONFIG, out=sys.argv[2])
"""


def killed_and_resumed(out: Path, step: int) -> bool:
    """Kills a run, with kill -9, as it is about to put its file number `step` in place; then resumes it here.

    Returns whether it was killed, which it is not where it has fewer files.
    """
    child = subprocess.run([sys.executable, "-c", KILLER, str(step), str(out)], check=False, cwd=Path.cwd())
    assert child.returncode in (0, -9)
    if out.exists():
        run(CONFIG, out=out)
    return child.returncode == -9


@pytest.mark.parametrize("step", [1, 3, 6, 14, 27])
def test_a_killed_run_ends_as_an_unbroken_one(step: int, whole: Run, tmp_path: Path) -> None:
    """Killed before any of its files appears, and resumed: the same folder in the end."""
    assert killed_and_resumed(tmp_path / "run", step)
    assert contents(run(CONFIG, out=tmp_path / "run").path) == contents(whole.path)


@pytest.mark.soak
def test_a_run_killed_anywhere_ends_as_an_unbroken_one(whole: Run, tmp_path: Path) -> None:
    """The same for every file that a run writes, and for three kills one after the other."""
    step = 1
    while killed_and_resumed(tmp_path / str(step), step):
        assert contents(run(CONFIG, out=tmp_path / str(step)).path) == contents(whole.path), step
        step += 1
    assert step > 30
    for often in (9, 5, 4):
        subprocess.run([sys.executable, "-c", KILLER, str(often), str(tmp_path / "often")], check=False)
    assert contents(run(CONFIG, out=tmp_path / "often").path) == contents(whole.path)


DIGEST = "import sys; from tests.lab.test_loop import CONFIG; from simlab import run; print(run(CONFIG).log.digest())"


@pytest.mark.parametrize(("kernel", "threads"), [("Haswell", "1"), ("Nehalem", "2")])
def test_processor_and_threads_change_nothing(kernel: str, threads: str, whole: Run) -> None:
    """The closed loop amplifies a flipped rank; other matrix kernels and other numbers of threads flip none."""
    environment = os.environ | {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": threads}
    child = subprocess.run(
        [sys.executable, "-c", DIGEST], check=True, capture_output=True, text=True, env=environment, cwd=Path.cwd()
    )
    assert child.stdout.strip() == whole.log.digest()


def test_the_order_of_requests_changes_nobody_s_outcome(whole: Run) -> None:
    """Permuted requests get the same slates and the same answers, row by row."""
    ring = open_ring(CONFIG, whole.path)
    requests = visits(ring.world, 5, 10)
    order = np.argsort(-requests.user_id, kind="stable")
    tables = []
    for asked in (requests, requests.take(order)):
        slates = ring.service.recommend(asked)
        table = to_impressions(slates, answer(ring.world, ring.oracle.state(5), slates))
        tables.append(table.sort_by("impression_id"))
    assert tables[0].equals(tables[1])


def test_what_the_company_logs_is_what_came_of_it(whole: Run) -> None:
    """Purchases that were pending arrive on their day, once; none is lost on the way from the world to the log."""
    world = whole.world
    oracle = Oracle(world)
    ring = open_ring(CONFIG, whole.path)
    bought = whole.log.sql(
        "select count(*) as n, max(purchase_day) as last from impressions where purchased and day >= 0"
    )
    table = ring.pending.to_pandas()
    assert (table["day"] >= CONFIG.days).all()
    table = table[table["kind"] == "purchase"]
    expected = 0.0
    for day in range(CONFIG.days):
        expected += whole.metrics["true_purchases_per_visit"][day] * whole.metrics["visits"][day]
    pending = (
        table["impression_id"] > whole.log.sql("select max(impression_id) m from impressions where day < 0")["m"][0]
    ).sum()
    assert bought["last"][0] < CONFIG.days
    total = bought["n"][0] + pending
    assert abs(total - expected) < 4 * np.sqrt(expected)
    assert oracle.state(0).day == 0


def test_metrics_have_a_row_a_day_and_weeks_add_up(whole: Run) -> None:
    """Sums are summed, means weighted by visits; the truth stands beside what is seen."""
    metrics, weeks = whole.metrics, whole.weeks()
    assert metrics.index.tolist() == list(range(8))
    assert weeks["visits"].sum() == metrics["visits"].sum()
    np.testing.assert_allclose(
        (weeks["true_clicks_per_visit"] * weeks["visits"]).sum(),
        (metrics["true_clicks_per_visit"] * metrics["visits"]).sum(),
    )
    assert (metrics["share_of_best"] <= 1).all()
    assert metrics["retrained"].tolist() == [1, 0, 0, 1, 0, 0, 1, 0]
    assert metrics["model_age"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert whole.finished


def test_a_day_s_metrics_hold_what_was_known_that_day(whole: Run) -> None:
    """Counted anew from the log as known at the end of each day: no purchase is counted before it arrives."""
    for day in range(CONFIG.days):
        row = whole.metrics.loc[day]
        shown = whole.log.sql(f"select count(*) n, sum(clicked::int) c from impressions where day = {day}", until=day)
        assert (row["impressions"], row["clicks"]) == (shown["n"][0], shown["c"][0])
        for kind, number, euros in (("purchase", "purchases", "revenue"), ("return", "returns", "refunds")):
            query = f"select coalesce(sum(value), 0) v, count(*) n from feedback where day = {day} and kind = '{kind}'"
            told = whole.log.sql(query, until=day)
            assert (row[number], row[euros]) == (told["n"][0], pytest.approx(told["v"][0]))
    late = whole.log.sql("select count(*) n from impressions where day >= 0 and purchase_day > day")["n"][0]
    assert late > 0


def test_the_evidence_is_that_of_the_week_before(whole: Run) -> None:
    """Beside every promotion stands the backtest of its settings on the last seven days known then."""
    world = whole.world
    marks = backtest(
        whole.log,
        world.catalogue.launched_by(3),
        world.shoppers,
        config=CONFIG.training_config(),
        day=3,
        holdout_days=7,
    ).overall
    row = whole.registry.history("champion")[1]
    assert row["evidence"] == {"recall_at_10": marks.recall, "ndcg_at_10": marks.ndcg, "users": marks.n_users}
    assert whole.registry.card("lightfm-day00003")["offline"] == row["evidence"]


def test_a_random_shop_logs_its_propensities(tmp_path: Path) -> None:
    """At position p each of the items left is equally likely, so the propensity is 1 / (items on sale - p)."""
    random = run(RunConfig(days=2, retrain="never", world=SMALL, training=TrainingConfig(algorithm="random")))
    rows = random.log.sql("select distinct position, propensity from impressions where day = 0 order by position")
    np.testing.assert_allclose(rows["propensity"], 1 / (60 - np.arange(10)), rtol=2e-6)


def test_without_data_the_champion_stays(tmp_path: Path) -> None:
    """Everything is retired, nobody clicks any more: the run goes on with its model, and the registry says why."""
    world = SMALL | {"new_items_per_week": 0, "change": {"lifetime_days": 20}}
    training = TrainingConfig(algorithm="als", n_components=4, window_days=5)
    done = run(RunConfig(days=150, retrain="scheduled:7", world=world, training=training), out=tmp_path / "run")
    last = done.registry.history("champion")[-1]
    assert "but it stays: interactions to learn from" in last["reason"]
    assert last["version"] == done.registry.history("champion")[-2]["version"]
    assert done.metrics["impressions"].iloc[-1] < done.metrics["impressions"].iloc[0]


@pytest.mark.parametrize(
    "name",
    [
        "log/history.parquet",
        "log/history_feedback.parquet",
        "log/day=00002/impressions.parquet",
        "log/day=00002/feedback.parquet",
        "truth/history.parquet",
        "truth/day=00001.parquet",
        "truth/day=00001.json",
        "truth/world.npz",
        "config.json",
    ],
)
@pytest.mark.parametrize("damage", ["gone", "cut", "junk"])
def test_a_run_with_a_damaged_file_is_not_gone_on_with(name: str, damage: str, whole: Run, tmp_path: Path) -> None:
    """A missing, cut or overwritten file is named; nothing is learnt from what is left."""
    shutil.copytree(whole.path, tmp_path / "run")
    file = tmp_path / "run" / name
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:20] if damage == "cut" else b"\xff\xfe" * 40)
    if (name, damage) == ("truth/world.npz", "gone"):
        run(CONFIG, out=tmp_path / "run")  # the setting up comes first: it is done again
        assert contents(tmp_path / "run") == contents(whole.path)
        return
    with pytest.raises(SimlabError, match="run folder|file of the run|world.npz"):
        run(CONFIG, out=tmp_path / "run")


def test_a_missing_day_is_named(whole: Run, tmp_path: Path) -> None:
    """A gap in the log is no end of it."""
    shutil.copytree(whole.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "log" / "day=00004")
    with pytest.raises(RunError, match="day 4 is missing"):
        run(CONFIG, out=tmp_path / "run")


RACER = """
import sys
from simlab.errors import RunError
from simlab import run
sys.stdin.readline()
world = {"n_users": 60, "n_items": 40, "history_days": 8}
try:
    print(run(days=2, seed=int(sys.argv[1]), world=world, out=sys.argv[2]).config.seed)
except RunError as error:
    print("refused")
"""


def test_two_processes_do_not_mix_their_runs(tmp_path: Path) -> None:
    """Started at once on one folder with two seeds: one has it, the other is told so, and the folder is one run."""
    for trial in range(4):
        out = tmp_path / str(trial)
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, str(seed), str(out)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for seed in (1, 2)
        ]
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = sorted(racer.communicate()[0].strip() for racer in racers)
        assert said[1] == "refused"
        done = load_run(out)
        assert done.config.seed == done.world.config.seed == int(said[0])


def test_a_folder_with_hidden_things_in_it_is_refused(tmp_path: Path) -> None:
    """What begins with a dot is somebody's too, and stays."""
    (tmp_path / "mine" / ".cache").mkdir(parents=True)
    (tmp_path / "mine" / ".cache" / ".precious.tmp").write_text("dear")
    with pytest.raises(RunError, match="not empty"):
        run(CONFIG, out=tmp_path / "mine")
    assert (tmp_path / "mine" / ".cache" / ".precious.tmp").read_text() == "dear"


def test_a_shop_that_nobody_visits_has_metrics_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A day without visits has counts of 0 and means of NaN, also where no other day has any."""
    quiet = {"n_users": 2, "n_items": 20, "history_days": 40, "visits_per_day": 0.01}
    done = run(
        RunConfig(days=1, seed=1, world=quiet, training=TrainingConfig(algorithm="popularity")), out=tmp_path / "q"
    )
    assert done.metrics["visits"].tolist() == [0]
    assert done.weeks()[["clicks_per_visit", "true_clicks_per_visit", "share_of_best"]].isna().all(axis=None)
    assert main(["report", str(tmp_path / "q")]) == 2
    assert "nobody has visited" in capsys.readouterr().err


def test_a_run_is_read_from_its_folder(whole: Run) -> None:
    """load_run finds what run made."""
    again = load_run(whole.path)
    assert again.config == CONFIG
    assert again.metrics.equals(whole.metrics)
    assert [row["version"] for row in again.registry.history("champion")] == [
        "lightfm-day00000",
        "lightfm-day00003",
        "lightfm-day00006",
    ]


def test_a_folder_with_other_settings_or_other_things_is_refused(whole: Run, tmp_path: Path) -> None:
    """Nothing that lies there is touched, and the error names what differs."""
    with pytest.raises(RunError, match="days = 8, not 9"):
        run(RunConfig(days=9, retrain="scheduled:3", seed=7, world=SMALL), out=whole.path)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="holds no run"):
        run(CONFIG, out=tmp_path)
    with pytest.raises(RunError, match="it is a file"):
        run(CONFIG, out=tmp_path / "letter.txt")
    with pytest.raises(RunError, match="no run in it"):
        load_run(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"preset": "shopp"}, "preset: 'shopp'"),
        ({"data": "netflix"}, "data set: 'netflix'"),
        ({"days": 0}, "days: 0"),
        ({"days": -3}, "days: -3"),
        ({"days": 2.5}, "RunConfig.days: 2.5"),
        ({"dayz": 3}, "'dayz' will not do; did you mean 'days'"),
        ({"retrain": "sometimes"}, "retrain policy: 'sometimes'"),
        ({"retrain": "scheduled:0"}, "scheduled:0"),
        ({"seed": -1}, "seed: -1"),
        ({"world": {"n_users": 0}}, "n_users: 0"),
        ({"world": {"n_users": 10**12}}, "n_users: 1000000000000"),
        ({"world": {"n_user": 10}}, "n_user"),
        ({"world": {"n_items": 5}}, "n_positions: 10"),
        ({"training": {"algorithm": "lightfn"}}, "algorithm: 'lightfn'"),
    ],
)
def test_settings_that_will_not_do_are_named_before_anything_is_written(
    settings: dict[str, object], named: str, tmp_path: Path
) -> None:
    """The error says which setting and which value; no folder appears."""
    with pytest.raises(ConfigError) as caught:
        run(out=tmp_path / "run", **settings)  # type: ignore[arg-type]
    assert named in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_shop_without_a_click_to_learn_from_leaves_nothing(tmp_path: Path) -> None:
    """A run that cannot begin says why, and leaves no folder."""
    with pytest.raises(DataError, match="interactions to learn from"):
        run(days=2, world={"n_users": 1, "n_items": 10, "history_days": 1}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_rollout_comes_before_the_next_training(tmp_path: Path) -> None:
    """One change at a time: while a challenger has traffic the champion stays; when it has gone, training is due."""
    config = RunConfig(days=9, retrain="scheduled:2", seed=7, world=SMALL)
    ring = open_ring(config, tmp_path)
    wish: dict[str, Any] = {"day": 3, "actor": "test", "reason": "because"}
    for day in range(9):
        if day == 3:
            ring.registry.change(Change(action="challenger", version="lightfm-day00000", share=0.3, **wish))
        if day == 7:
            ring.registry.change(Change(action="end", **{**wish, "day": 7}))
        run_day(ring, day)
    champions = [(row["day"], row["version"]) for row in ring.registry.history("champion")]
    assert champions == [(0, "lightfm-day00000"), (2, "lightfm-day00002"), (7, "lightfm-day00007")]


def test_a_run_of_an_older_simlab_goes_on(whole: Run, tmp_path: Path) -> None:
    """Settings that it did not know count as what they are by default."""
    shutil.copytree(whole.path, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    stored = json.loads(file.read_text())
    del stored["settings"]["online"], stored["settings"]["segments"]
    file.write_text(json.dumps(stored))
    assert run(CONFIG, out=tmp_path / "run").log.digest() == whole.log.digest()
    with pytest.raises(RunError, match="segments = True, not False"):
        run(replace(CONFIG, segments=False), out=tmp_path / "run")
