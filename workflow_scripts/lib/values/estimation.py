"""Estimate Monte-Carlo values V(s_k) and TD errors delta_k, each with its interval (method, section 5)."""

import numpy as np
import polars as pl

from workflow_scripts.lib.config.sections import Values
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.statistics.intervals import newcombe, wilson
from workflow_scripts.lib.storage.tables import check_once
from workflow_scripts.lib.values.adaptive import Design, design_of, estimates

RESPONSE = ["problem_id", "sample"]
STATE = [*RESPONSE, "boundary"]
VALUES = ["value", "ci_low", "ci_high", "value_half_a", "value_half_b"]
TD_ERRORS = ["delta", "delta_low", "delta_high", "delta_half_a", "delta_half_b", "kept"]
COLUMNS = [*STATE, "offset", "n", "n_right", *VALUES, *TD_ERRORS]


def count_continuations(continuations: pl.DataFrame, design: Design) -> pl.DataFrame:
    """Return a row per boundary: n, n_right, value and its halves (even and odd continuations of the first round)."""
    reward, number = pl.col("reward").cast(pl.Float64), pl.col("continuation")
    counted = continuations.group_by(STATE, maintain_order=True).agg(
        n=pl.len().cast(pl.Int64),
        n_right=pl.col("reward").cast(pl.Int64).sum(),
        value_half_a=reward.filter(number % 2 == 0, number < design.first).mean(),
        value_half_b=reward.filter(number % 2 == 1, number < design.first).mean(),
    )
    values = estimates(design)[counted["n"].to_numpy(), counted["n_right"].to_numpy()]
    return counted.with_columns(value=pl.Series(values, dtype=pl.Float64))


def states(
    rollouts: pl.DataFrame, paragraphs: pl.DataFrame, continuations: pl.DataFrame, design: Design
) -> pl.DataFrame:
    """Return one row per state k = 0..K with its value, by response in the order of `continuations`, then k."""
    counted = count_continuations(continuations, design)
    offsets = paragraphs.select(*RESPONSE, boundary=pl.col("paragraph") - 1, offset="start")
    sampled = counted.join(offsets, on=STATE, how="left").with_columns(pl.col("offset").fill_null(0))
    last = paragraphs.group_by(RESPONSE).agg(boundary=pl.col("paragraph").max(), offset=pl.col("end").max())
    reward = pl.col("reward").cast(pl.Float64)
    final = last.join(rollouts, on=RESPONSE, how="inner").select(
        *STATE,
        "offset",
        n=pl.lit(0, pl.Int64),
        n_right=pl.lit(0, pl.Int64),
        value=reward,
        value_half_a=reward,
        value_half_b=reward,
    )
    order = counted.select(RESPONSE).unique(maintain_order=True).with_row_index("response")
    both = pl.concat([sampled.select(final.columns), final]).join(order, on=RESPONSE, how="inner")
    return both.sort("response", "boundary")


def add_intervals(table: pl.DataFrame, confidence: float = 0.95) -> pl.DataFrame:
    """Add ci_low and ci_high: Wilson's interval, widened to the value; both are the value where it is exact (n = 0)."""
    low, high = wilson(table["n_right"].to_numpy(), table["n"].to_numpy(), confidence)
    value, exact = table["value"].to_numpy(), pl.col("n") == 0
    limits = {"ci_low": np.minimum(low, value), "ci_high": np.maximum(high, value)}
    return table.with_columns(pl.Series(name, limit) for name, limit in limits.items()).with_columns(
        pl.when(exact).then("value").otherwise(name).alias(name) for name in ("ci_low", "ci_high")
    )


def add_td_errors(table: pl.DataFrame, gamma: float, min_abs_delta: float) -> pl.DataFrame:
    """Add delta_k, its interval, its halves and whether |delta_k| > `min_abs_delta`; null at k = 0."""
    before = table.select(pl.col(name).shift(1) for name in VALUES)
    value, low, high, half_a, half_b = (gamma * table[name].to_numpy() for name in VALUES)
    previous = {name: before[name].fill_null(0.0).to_numpy() for name in VALUES}
    delta_low, delta_high = newcombe((value, low, high), (previous["value"], previous["ci_low"], previous["ci_high"]))
    added = table.with_columns(
        delta=pl.Series(value - previous["value"]),
        delta_low=pl.Series(delta_low),
        delta_high=pl.Series(delta_high),
        delta_half_a=pl.Series(half_a - previous["value_half_a"]),
        delta_half_b=pl.Series(half_b - previous["value_half_b"]),
    ).with_columns(kept=pl.col("delta").abs() > min_abs_delta)
    first = pl.col("boundary") == 0
    return added.with_columns(pl.when(~first).then(name).alias(name) for name in TD_ERRORS)


def miscounted(continuations: pl.DataFrame, design: Design) -> pl.DataFrame:
    """Return the boundaries that do not have exactly the continuations of the design, once each."""
    number, reward = pl.col("continuation"), pl.col("reward").cast(pl.Int64)
    counted = continuations.group_by(STATE).agg(
        pl.len().alias("n"),
        number.n_unique().alias("different"),
        number.max().alias("last"),
        *(reward.filter(number < look).sum().alias(f"correct_{look}") for look in design.looks),
    )
    planned = np.full(len(counted), design.budget)
    for look in reversed(design.looks):
        planned[~design.goes_on(look, counted[f"correct_{look}"].to_numpy())] = look
    agrees = (pl.col("n") == pl.Series(planned)) & (pl.col("different") == pl.col("n")) & (pl.col("last") < pl.col("n"))
    return counted.filter(~agrees)


def check(rollouts: pl.DataFrame, paragraphs: pl.DataFrame, continuations: pl.DataFrame, design: Design) -> None:
    """Raise unless paragraphs end where their responses do and every boundary has its continuations.

    Every boundary k < K of the problems that have any needs its continuations, once each.

    Raises:
        UserError: the tables do not agree.
    """
    for name, frame, keys in (("rollouts", rollouts, RESPONSE), ("paragraphs", paragraphs, [*RESPONSE, "paragraph"])):
        check_once(frame, keys, name)
    length = rollouts.select(*RESPONSE, length=pl.col("response_ids").list.len().cast(pl.Int64))
    ends = paragraphs.group_by(RESPONSE).agg(boundary=pl.col("paragraph").max(), end=pl.col("end").max())
    counted = continuations.select(STATE).unique()
    needed = paragraphs.select(*RESPONSE, boundary=pl.col("paragraph") - 1)
    valued = length.join(pl.concat([t.select("problem_id") for t in (paragraphs, continuations)]), "problem_id", "semi")
    bare = valued.filter(pl.col("length") == 0).select(*RESPONSE, boundary=pl.lit(0, pl.Int64))
    silent = valued.filter(pl.col("length") > 0).join(ends, on=RESPONSE, how="anti").with_columns(boundary=pl.lit(0))
    unlike = ends.join(length, on=RESPONSE, how="left").filter(pl.col("end").ne_missing(pl.col("length")))
    for mismatched, what in (
        (unlike, "another length"),
        (silent, "no paragraph"),
        (pl.concat([needed, bare]).join(counted, on=STATE, how="anti"), "no continuations"),
        (counted.join(pl.concat([needed, bare]), on=STATE, how="anti"), "continuations but no paragraph"),
        (
            miscounted(continuations, design),
            "not the continuations of values.adaptive" if design.adaptive else f"not {design.budget} continuations",
        ),
    ):
        if len(mismatched):
            problem_id, sample, boundary = mismatched.select(STATE).sort(STATE).row(0)
            raise UserError(
                f"rollouts, paragraphs and continuations disagree: problem {problem_id}, sample {sample}, boundary "
                f"{boundary} has {what}; delete those of this model and data set and run again"
            )


def estimate_values(
    rollouts: pl.DataFrame, paragraphs: pl.DataFrame, continuations: pl.DataFrame, settings: Values
) -> pl.DataFrame:
    """Return the values table: one row per state k = 0..K of every continued response, columns `COLUMNS`.

    Raises:
        UserError: the three tables do not belong together.
    """
    design = design_of(settings)
    check(rollouts, paragraphs, continuations, design)
    table = add_intervals(states(rollouts, paragraphs, continuations, design))
    return add_td_errors(table, settings.gamma, settings.min_abs_delta).select(COLUMNS)
