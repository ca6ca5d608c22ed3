"""The section on what was run: totals, responses, paragraphs and their TD errors."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from workflow_scripts.lib.formatting import grouped, number, percent
from workflow_scripts.lib.report.tables import Column, Row, TableView, exact, ranged, view, whole

RUN = [exact("Model", "model"), exact("Data set", "dataset")]
ADAPTIVE = (
    " Continuations were drawn until the interval of a value was narrow enough or the budget of the boundary was spent "
    "(`values.adaptive`); values and TD errors are unbiased all the same."
)


@dataclass(frozen=True)
class RunsSection:
    """Totals, tables, why some runs have no probe that can be judged, and what the study leaves out and why."""

    totals: list[tuple[str, str]]
    tables: list[TableView]
    warnings: list[str]
    left_out: str


def runs_section(tables: dict[str, pl.DataFrame], confidence: str, left_out: Mapping[str, str]) -> RunsSection:
    """Build the section on what was produced, by model and data set."""
    rollouts, values = tables["rollouts"].to_dicts(), tables["values"].to_dicts()
    shown = [rollout_table(rollouts, confidence), *([value_table(values)] if values else [])]
    warnings = [f"{row['model']}/{row['dataset']}: {row['reason']}." for row in (*rollouts, *values) if row["reason"]]
    parts = "; ".join(f"{part} ({reason})" for part, reason in left_out.items())
    return RunsSection(totals(tables), shown, warnings, parts)


def totals(tables: dict[str, pl.DataFrame]) -> list[tuple[str, str]]:
    """Sum what was produced, over the runs of the study."""
    rollouts, values = tables["rollouts"], tables["values"]
    return [
        ("models", grouped(rollouts["model"].n_unique())),
        ("data sets", grouped(rollouts["dataset"].n_unique())),
        ("runs (a model on a data set)", grouped(len(rollouts))),
        ("responses", grouped(rollouts["n_responses"].sum())),
        ("paragraphs with a TD error", grouped(values["paragraphs"].sum() if len(values) else 0)),
        ("continuations sampled for them", grouped(values["continuations"].sum() if len(values) else 0)),
    ]


def rollout_table(rows: list[Row], confidence: str) -> TableView:
    """Tabulate responses and accuracies."""
    caption = (
        f"Responses, sampled once and graded; accuracy with its {confidence} interval. Probes are trained on the "
        "training problems and scored on the validation problems."
    )
    columns = [*RUN, whole("Problems", "n"), whole("Responses", "n_responses"), ranged("Accuracy", "accuracy")]
    columns += [whole("Validation problems", "n_validation")]
    columns += [ranged("Validation accuracy", "accuracy_validation", "validation_low", "validation_high")]
    columns += [share("Cut off", "truncated"), Column("Mean tokens", mean_tokens)]
    return view(caption, columns, rows)


def share(title: str, name: str) -> Column:
    """Build a column of shares in percent."""
    return Column(title, lambda row: percent(row[name]))


def mean_tokens(row: Row) -> str:
    """Write the mean length of a response."""
    return "–" if row["mean_tokens"] is None else f"{row['mean_tokens']:.0f}"


def is_adaptive(row: Row) -> bool:
    """Say whether boundaries have different numbers of continuations."""
    return bool(row["n_fewest"] != row["n_continuations"])


def continuations(row: Row) -> str:
    """Write how many continuations a boundary has."""
    if is_adaptive(row):
        return f"{row['n_fewest']} to {row['n_continuations']}, mean {row['n_mean']:.1f}"
    return grouped(row["n_continuations"])


def value_table(rows: list[Row]) -> TableView:
    """Tabulate paragraphs, their TD errors and noise ceilings."""
    caption = (
        "Paragraphs and their Monte-Carlo TD errors. “Kept” are those beyond the threshold. The noise ceiling of the "
        "kept paragraphs of the validation problems simulates their selection by noisy TD errors; “All” is the "
        "split-half ceiling of all paragraphs of these problems."
    )
    caption += ADAPTIVE if any(map(is_adaptive, rows)) else ""
    columns = [*RUN, whole("Responses", "responses"), whole("Paragraphs", "paragraphs")]
    columns += [share("Kept", "share_kept"), share("Positive, of these", "share_positive")]
    columns += [Column("Continuations per boundary", continuations), whole("Continuations", "continuations")]
    columns += [Column("Noise ceiling, kept", lambda row: number(row["noise_ceiling"]))]
    columns += [Column("All", lambda row: number(row["noise_ceiling_all"]))]
    return view(caption, columns, rows)
