"""What the modules that write result tables share: runs read from paths, accuracies with intervals, csv and parquet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from workflow_scripts.lib.files import atomic_path
from workflow_scripts.lib.identity import agree
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics import bootstrap_mean, wilson
from workflow_scripts.lib.tables import write_parquet

Run = tuple[str, str]
"""Model and data set, the keys of the catalogue."""

TEXT = {
    *("model", "dataset", "position", "selection", "against", "mode", "first", "second", "verdict", "reason"),
    *("across", "kind", "model_a", "dataset_a", "model_b", "dataset_b"),
    *("method", "layers", "prune_ratios", "chosen_on", "condition", "measure", "all_reason"),
}
"""The columns that hold words."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are computed."""

    confidence: float
    """Coverage of every interval, for instance 0.95."""
    resamples: int
    """Bootstrap resamples of problems."""
    seed: int


def run_of(path: Path, kind: str) -> Run:
    """Model and data set of a result file, read from its place in the results folder.

    `kind` is `shard` (`.../{model}/{dataset}/{file}`), `file` (`.../{model}/{dataset}.parquet`) or `layer`
    (`.../{model}/{dataset}/{layer}/{file}`).
    """
    folder = path.parent.parent if kind == "layer" else path.parent
    return (folder.name, path.stem) if kind == "file" else (folder.parent.name, folder.name)


def group_by_run(paths: Sequence[Path], kind: str) -> dict[Run, list[Path]]:
    """Files of each run, runs and files in the order given.

    Raises:
        UserError: a table says that it is of another run.
    """
    grouped: dict[Run, list[Path]] = {}
    for path in paths:
        grouped.setdefault(run_of(path, kind), []).append(path)
    for (model, dataset), several in grouped.items():
        agree({"model": model, "dataset": dataset}, any=several)
        for path in several if kind == "layer" else []:
            agree({"layer": int(path.parent.name)}, any=path)
    return grouped


def accuracy(rollouts: pl.DataFrame, how: Resampling) -> tuple[float, float | None, float | None] | None:
    """Share of right responses with its interval; none for no responses.

    One response a problem: Wilson. Several: bootstrap over problems, whose responses are not independent; where all
    responses are graded alike it sees no spread, and Wilson takes each problem as one trial.
    """
    if rollouts.is_empty():
        return None
    share = float(rollouts["reward"].cast(pl.Float64).mean())  # type: ignore[arg-type]
    n = rollouts["problem_id"].n_unique()
    if n == len(rollouts) or share in (0, 1):
        low, high = wilson(round(share * n), n, how.confidence)
        return share, float(low), float(high)
    groups = rollouts["problem_id"].rank("dense").to_numpy()
    rng = generator(how.seed, "accuracy")
    found = bootstrap_mean(rollouts["reward"].to_numpy(), groups, how.resamples, rng, how.confidence)
    return share, found.low, found.high


def with_columns(rows: list[dict[str, object]] | pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """A table with exactly these columns, empty ones included."""
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, infer_schema_length=None)
    missing = [pl.lit(None).alias(name) for name in columns if name not in frame.columns]
    wanted = frame.with_columns(missing).select(columns)
    return wanted.with_columns(
        pl.col(name).cast(pl.String if name in TEXT else pl.Float64)
        for name, kind in wanted.schema.items()
        if kind == pl.Null
    )


def write_table(frame: pl.DataFrame, name: str, folder: Path) -> None:
    """Write `frame` as `{name}.csv` and `{name}.parquet`."""
    write_parquet(frame, folder / f"{name}.parquet")
    with atomic_path(folder / f"{name}.csv") as path:
        frame.write_csv(path)
