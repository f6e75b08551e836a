"""Interactive panels of the notebooks: alive in JupyterLab, one still picture everywhere else.

Why: a picture drawn inside a widget is lost in a batch run, cannot be tested and is dead on a web page. So `explore`
decides once: where somebody sits before JupyterLab it gives sliders, elsewhere the figure at their starting values.
"""

import inspect
import os
from collections.abc import Callable
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

from simlab.errors import ConfigError


def is_live() -> bool:
    """Whether widgets can be moved: Jupyter Server has set JPY_SESSION_NAME, or SIMLAB_UI overrides it.

    Raises `ConfigError` where SIMLAB_UI is neither live nor static.
    """
    wish = os.environ.get("SIMLAB_UI", "")
    if wish not in ("", "live", "static"):
        raise ConfigError("environment variable SIMLAB_UI", wish, "set it to live or static, or not at all")
    return wish == "live" or (wish == "" and "JPY_SESSION_NAME" in os.environ)


def explore(
    draw: Callable[..., Figure], /, *, height: str = "420px", **sliders: ipywidgets.ValueWidget
) -> ipywidgets.VBox | Figure:
    """A panel in which `draw(name=value, ...)` is drawn anew when a slider moves; make it the last line of a cell.

    `draw` is a pure function; the names of `sliders` are the names of its arguments. The figure is closed, so that
    it is shown once only. The panel keeps its `height`, and follows a slider when it is let go, so that the page does
    not jump. Raises `ConfigError` where the names do not fit `draw`.
    """
    starting: dict[str, Any] = {name: slider.value for name, slider in sliders.items()}
    try:
        inspect.signature(draw).bind(**starting)
    except TypeError as error:
        remedy = f"name the sliders like the arguments of what draws ({error})"  # a partial has no name
        raise ConfigError("explore, sliders", list(sliders), remedy) from None

    def show(**values: Any) -> None:
        display(_closed(draw(**values)))  # type: ignore[no-untyped-call]

    if not is_live():
        return _closed(draw(**starting))
    for name, slider in sliders.items():
        slider.description = slider.description or name.replace("_", " ")
        if slider.has_trait("continuous_update"):
            slider.continuous_update = False
    picture = ipywidgets.interactive_output(show, sliders)
    picture.layout.height = height
    return ipywidgets.VBox([*sliders.values(), picture])


def _closed(figure: Figure) -> Figure:
    plt.close(figure)
    return figure
