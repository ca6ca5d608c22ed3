"""Functions for the modules that write result tables: fixed columns, csv and parquet."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from workflow_scripts.lib.storage.files import atomic_path
from workflow_scripts.lib.storage.tables import write_parquet

ALL = "all"
"""Model and data set of rows that are means over runs."""
TEXT = {
    *("model", "dataset", "position", "selection", "against", "mode", "first", "second", "verdict", "reason"),
    *("across", "kind", "model_a", "dataset_a", "model_b", "dataset_b"),
    *("method", "layers", "prune_ratios", "chosen_on", "condition", "measure", "all_reason", "neighbour"),
    *("table", "setting", "key", "paper", "study"),
}
"""The columns that contain text."""


def with_columns(rows: list[dict[str, object]] | pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return a table with exactly these columns, empty ones included."""
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, infer_schema_length=None)
    missing = [pl.lit(None).alias(name) for name in columns if name not in frame.columns]
    complete = frame.with_columns(missing).select(columns)
    return complete.with_columns(
        pl.col(name).cast(pl.String if name in TEXT else pl.Float64)
        for name, kind in complete.schema.items()
        if kind == pl.Null
    )


def write_table(frame: pl.DataFrame, name: str, folder: Path) -> None:
    """Write `frame` as `{name}.csv` and `{name}.parquet`."""
    write_parquet(frame, folder / f"{name}.parquet")
    with atomic_path(folder / f"{name}.csv") as path:
        frame.write_csv(path)
