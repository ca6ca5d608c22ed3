"""Rows of the tables on rollouts and values."""

from dataclasses import dataclass

import polars as pl

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import accuracy
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.storage.identity import Run
from workflow_scripts.lib.values.adaptive import Design
from workflow_scripts.lib.values.noise_ceiling import kept_ceiling, noise_ceiling

ROLLOUT_COLUMNS = [
    *("model", "dataset", "n", "accuracy", "ci_low", "ci_high", "truncated", "mean_tokens"),
    *("n_responses", "n_validation", "accuracy_validation", "validation_low", "validation_high", "reason"),
]
VALUE_COLUMNS = [
    *("model", "dataset", "paragraphs", "share_kept", "share_positive", "n_continuations", "noise_ceiling"),
    *("noise_ceiling_all", "reliability", "kept", "responses", "continuations", "n_fewest", "n_mean"),
    *("kept_validation", "reason"),
]


@dataclass(frozen=True)
class Settings(Resampling):
    """The part of the configuration that the tables depend on."""

    gamma: float
    """Discount of the TD errors."""
    min_abs_delta: float
    """The threshold that kept paragraphs pass."""
    design: Design
    """The design that decides the number of continuations of a boundary."""


def rollout_row(run: Run, rollouts: pl.DataFrame, splits: pl.DataFrame, settings: Settings) -> dict[str, object]:
    """Return one row of the rollouts table: figures of all problems, then of the validation part."""
    joined = rollouts.join(splits, on="problem_id", how="left")
    validation = joined.filter(pl.col("split") == "validation")
    row: dict[str, object] = {"model": run[0], "dataset": run[1], "n": rollouts["problem_id"].n_unique()}
    row |= {"n_responses": len(rollouts), "n_validation": validation["problem_id"].n_unique()}
    row["truncated"] = rollouts["truncated"].cast(pl.Float64).mean()
    row["mean_tokens"] = rollouts["response_ids"].list.len().cast(pl.Float64).mean()
    row["reason"] = one_class_reason(validation)
    for names, part in (
        (("accuracy", "ci_low", "ci_high"), rollouts),
        (("accuracy_validation", "validation_low", "validation_high"), validation),
    ):
        row |= dict(zip(names, accuracy(part, settings) or (None, None, None), strict=True))
    return row


def one_class_reason(validation: pl.DataFrame) -> str | None:
    """Say why no probe can be judged on these responses; None if one can."""
    if validation.is_empty():
        return "no validation problem"
    share = validation["reward"].cast(pl.Float64).mean()
    if share == 1:
        return "all answers of the validation problems are correct: no probe can be judged"
    return "all answers of the validation problems are incorrect: no probe can be judged" if share == 0 else None


def value_row(run: Run, values: pl.DataFrame, splits: pl.DataFrame, settings: Settings) -> dict[str, object]:
    """Return one row of the values table.

    Of the continuations of a boundary, `n_continuations` is the largest number, `n_fewest` the smallest, `n_mean` the
    mean; they differ where the design is adaptive. `noise_ceiling` is that of the paragraphs the dopamine probe is
    scored on: kept ones of validation problems, with the selection by their own noisy TD errors simulated.
    `noise_ceiling_all` is the split-half ceiling of all validation paragraphs, and `reliability` its square.
    """
    joined = values.join(splits, on="problem_id", how="left", maintain_order="left")
    deltas = joined.filter(pl.col("delta").is_not_null())
    kept = deltas.filter(pl.col("kept"))
    validation = deltas.filter(pl.col("split") == "validation")
    row: dict[str, object] = {"model": run[0], "dataset": run[1], "paragraphs": len(deltas), "kept": len(kept)}
    row["share_kept"] = len(kept) / len(deltas) if len(deltas) else None
    row["share_positive"] = float((kept["delta"] > 0).mean()) if len(kept) else None  # type: ignore[arg-type]
    numbers = values.filter(pl.col("n") > 0)["n"]  # the end of a response has its reward
    row |= {"n_continuations": values["n"].max(), "n_fewest": numbers.min(), "n_mean": numbers.mean()}
    row["responses"] = values.select("problem_id", "sample").n_unique()
    row["continuations"] = values["n"].sum()
    row["kept_validation"] = int(validation["kept"].sum())
    half_a, half_b, delta = (validation[name].to_numpy() for name in ("delta_half_a", "delta_half_b", "delta"))
    split_half = noise_ceiling(half_a, half_b, delta=delta if settings.design.adaptive else None)
    row |= {"noise_ceiling_all": split_half.ceiling, "reliability": split_half.reliability}
    row["reason"] = value_reason(row)
    if row["reason"] is None:
        part = joined.filter(pl.col("split") == "validation")
        rng = generator(settings.seed, "ceiling", *run)
        ceiling = kept_ceiling(part, settings.design, settings.gamma, settings.min_abs_delta, rng)
        row["noise_ceiling"] = ceiling.value
        row["reason"] = f"no noise ceiling: {ceiling.reason}" if ceiling.reason else None
    return row


def value_reason(row: dict[str, object]) -> str | None:
    """Say why no dopamine probe can be judged on these paragraphs; None if one can."""
    if not row["paragraphs"]:
        return "no paragraph: no dopamine probe can be judged"
    if not row["kept"]:
        return "no paragraph passes the threshold: no dopamine probe can be judged"
    if not row["kept_validation"]:
        return "no paragraph of the validation problems passes the threshold: no dopamine probe can be judged"
    return None


def split_of(dataset: str, splits: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the split of a data set's problems.

    Raises:
        UserError: no problems file was given for the data set.
    """
    if dataset not in splits:
        advice = "pass the problems of every data set that has rollouts"
        raise UserError(f"--problems: no files {dataset}/*.parquet; {advice}")
    return splits[dataset]
