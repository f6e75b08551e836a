"""Training-serving skew: features as served held against features as trained.

skew       how they are spread, by PSI against what was stored with the model
unequal    value by value, where both are of the same item or user on the same day
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from simlab.recsys.drift import category_counts, psi_test, quantile_edges
from simlab.recsys.quality import Finding, finding
from simlab.schema import Catalogue, Shoppers

Features = Mapping[str, "pd.Series[Any]"]
"""Values of features by name: numbers or words; the index says of which item or user."""

Profile = dict[str, dict[str, Any]]
"""How the values of features were spread, as JSON."""

_SHIFT, _CHANCE = 0.1, 1e-6
"""A feature has shifted where its PSI is above the one, and by chance that is rarer than the other."""


def features(
    impressions: pa.Table, catalogue: Catalogue, shoppers: Shoppers, *, day: int, window_days: int = 28
) -> dict[str, "pd.Series[Any]"]:
    """Price and category of the items on sale on `day`; segment of the shoppers who visited on it, and their clicks in
    the `window_days` before it. `impressions` are IMPRESSIONS of those days.

    Why of a day's visitors: who comes often has clicked more, so visitors are to be compared with visitors.
    """
    rows = impressions.select(["day", "user_id", "clicked"]).to_pandas()
    rows = rows[rows["user_id"].between(0, len(shoppers) - 1)]
    users = np.unique(rows.loc[rows["day"] == day, "user_id"])
    clicks = rows.loc[rows["clicked"] & rows["day"].between(day - window_days, day - 1), "user_id"]
    items = np.flatnonzero(catalogue.on_sale(day))
    kinds, segments = np.array(catalogue.category.names), np.array(shoppers.segment.names)
    return {
        "item_price": pd.Series(catalogue.price[items], index=items),
        "item_category": pd.Series(kinds[catalogue.category.codes[items]], index=items),
        "user_segment": pd.Series(segments[shoppers.segment.codes[users]], index=users),
        "recent_clicks": pd.Series(np.bincount(clicks, minlength=len(shoppers))[users], index=users),
    }


def profile(features: Features) -> Profile:
    """How features are spread: numbers by tenths (inner edges, and counts by bin), words by counts; as JSON.

    >>> profile({"segment": pd.Series(["teens", "school", "teens"])})
    {'segment': {'counts': {'school': 1, 'teens': 2}}}
    """
    told: Profile = {}
    for name, values in features.items():
        told[name] = {}
        if pd.api.types.is_numeric_dtype(values):
            finite = values[np.isfinite(values)]
            told[name]["edges"] = quantile_edges(finite).tolist() if len(finite) >= 10 else []
        told[name]["counts"] = _counts(values, told[name].get("edges"))
    return told


def _counts(values: "pd.Series[Any]", edges: list[float] | None) -> dict[str, int]:
    """How often values are where; "" where there is none."""
    words = values if edges is None else pd.Series(np.searchsorted(edges, values.to_numpy(float)).astype(str))
    counts = words.where(values.notna().to_numpy(), "").value_counts().sort_index()
    return {str(name): int(n) for name, n in counts.items()}


def skew(trained: Profile, served: Features, *, day: int) -> list[Finding]:
    """Features that are not served as they were trained: not at all, or spread in another way.

    A shift is a population stability index (`drift.psi`) above 0.1 that comes by chance less than once in 1e6 times.
    """
    findings = []
    for name, before in trained.items():
        values, edges = served.get(name), before.get("edges")
        if values is None or not values.count() or pd.api.types.is_numeric_dtype(values) == (edges is None):
            evidence = f"{name}: as served there is none of it, or words for numbers"
            findings.append(finding("feature_missing", "error", day, (0, 1), evidence, "the path of this feature"))
            continue
        then, now = Counter[str](before["counts"]), Counter(_counts(values, edges))
        test = psi_test(*category_counts(then.elements(), now.elements()), false_alarm=_CHANCE)
        if test.drifted and test.statistic > _SHIFT:
            p, q = ({one: counts[one] / counts.total() for one in then | now} for counts in (now, then))
            most = max(p, key=lambda one: abs(p[one] - q[one]))
            where = "what is empty" if most == "" else most if edges is None else f"bin {most}"
            evidence = f"{name}: PSI {test.statistic:.2f}; {where} is {p[most]:.1%} as served, {q[most]:.1%} as trained"
            size = len(values), len(values)
            findings.append(finding("feature_shift", "warning", day, size, evidence, "units; where it is read from"))
    return findings


def unequal(trained: Features, served: Features, *, day: int) -> list[Finding]:
    """Features whose value as served is not the one that training computes for the same item or user and day.

    Each index of `served` is looked up in `trained`, where it stands once; numbers may differ by 1e-6 of themselves.
    """
    findings = []
    for name in (name for name in trained if name in served):
        then, now = trained[name].dropna(), served[name].dropna()
        now = now[now.index.isin(then.index)]
        then = then.reindex(now.index)
        numbers = pd.api.types.is_numeric_dtype(now) and pd.api.types.is_numeric_dtype(then)
        differ = ~np.isclose(now, then, rtol=1e-6, atol=0) if numbers else (now != then).to_numpy()
        if differ.any():
            count, one, was = int(differ.sum()), now[differ], then[differ]
            first = f"{one.iloc[0]} as served and {was.iloc[0]} as trained for {one.index[0]}"
            evidence = f"{name}: {count} of {len(now)} values differ; the first: {first}"
            if numbers and (was != 0).any():
                evidence += f"; in the median {(one / was)[was != 0].median():.4g} times as trained"
            look = "the two paths on which it is computed: units, tables, days"
            findings.append(finding("feature_values", "error", day, (count, len(now)), evidence, look))
    return findings
