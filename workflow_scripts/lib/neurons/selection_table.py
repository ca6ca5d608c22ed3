"""Select neurons by every configured selection, at every share and draw (method, section 6)."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from workflow_scripts.lib.config.sections import Interventions
from workflow_scripts.lib.neurons.conditions import n_draws, shares_of
from workflow_scripts.lib.neurons.selections import LayerMeasures, select

SCHEMA: dict[str, Any] = {
    "layer": pl.Int64,
    "selection": pl.String,
    "draw": pl.Int64,
    "share": pl.Float64,
    "neurons": pl.List(pl.Int64),
}


def select_all(measures: Sequence[LayerMeasures], section: Interventions) -> pl.DataFrame:
    """Return one row for each layer, selection, share and draw."""
    rows = [
        (one.layer, selection, draw, share, select(selection, share, draw, section.seed, one))
        for one in measures
        for selection in section.selections
        for share in shares_of(section, one.layer, selection)
        for draw in range(n_draws(section, selection))
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")
