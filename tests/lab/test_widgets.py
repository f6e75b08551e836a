import ipywidgets
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from simlab.errors import ConfigError
from simlab.lab.widgets import explore, is_live


class Drawing:
    """A pure function of two numbers that also remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int]] = []

    def __call__(self, noise: float, n: int) -> Figure:
        self.calls.append((noise, n))
        return plt.figure(figsize=(1, 1))


def sliders() -> dict[str, ipywidgets.ValueWidget]:
    return {"noise": ipywidgets.FloatSlider(value=0.5, max=2), "n": ipywidgets.IntSlider(value=3)}


@pytest.mark.parametrize(
    ("environment", "live"),
    [
        ({}, False),
        ({"JPY_SESSION_NAME": "01.ipynb"}, True),
        ({"SIMLAB_UI": "live"}, True),
        ({"SIMLAB_UI": "static", "JPY_SESSION_NAME": "01.ipynb"}, False),
        ({"SIMLAB_UI": "", "JPY_SESSION_NAME": "01.ipynb"}, True),
    ],
)
def test_live_is_where_jupyter_server_says_so(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], live: bool
) -> None:
    """Jupyter Server's session decides, and SIMLAB_UI overrides it."""
    for name in ("JPY_SESSION_NAME", "SIMLAB_UI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_live() is live


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt override is no override."""
    monkeypatch.setenv("SIMLAB_UI", "alive")
    with pytest.raises(ConfigError, match="SIMLAB_UI: 'alive'"):
        is_live()


def test_the_static_form_is_one_figure_of_the_starting_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call, one figure, closed so that it is not shown twice."""
    monkeypatch.setenv("SIMLAB_UI", "static")
    drawing = Drawing()
    figure = explore(drawing, **sliders())
    assert isinstance(figure, Figure)
    assert drawing.calls == [(0.5, 3)]
    assert plt.get_fignums() == []


def test_the_live_form_follows_its_sliders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first picture stands at once; each slider that is let go draws one more, and the page does not jump."""
    monkeypatch.setenv("SIMLAB_UI", "live")
    drawing = Drawing()
    panel = explore(drawing, height="300px", **sliders())
    assert isinstance(panel, ipywidgets.VBox)
    noise, n, picture = panel.children
    noise.value = 1.5
    n.value = 7
    assert drawing.calls == [(0.5, 3), (1.5, 3), (1.5, 7)]
    assert (noise.continuous_update, n.continuous_update) == (False, False)
    assert picture.layout.height == "300px"
    assert plt.get_fignums() == []


@pytest.mark.parametrize("mode", ["live", "static"])
def test_sliders_are_named_like_arguments(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """A misspelt or missing slider is refused in both forms, before anything is drawn."""
    monkeypatch.setenv("SIMLAB_UI", mode)
    drawing = Drawing()
    with pytest.raises(ConfigError, match=r"explore, sliders: \['noise', 'm'\].*arguments of what draws"):
        explore(drawing, noise=ipywidgets.FloatSlider(), m=ipywidgets.IntSlider())
    assert drawing.calls == []


def test_sliders_say_what_they_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slider without words of its own is called like its argument."""
    monkeypatch.setenv("SIMLAB_UI", "live")
    panel = explore(Drawing(), noise=ipywidgets.FloatSlider(description="loudness"), n=ipywidgets.IntSlider())
    assert isinstance(panel, ipywidgets.VBox)
    assert [slider.description for slider in panel.children[:2]] == ["loudness", "n"]
