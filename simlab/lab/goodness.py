"""How well a fit foretells data that it has not seen, with and without each of its parts.

The score of a row (a choice, an impression) is its log probability; the gain of a part is the mean by which it raises
the scores of the held-out rows. Why by user: the rows of a user are alike, so the error of a gain is that of a ratio of
sums over users (Cochran, Sampling Techniques, 1977, 6.4).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from simlab.schema import Floats, Ints
from simlab.settings import require


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a fit, taken in after those above it."""

    name: str
    score: float
    """Mean log probability of a held-out row with this part and those above."""
    gain: float
    """By how much more than without it; NaN for the first."""
    error: float
    """Standard error of `gain`."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The parts of a fit in the order in which they are taken in."""

    rows: str
    """What a row is."""
    n: int
    """Rows held out."""
    parts: tuple[Part, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row a part: score, gain, error, and whether the gain is more than 2 errors above 0."""
        columns = {name: [getattr(part, name) for part in self.parts] for name in ("score", "gain", "error")}
        table = pd.DataFrame(columns, index=[part.name for part in self.parts])
        table["helps"] = ["" if np.isnan(g) else "yes" if g > 2 * e else "no" for g, e in zip(table.gain, table.error)]
        return table

    def __str__(self) -> str:
        written = self.table.round(5).to_string(na_rep="")
        head = f"log probability of {self.n} held-out {self.rows}, mean: nearer 0 is better; each line adds a part"
        return f"{head}\n{written}"


def goodness(rows: str, user_id: Ints, scores: Mapping[str, Floats]) -> Fit:
    """The fit whose parts, taken in one after another, give the held-out rows these `scores`, each (n,)."""
    n = len(user_id)
    require(f"held-out {rows}", n, n > 0, "give more data")
    parts, before = list[Part](), None
    for name, score in scores.items():
        gain, error = float("nan"), float("nan")
        if before is not None:
            gain = float((score - before).mean())
            error = float(np.sqrt((np.bincount(user_id, score - before - gain) ** 2).sum())) / n
        parts.append(
            Part(name=name if before is None else f"+ {name}", score=float(score.mean()), gain=gain, error=error)
        )
        before = score
    return Fit(rows=rows, n=n, parts=tuple(parts))
