"""Lengths of prompts, responses and continuations: measured where shards of the study are finished, else assumed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.config.study import pair
from workflow_scripts.lib.plan.quantities import Lengths, Shares

SHARDS = 8
"""Finished shards of a run that are read; more would change a mean little and cost seconds."""


def tokens(column: str) -> pl.Expr:
    """Return the lengths of a column of token ids."""
    return pl.col(column).list.len()


def shards(results: Path, kind: str, run: str) -> list[Path]:
    """List the first finished shards of a kind."""
    finished = [path for path in (results / kind / run).glob("*.parquet") if path.stem.isdigit()]
    return sorted(finished, key=lambda path: int(path.stem))[:SHARDS]


def frame(paths: Sequence[Path], *columns: str) -> pl.DataFrame | None:
    """Read some columns of several shards as one table.

    Return None if one is not readable, because a plan must not fail on a shard.
    """
    try:
        return pl.concat([pl.read_parquet(path, columns=list(columns)) for path in paths]) if paths else None
    except (OSError, pl.exceptions.PolarsError):
        return None


def mean(table: pl.DataFrame, expression: pl.Expr) -> float:
    """Return the mean of an expression; 0 over nothing."""
    return float(table.select(expression.mean()).item() or 0)


def measured(results: Path, run: str) -> Lengths | None:
    """Measure lengths on a run's finished shards; None without one.

    Figures that need paragraphs are None without these. A response without a blank line is one paragraph.
    """
    rollouts = frame(shards(results, "rollouts", run), "prompt_ids", "response_ids")
    if rollouts is None or not len(rollouts):
        return None
    where = f"measured on {len(rollouts)} finished responses of {run}"
    lengths = Lengths(mean(rollouts, tokens("prompt_ids")), mean(rollouts, tokens("response_ids")), 0, where)
    asked = frame(shards(results, "confidence", run), "tries")
    if asked is not None and len(asked):
        share = mean(asked, pl.col("tries").is_not_null())
        lengths = replace(lengths, asked=share, unparsed=mean(asked, pl.col("tries") > 1))
    paragraphs = frame(shards(results, "paragraphs", run), "problem_id", "sample", "start")
    if paragraphs is None or not len(paragraphs):
        return lengths
    each = len(paragraphs) / len(paragraphs.select("problem_id", "sample").unique())
    lengths = replace(lengths, paragraphs=each, before=mean(paragraphs, pl.col("start")))
    drawn = frame(shards(results, "continuations", run), "problem_id", "sample", "boundary", "response_ids")
    if drawn is None or not len(drawn):
        return lengths
    boundaries = len(drawn.select("problem_id", "sample", "boundary").unique())
    return replace(lengths, remaining=mean(drawn, tokens("response_ids")), n_continuations=len(drawn) / boundaries)


def stated(entry: dict[str, Any], answer: str, end: int, longest: int) -> Lengths:
    """Return the assumed lengths of an answer type, at one end of their ranges (0 or 1)."""
    response = min(entry["response"][end], longest)
    return Lengths(entry["prompt"][end], response, max(1.0, entry["paragraphs"][end]), f"assumed for `{answer}`")


def expected(config: dict[str, Any], assumptions: dict[str, Any], results: Path | None, end: int) -> dict[str, Lengths]:
    """Return the lengths of every run at one end of the assumed ranges.

    They are the run's own, else those of another model on its data set, else the assumed ones. `results` None reads no
    shard. Where no paragraph is finished, their number is the assumed one.
    """
    runs = config["rollouts"]["runs"]
    by_run = {run: measured(results, run) if results else None for run in runs}
    lengths = {}
    for run in runs:
        dataset = pair(run)[1]
        answer = config["datasets"][dataset]["answer"]
        stated_of = assumptions["lengths"]
        assumed = stated(stated_of.get(answer, stated_of["other"]), answer, end, config["rollouts"]["max_tokens"])
        known = [by_run[run], *(by_run[other] for other in runs if pair(other)[1] == dataset)]
        best = next((one for one in known if one), None)
        if best is not None and not best.paragraphs:
            source = f"{best.source}, paragraphs {assumed.source}"
            best = replace(best, paragraphs=assumed.paragraphs, source=source)
        lengths[run] = best or assumed
    return lengths


def shares(assumptions: dict[str, Any], end: int) -> Shares:
    """Return assumed shares and bytes at one end of their ranges."""
    assumed, each = assumptions["shares"], assumptions["bytes_per_token"]
    kept, unparsed, reread = (assumed[name]["range"][end] for name in ("kept_paragraphs", "unparsed", "reread"))
    return Shares(
        kept,
        unparsed,
        reread,
        each["rollouts"]["range"][end],
        each["responses"]["range"][end],
        end,
    )
