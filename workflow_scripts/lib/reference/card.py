"""The card of the reference models: data, recipes, seeds, measurements."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.lib.statistics.ranks import auc
from workflow_scripts.lib.storage.tables import read_parquet

INTRODUCTION = """# Reference models

Three small causal language models of the Qwen2 architecture (6 layers, 192 wide, 2.5 million parameters, bfloat16)
that ship with the project so that every stage of the workflow runs on a laptop. They solve three generated task
families by guess and check with few tries, so that much is left to chance and the length of the question tells nothing:
`ledger` (a running total whose changes may have gone either way), `locks` (a code from sums of its digits) and `doors`
(a way through one-way doors with dead ends). `workflow_scripts/lib/reference/tasks.py` makes the problems and the
demonstrations.

- `base`: supervised imitation of demonstrators that try candidates at random, forget carries, give up and sometimes
  resume, with known probabilities. The first word of a solution says how hard the problem is, the last how sure the
  answer.
- `grpo`, `ppo`: fine-tuned from `base` by reinforcement learning with the right answer as the only reward;
  group-relative advantages in one, a critic with generalised advantage estimation in the other.

A hash of a problem's content decides whether it may be trained on, so the problems measured here were never trained on.
The models are made by `snakemake train_reference_models` from the recipes below; they are research instruments of
narrow use and say nothing about large models.
"""


def table(rows: list[list[Any]], header: list[str]) -> str:
    """Format a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def number(value: float | None, decimals: int = 3) -> str:
    """Format a number with `decimals` decimals, or a dash if there is none."""
    return "–" if value is None or np.isnan(value) else f"{value:.{decimals}f}"


def with_interval(row: dict[str, Any], key: str) -> str:
    """Format a number with its interval."""
    return f"{number(row[key])} [{number(row['ci_low'])}, {number(row['ci_high'])}]"


def length_auc(rollouts: pl.DataFrame) -> float:
    """Compute the AUC of prompt length in tokens for a correct answer, in the direction that predicts better."""
    frame = rollouts.select(length=pl.col("prompt_ids").list.len(), reward=pl.col("reward"))
    area = float(auc(frame["length"].to_numpy().astype(float), frame["reward"].to_numpy()))
    return max(area, 1 - area)


def describe_runs(rollouts: dict, values: dict, accuracies: pl.DataFrame, threshold: float) -> Iterator[dict[str, Any]]:
    """Yield one dictionary of measurements for each (model, data set)."""
    for (model, dataset), paths in rollouts.items():
        frame = read_parquet(paths)
        row = accuracies.row(by_predicate=(pl.col("model") == model) & (pl.col("dataset") == dataset), named=True)
        yield {**row, "length_auc": length_auc(frame), **describe_values(values.get((model, dataset)), threshold)}


def describe_values(paths: list[Path] | None, threshold: float) -> dict[str, Any]:
    """Describe paragraphs and TD errors of one run; NaN if its values were not estimated."""
    if paths is None:
        return dict.fromkeys(("paragraphs", "deltas", "up", "down"), float("nan"))
    states = read_parquet(paths)
    deltas = states["delta"].drop_nulls()
    return {
        "paragraphs": states.group_by("problem_id", "sample").agg(pl.col("boundary").max())["boundary"].median(),
        "deltas": len(deltas),
        "up": (deltas > threshold).mean(),
        "down": (deltas < -threshold).mean(),
    }


def best(layers: pl.DataFrame, model: str, dataset: str, key: str, position: str | None = None) -> float:
    """Return the best layer's number with all inputs kept."""
    chosen = layers.filter((pl.col("model") == model) & (pl.col("dataset") == dataset) & (pl.col("prune_ratio") == 0))
    if position is not None:
        chosen = chosen.filter(pl.col("position") == position)
    highest = chosen[key].drop_nulls().max()
    return float(highest) if isinstance(highest, int | float) else float("nan")


def judge(run: dict[str, Any], base: dict[str, Any], value: pl.DataFrame, dopamine: pl.DataFrame) -> list[str]:
    """Check the requirements on a fine-tuned model on one task; return model, task, and those it missed."""
    name = (run["model"], run["dataset"])
    large = run["up"] + run["down"]
    checks = {
        "accuracy 0.45–0.80": 0.45 <= run["accuracy"] <= 0.80,
        "base + 0.05": run["accuracy"] >= base["accuracy"] + 0.05,
        "median paragraphs ≥ 4": run["paragraphs"] >= 4,
        "large TD errors ≥ 15 %, both signs": large >= 0.15 and min(run["up"], run["down"]) > 0,
        "length AUC ≤ 0.70": run["length_auc"] <= 0.70,
        "AUC at s_0 ≥ 0.70": best(value, *name, "auc", "initial") >= 0.70,
        "AUC at the end ≥ 0.80": best(value, *name, "auc", "final") >= 0.80,
        "Spearman ≥ 0.3": best(dopamine, *name, "spearman") >= 0.3,
    }
    missed = [text for text, met in checks.items() if not met]
    return [run["model"], run["dataset"], "all met" if not missed else "missed: " + "; ".join(missed)]


def by_layer(layers: pl.DataFrame, key: str) -> Iterator[list[str]]:
    """Yield rows of one probe metric by layer, all inputs kept, with interval and the shuffled-label control."""
    kept = layers.filter(pl.col("prune_ratio") == 0).sort("model", "dataset", "layer")
    for (model, dataset), group in kept.group_by("model", "dataset", maintain_order=True):
        cells = [f"{with_interval(row, key)} ({number(row['shuffled'])})" for row in group.iter_rows(named=True)]
        yield [str(model), str(dataset), *cells]


def number_drawn(values: dict[str, Any]) -> str:
    """Return how many continuations were drawn per state, as text."""
    how = values["adaptive"]
    return f"{how['first']} to {how['budget']}" if how else str(values["n_continuations"])


def card(runs: list[dict[str, Any]], value: pl.DataFrame, dopamine: pl.DataFrame, recipes: dict, study: dict) -> str:
    """Write the whole card as Markdown."""
    bases = {run["dataset"]: run for run in runs if run["model"] == "base"}
    keys = ("up", "down", "length_auc")
    measured = [
        [r["model"], r["dataset"], r["n"], with_interval(r, "accuracy")]
        + [number(r[key], 0) for key in ("paragraphs", "deltas")]
        + [number(r[key]) for key in keys]
        for r in runs
    ]
    header = ["model", "task", "problems", "accuracy", "median paragraphs", "paragraphs with values"]
    threshold = study["values"]["min_abs_delta"]
    header += [f"share delta > {threshold}", f"share delta < -{threshold}", "AUC of question length"]
    layers = [f"layer {layer}" for layer in sorted(set(value["layer"]))]
    note = (
        "Mean over seeds, 95 % bootstrap interval over validation problems; in parentheses the same probe trained on "
        "shuffled labels.\n"
    )
    parts = [
        INTRODUCTION,
        f"## Measured on held-out problems\n\nTemperature {study['rollouts']['temperature']}, top_p "
        f"{study['rollouts']['top_p']}, {number_drawn(study['values'])} continuations a state.\n",
        table(measured, header),
        "## Required of the fine-tuned models\n",
        table(
            [judge(r, bases[r["dataset"]], value, dopamine) for r in runs if r["model"] != "base"],
            ["model", "task", "requirements"],
        ),
    ]
    for position, title in (
        ("initial", "the last prompt token, s_0"),
        ("final", "the last token of the response, s_T"),
    ):
        rows = list(by_layer(value.filter(pl.col("position") == position), "auc"))
        parts += [f"## Value probes: AUC at {title}\n\n{note}", table(rows, ["model", "task", *layers])]
    parts += [
        f"## Dopamine probes: Spearman correlation with the TD error\n\n{note}",
        table(list(by_layer(dopamine, "spearman")), ["model", "task", *layers]),
        f"## Recipes\n\n```json\n{json.dumps(recipes, indent=2)}\n```\n",
        f"## Settings of the measurement\n\n```json\n{json.dumps(study, indent=2)}\n```\n",
        "## Licence\n\nThe same as the project's. The data are generated; no text of other authors was used.\n",
    ]
    return "\n".join(parts)
