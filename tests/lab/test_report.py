"""Laws of the report: one file, nothing fetched, everything escaped, readable by a screen reader."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

import simlab
from simlab.errors import RunError
from simlab.lab.report import write_report
from simlab.lab.run import Run

HOSTILE = '<script>alert("a & b")</script>'


class Page(HTMLParser):
    """What a browser finds in the page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    small = {"n_users": 40, "n_items": 30, "history_days": 14}
    folder = tmp_path_factory.mktemp("runs") / "small"
    finished = simlab.run(days=9, retrain="scheduled:4", world=small, training={"algorithm": "popularity"}, out=folder)
    finished.registry.promote("popularity-day00004", day=9, actor=HOSTILE, reason=HOSTILE)
    return finished


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return Page(write_report(run.path))


@pytest.fixture
def course(tmp_path: Path) -> Path:
    figures = {"share_of_best": 0.6239, "champion": HOSTILE, "agree": True, "rows": 12345, "unknown": None}
    summary = {
        "00_start_here": {"seconds": 12.34, "figures": figures},
        "01 a&b": {"seconds": 1.0, "figures": {}},
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "course.json").write_text(json.dumps({"parameters": {"data": HOSTILE, "seed": 3}}))
    return tmp_path


def test_nothing_is_fetched(page: Page) -> None:
    """No script, no style sheet, no address; every picture is in the page and is a PNG."""
    assert not page.all("script") + page.all("link") + page.all("iframe")
    assert not [a for _, a in page.tags if "href" in a]
    sources = [image["src"] or "" for image in page.all("img")]
    assert len(sources) == 2
    for source in sources:
        kind, data = source.split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")


def test_whoever_cannot_see_it_can_read_it(page: Page) -> None:
    """One title, headings below it, words for every picture, a head for every row and column."""
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert len(page.all("h2")) == 5
    assert all(len(image["alt"] or "") > 40 for image in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table")) == 4
    assert {head["scope"] for head in page.all("th")} == {"col", "row"}


def test_every_tag_is_closed(page: Page) -> None:
    """The page is well formed."""
    assert page.open == []


def test_what_others_wrote_stays_text(page: Page) -> None:
    """A reason that looks like a script is shown, not run."""
    assert page.text.count(HOSTILE) == 2


def test_the_page_tells_the_run(run: Run, page: Page) -> None:
    """Settings, weeks, the finding, versions with their data, promotions with their reasons."""
    assert "shop, 9 days, seed 0" in page.text
    weeks = run.weeks()
    for week in weeks.index:
        assert f"{weeks.loc[week, 'visits']:,}" in page.text
        assert f"{weeks.loc[week, 'share_of_best']:.3f}" in page.text
    for version in run.registry.versions():
        assert version in page.text
        assert run.registry.card(version)["data_sha256"][:12] in page.text
    assert "the champion is 4 days old" in page.text
    assert "training.algorithm" in page.text
    assert "world.n_users" in page.text
    assert "It trained 3 models." in page.text


def test_the_same_run_gives_the_same_page(run: Run, page: Page) -> None:
    """Bit for bit; and nothing but the page is left in the folder."""
    before = sorted(entry.name for entry in run.path.iterdir())
    first = (run.path / "report.html").read_bytes()
    assert write_report(run.path).read_bytes() == first
    assert sorted(entry.name for entry in run.path.iterdir()) == before


def test_a_course_lists_every_notebook(course: Path) -> None:
    """With seconds, key figures and a link that leads to it, whatever its name."""
    page = Page(write_report(course))
    assert [a["href"] for a in page.all("a")] == ["00_start_here.ipynb", "01%20a%26b.ipynb"]
    for words in ("00 start here", "12.3 s", "share of best", "0.624", "12,345", "yes", "–", "seed = 3"):
        assert words in page.text
    assert page.text.count(HOSTILE) == 2
    assert not page.all("script")
    assert page.open == []


def test_folders_that_hold_nothing_to_tell(tmp_path: Path, course: Path) -> None:
    """No folder, no run, a run without a day, a damaged summary: each is a `RunError`, and no page is written."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="there is no run"):
        write_report(tmp_path / "empty")
    with pytest.raises(RunError, match="there is no run"):
        write_report(tmp_path / "nowhere")
    for broken in ("{", "[1]", '{"a": 1}', '{"a": {"seconds": "x", "figures": {}}}'):
        (course / "summary.json").write_text(broken)
        with pytest.raises(RunError, match="damaged"):
            write_report(course)
    assert not list(tmp_path.rglob("report.html"))
    assert not (tmp_path / "nowhere").exists()


def test_a_run_that_has_not_begun_is_told_so(run: Run, tmp_path: Path) -> None:
    """Its settings are there, but no day has happened."""
    (tmp_path / "config.json").write_bytes((run.path / "config.json").read_bytes())
    with pytest.raises(RunError, match="no day has happened"):
        write_report(tmp_path)
