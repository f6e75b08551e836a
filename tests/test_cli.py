"""The command line as a newcomer meets it: tables, folders, exit codes, and sentences instead of tracebacks."""

import subprocess
import sys
from pathlib import Path

import pytest

from simlab.cli import main
from simlab.cli.parser import DEPLOY
from simlab.lab.config import RunConfig
from simlab.lab.loop import Metrics, run
from simlab.lab.run import load_run
from simlab.recsys.traffic import ACTIONS
from simlab.streams import stream
from simlab.world.presets import PRESETS

SMALL = ["--users", "150", "--items", "60", "--days", "8", "--retrain", "scheduled:3", "--seed", "2"]


def test_run_prints_weeks_and_leaves_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a row a week, the folder is a run, no progress bar goes into a pipe, and again is no harm."""
    assert main(["run", *SMALL, "--out", str(tmp_path / "x")]) == 0
    first = capsys.readouterr()
    assert [line.split()[0] for line in first.out.splitlines()[2:4]] == ["1", "2"]
    assert "best possible" in first.out
    assert first.err == ""
    assert (tmp_path / "x" / "metrics.parquet").exists()
    assert main(["run", *SMALL, "--out", str(tmp_path / "x")]) == 0
    again = capsys.readouterr().out
    assert again.splitlines()[:4] == first.out.splitlines()[:4]
    assert "nothing was left to do" in again
    assert "nothing was left to do" not in first.out


def test_a_shop_of_five_items_runs(tmp_path: Path) -> None:
    """Offline evidence needs no ten items."""
    words = ["--users", "60", "--items", "5", "--positions", "3", "--days", "2"]
    assert main(["run", *words, "--out", str(tmp_path / "x")]) == 0


def test_worlds_are_listed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every named world with its lesson; the page of one begins with what it teaches."""
    assert main(["world", "list"]) == 0
    told = capsys.readouterr().out
    for name, world in PRESETS.items():
        assert f"\n{name}\n" in f"\n{told}"
        assert " ".join(world.lesson.split()) in " ".join(told.split())
    assert main(["world", "show", "seasonal", "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    assert PRESETS["seasonal"].teaches[:40] in (tmp_path / "page.html").read_text()


def test_own_ratings_become_a_world_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fitted, with its broken line named, and then run by the name of its file."""
    rng = stream(1, "test ratings")
    rows = [f"u{u},i{i},{1 + (u * i) % 5}" for u in range(40) for i in rng.permutation(30)[:12]]
    (tmp_path / "my.csv").write_text("\n".join(["who,what,stars", *rows, "u1,i2,great"]) + "\n")
    words = ["--columns", "user=who,item=what,rating=stars", "--out", str(tmp_path / "w.npz")]
    assert main(["world", "fit", str(tmp_path / "my.csv"), *words]) == 0
    assert "line 482: rating 'great'" in capsys.readouterr().out
    assert main(["run", "--preset", str(tmp_path / "w.npz"), "--days", "2", "--out", str(tmp_path / "x")]) == 0
    assert load_run(tmp_path / "x").config.stored


def test_deploy_changes_the_traffic_and_says_who_answers_whom(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A canary by steps, paused, rolled back, each with who and why; said again it is one row."""
    run = str(tmp_path / "x")
    assert main(["run", *SMALL, "--out", run]) == 0
    why = ["--reason", "to see", "--actor", "Ada"]
    capsys.readouterr()
    groups = ["champion", "canary", "baseline"]
    for words, left in (
        (["canary", run, "lightfm-day00003", "--steps", "0.1,0.3"], groups),
        (["pause", run], groups),
        (["rollback", run], ["champion", "quarantine"]),
    ):
        assert main(["deploy", *words, *why]) == 0
        told = capsys.readouterr().out
        done = {
            "canary": "canary: canary lightfm",
            "pause": "pause: canary",
            "rollback": "rolled back: the canary lightfm",
        }
        assert told.startswith(done[words[0]])
        assert ("paused" in told) == (words[0] == "pause")
        assert [line.split()[0] for line in told.splitlines()[2:]] == left
    challenge = ["deploy", "challenger", run, "lightfm-day00000", "--share", "0.25", *why]
    assert main(challenge) == 0
    assert "75.0%" in capsys.readouterr().out
    assert main(["deploy", "status", run]) == 0
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert [last[1], *last[3:]] == ["8", "challenger", "challenger", "lightfm-day00000", "0.25", "Ada", "to", "see"]
    rows = load_run(run).registry.history()
    assert [row["action"] for row in rows[-4:]] == ["canary", "pause", "rollback", "challenger"]
    assert all("time" in row for row in rows[-4:])
    assert main(challenge) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert load_run(run).registry.history() == rows


def test_a_run_goes_on_with_the_traffic_that_was_deployed(tmp_path: Path) -> None:
    """A canary that is started while the run stands still is in the log from the next day on."""
    config = RunConfig(days=5, retrain="scheduled:3", world={"n_users": 150, "n_items": 60, "history_days": 14})

    def stop(metrics: Metrics) -> None:
        if metrics["day"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, out=tmp_path, progress=stop)
    words = ["canary", str(tmp_path), "lightfm-day00000", "--share", "0.3", "--reason", "to see"]
    assert main(["deploy", *words]) == 0
    arms = run(config, out=tmp_path).log.sql("select distinct day, arm, model_version from impressions where day >= 3")
    assert {(day, arm, version) for day, arm, version in arms.to_numpy().tolist()} == {
        (3, "champion", "lightfm-day00003"),
        (4, "champion", "lightfm-day00003"),
        (4, "baseline", "lightfm-day00003"),
        (4, "canary", "lightfm-day00000"),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pause", "RUN"], "there is no canary"),
        (["promote", "RUN"], "the registry holds: "),
        (["canary", "RUN", "lightfm-day00000", "--steps", "0.1,many"], "--steps: '0.1,many'"),
        (["canary", "RUN", "lightfm-day00000", "--share", "0.9"], "share of the canary: 0.9"),
        (["challenger", "RUN", "lightfm-day00000"], "share of the challenger: None"),
        (["rollback", "RUN", "--reason", " "], "reason: ' '"),
        (["promote", "RUN", "lightfm-day00000", "--share", "0.1"], "share of promote: 0.1"),
        (["rollback", "RUN", "no-such-version"], "version of rollback: 'no-such-version'"),
        (["status", "nowhere"], "there is no run in it"),
    ],
)
def test_deploy_says_what_is_wrong(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and a sentence; nothing was changed."""
    run = str(tmp_path / "x")
    assert main(["run", "--users", "60", "--items", "20", "--days", "1", "--out", run]) == 0
    before = load_run(run).registry.last_row()
    words = [run if word == "RUN" else word for word in words]
    assert main(["deploy", *words, *([] if "--reason" in words else ["--reason", "to see"])]) == 2
    assert message in capsys.readouterr().err
    assert load_run(run).registry.last_row() == before


def test_deploy_knows_every_action() -> None:
    """The words of the command line, which loads nothing heavy, are those of the registry."""
    assert set(DEPLOY) == {"status", *ACTIONS}


def test_report_writes_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The path printed is the page, which needs nothing else."""
    main(["run", *SMALL, "--out", str(tmp_path / "x")])
    capsys.readouterr()
    assert main(["report", str(tmp_path / "x")]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert "<html" in page.read_text()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "--preset", "shopp", "--out", "OUT"], "preset: 'shopp'"),
        (["run", "--data", "netflix", "--out", "OUT"], "data set: 'netflix'"),
        (["run", "--days", "-1", "--out", "OUT"], "days: -1"),
        (["run", "--users", "0", "--out", "OUT"], "n_users: 0"),
        (["run", "--items", "5", "--out", "OUT"], "n_positions: 10"),
        (["run", "--retrain", "weekly", "--out", "OUT"], "retrain policy: 'weekly'"),
        (["report", "OUT"], "there is no run in it"),
        (["data", "fetch", "netflix"], "netflix"),
        (["data", "fetch", "movielens-1m", "--source", "OUT"], "OUT"),
        (["course", "--out", "OUT", "-p", "n_user", "3"], "n_user"),
        (["world", "show", "shopp"], "preset: 'shopp'"),
        (["world", "fit", "OUT.csv", "--columns", "user=u,item=i,rating=r"], "no such file"),
        (["world", "fit", "OUT.csv", "--columns", "user,item"], "--columns: 'user,item'"),
        (["run", "--preset", "OUT.npz", "--out", "OUT"], "no such file"),
        (["course", "--out", "OUT", "--seed", "-5"], "seed: -5"),
        (["course", "--out", "OUT", "-p", "seed", "-5"], "seed: -5"),
    ],
)
def test_what_will_not_do_ends_in_a_sentence_and_2(
    words: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, the thing and the value named, no traceback, nothing written."""
    out = str(tmp_path / "out")
    assert main([out if word == "OUT" else word for word in words]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("simlab: ")
    assert named.replace("OUT", out) in said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "sources"), [("movielens-100k", 2), ("movielens-1m", 1)])
def test_data_that_cannot_be_had_end_in_the_error_of_the_first_source(
    name: str, sources: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """GroupLens is what one would mend; PyPI, which has MovieLens 100K alone, is not tried for others."""
    monkeypatch.setenv("SIMLAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert main(["run", "--data", name, "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith("fetching") for line in said] == [True] * sources + [False]
    assert "download of https://files.grouplens.org" in said[-1]
    assert not (tmp_path / "x").exists()


def test_a_reader_who_has_had_enough_is_no_error() -> None:
    """`simlab data list | head -1` says nothing of a pipe."""
    with subprocess.Popen(
        [sys.executable, "-m", "simlab", "data", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 141


TOO_MUCH = """
import resource, sys
from simlab.cli import main
resource.setrlimit(resource.RLIMIT_AS, (3_000_000_000, 3_000_000_000))
sys.exit(main(["run", "--days", "1", "--users", "100000000", "--out", sys.argv[1]]))
"""


def test_too_little_memory_ends_in_a_sentence(tmp_path: Path) -> None:
    """A world that does not fit says what to take less of."""
    words = [sys.executable, "-c", TOO_MUCH, str(tmp_path / "x")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("simlab: simlab run in")
    assert "memory; take fewer users" in done.stderr


def test_data_list_says_what_may_be_done_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Origin and licence of every data set."""
    assert main(["data", "list"]) == 0
    said = capsys.readouterr().out
    assert "movielens-32m" in said
    assert "no redistribution" in said


def test_the_command_is_there_and_helps() -> None:
    """`python -m simlab run -h` explains itself to a newcomer."""
    said = subprocess.run([sys.executable, "-m", "simlab", "run", "-h"], capture_output=True, text=True, check=True)
    assert "goes on where it stopped" in said.stdout
    unknown = subprocess.run([sys.executable, "-m", "simlab", "fly"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert "invalid choice" in unknown.stderr
