"""What the report shows of transfer, confidence, search and trajectories, beside what the paper prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.formatting import fine_interval, grouped, interval, number, p_value
from workflow_scripts.lib.report.parts import FigureView, caption_of, data_uri
from workflow_scripts.lib.report.tables import Column, Row, TableView, run, view, words

METHODS = {
    "value_neurons": "value neurons, ratio chosen on validation",
    "value_neurons_cv": "value neurons, ratio chosen on training",
    "lcd": "latent correctness direction",
    "lcd_logistic": "logistic regression",
    "verbal": "verbal confidence",
    "token": "token confidence",
    "question_length": "question length",
    "dopamine": "dopamine neurons",
    "implicit_prm": "implicit reward model",
    "random": "random candidate",
    "greedy": "greedy decoding",
    "best_of_n": "best of n by value probe",
    "majority": "majority of n",
}
"""How the report calls the methods of Tables 3 and 4."""

CAPTIONS = {
    "transfer": (
        "Value neurons that two probes share, as intersection over union, the mean over pairs of different "
        "seeds and, in brackets, lowest and highest. Probes of one seed start from the same weights in every "
        "run, which alone makes them alike: “same seed” shows by how much."
    ),
    "importance": "Rank correlation of the importances of all neurons, with its interval over neurons.",
    "table3": (
        "Predicting from the question alone whether the answer will be right (the paper’s Table 3), on "
        "validation problems. Brier score and calibration error are those of probabilities calibrated on "
        "training problems."
    ),
    "confidence_contrasts": (
        "AUC of value neurons less that of another method, with paired intervals over problems. “all/all”: "
        "the mean over runs."
    ),
    "table4": (
        "Answers to validation problems (the paper’s Table 4). Tokens count everything generated, discarded "
        "candidates included; “best of n” and “majority” may spend on each problem what the dopamine search "
        "spent on it. Seconds stand in table4.csv."
    ),
    "search_contrasts": "Accuracy of the dopamine search less another method’s, seeds averaged within each problem.",
    "neurons": (
        "Activation of single neurons, averaged over kept paragraphs of validation responses, against "
        "Monte-Carlo TD errors. The sign of each neuron is that of its correlation on training problems. “mean”: "
        "over the neurons of a kind."
    ),
    "ablation": (
        "The same tokens read again with neurons of earlier layers held at zero: dopamine neurons beside "
        "their original activation, and against TD errors."
    ),
    "ablation_contrasts": (
        "Value neurons held less random neurons held, mean over draws. “correlation apart” leaves out dopamine neurons "
        "that are themselves among those held: the residual stream carries a zero on to later layers. Intervals cover "
        "the draws of random neurons; p flips signs of problems and takes the draws as they are."
    ),
}
"""The caption of every table."""

Tables = dict[str, pl.DataFrame]
SHOWN_RATIOS = (0.9, 0.96, 0.99)
"""Prune ratios of the excerpt of the overlaps."""


@dataclass(frozen=True)
class Section:
    """A section of the page: figures, tables, and why there is nothing where there is nothing."""

    figures: list[FigureView]
    tables: list[TableView]
    nothing: str | None = None


def method(title: str, name: str) -> Column:
    """A column that names a method."""
    return Column(title, lambda row: METHODS.get(row[name], str(row[name])), number=False)


def explained(row: Row) -> str:
    """The name of a method, and why it has no number or no interval where it has none."""
    name = METHODS.get(row["method"], str(row["method"]))
    return f"{name} ({row['reason']})" if row["reason"] else name


def ranged(title: str, name: str, low: str = "ci_low", high: str = "ci_high") -> Column:
    """A number with its interval; where there is none, the reason."""
    return Column(title, lambda row: written(row, name, low, high))


def written(row: Row, name: str, low: str, high: str) -> str:
    """`0.71 [0.65, 0.77]`; a number without interval alone; a dash."""
    value = row[name]
    return number(value) if value is None or row[low] is None else interval(value, row[low], row[high])


def two(title: str, name: str) -> Column:
    """A column of numbers with two decimals."""
    return Column(title, lambda row: number(row[name]))


def whole(title: str, name: str) -> Column:
    """A column of whole numbers."""
    return Column(title, lambda row: grouped(row[name]))


def shown_figure(path: Path, captions: dict[str, Path]) -> FigureView:
    """A figure with its caption."""
    title, caption = caption_of(path.stem, captions)
    return FigureView(path.stem, title, caption, f"{title}. {caption}", data_uri(path), [])


def rows_of(tables: Tables, name: str) -> list[Row]:
    """The rows of a table; none where the study did not make it."""
    return tables[name].to_dicts() if name in tables else []


def pair_words(row: Row) -> str:
    """Two runs of a comparison."""
    if row["across"] == "models":
        return f"{row['model_a']} and {row['model_b']} on {row['dataset_a']}"
    return f"{row['model_a']} on {row['dataset_a']} and {row['dataset_b']}"


def transfer_section(tables: Tables, figures: list[FigureView]) -> Section:
    """Overlaps at some ratios, and rank correlations of importances."""
    rows = [row for row in rows_of(tables, "transfer") if row["kind"] == "value"]
    kept = [row for row in rows if any(abs(row["prune_ratio"] - ratio) < 1e-9 for ratio in SHOWN_RATIOS)]
    both = [Column("Compared", pair_words, number=False), words("Layer", "layer")]
    overlaps = [*both, words("Prune ratio", "prune_ratio"), whole("Neurons kept", "n_kept")]
    overlaps += [ranged("IoU [seeds]", "iou", "iou_low", "iou_high"), two("Random", "random_mean")]
    overlaps += [two("Random, upper limit", "random_high"), two("Shuffled labels", "shuffled")]
    overlaps += [two("Other seeds, same run", "within"), two("Same seed", "same_seed")]
    ranks = [*both, words("Probes", "kind"), ranged("Rank correlation", "spearman"), two("Shuffled labels", "shuffled")]
    ranks += [two("Other seeds, same run", "within"), two("Same seed", "same_seed")]
    shown = [
        view(
            CAPTIONS["transfer"],
            overlaps,
            kept,
        ),
        view(
            CAPTIONS["importance"],
            ranks,
            rows_of(tables, "importance_correlation"),
        ),
    ]
    return section(figures, shown, "No two runs were compared in this study.")


def section(figures: list[FigureView], tables: Sequence[TableView], nothing: str) -> Section:
    """Tables that have rows; without any, the reason alone."""
    shown = [table for table in tables if table.rows]
    return Section(figures if shown else [], shown, None if shown else nothing)


def confidence_section(tables: Tables, figures: list[FigureView], published: dict[str, Any]) -> Section:
    """Table 3, the paper's beside it, and paired differences."""
    columns = [
        run(),
        Column("Method", explained, number=False),
        ranged("AUC", "auc"),
        ranged("Brier score", "brier", "brier_low", "brier_high"),
    ]
    columns += [ranged("Calibration error", "ece", "ece_low", "ece_high")]
    columns += [ranged("AUC within question length", "auc_within_length", "auc_within_low", "auc_within_high")]
    columns += [whole("Responses", "n")]
    differences = [run(), method("Method", "method"), method("Against", "against"), fine_column(), p_column()]
    differences += [words("Verdict", "verdict"), words("Why", "reason")]
    found = rows_of(tables, "table3")
    shown = [
        view(
            CAPTIONS["table3"],
            columns,
            found,
        ),
        view(
            CAPTIONS["confidence_contrasts"],
            differences,
            rows_of(tables, "confidence_contrasts"),
        ),
    ]
    if found:
        shown.insert(1, table3_beside(found, published["table3"]))
    return section(figures, shown, "Confidence was not measured in this study.")


def fine_column() -> Column:
    """A difference with its interval."""
    return Column("Difference", lambda row: fine_interval(row["difference"], row["ci_low"], row["ci_high"]))


def p_column() -> Column:
    """A p-value."""
    return Column("p", lambda row: p_value(row["p_value"]))


def table3_beside(found: Sequence[Row], printed: dict[str, Any]) -> TableView:
    """The paper's Table 3 and this study's AUCs in the same columns."""
    names = printed["columns"]
    head = [("Where", False), *((METHODS[name].partition(",")[0], True) for name in names)]
    lines = [[f"Paper: {entry['run']}", *(number(value) for value in entry["auc"])] for entry in printed["rows"]]
    for place in dict.fromkeys((row["model"], row["dataset"]) for row in found):
        here = {row["method"]: row for row in found if (row["model"], row["dataset"]) == place}
        cells = [written(here[name], "auc", "ci_low", "ci_high") if name in here else "–" for name in names]
        lines.append([f"Here: {place[0]}/{place[1]}", *cells])
    return TableView(f"{printed['where']}: {printed['setting']}.", head, lines)


def search_section(tables: Tables, published: dict[str, Any]) -> Section:
    """Table 4, the paper's beside it, and paired differences."""
    columns = [run(), method("Method", "method"), words("Seed", "seed"), ranged("Accuracy", "accuracy")]
    columns += [whole("Problems", "n"), whole("Tokens a problem", "tokens")]
    differences = [run(), method("Method", "method"), method("Against", "against"), fine_column(), p_column()]
    differences += [two("Tokens, ratio", "tokens_ratio"), words("Verdict", "verdict"), words("Why", "reason")]
    found = rows_of(tables, "table4")
    shown = [
        view(
            CAPTIONS["table4"],
            columns,
            found,
        ),
        view(
            CAPTIONS["search_contrasts"],
            differences,
            rows_of(tables, "search_contrasts"),
        ),
    ]
    if found:
        shown.insert(1, table4_beside(found, published["table4"]))
    return section([], shown, "No search was run in this study.")


def table4_beside(found: Sequence[Row], printed: dict[str, Any]) -> TableView:
    """The paper's Table 4 and this study's accuracies, the mean over seeds, in percent."""
    names = printed["columns"]
    lines = [["Paper", *(f"{value:.1f}" for value in printed["accuracy"])]]
    for place in dict.fromkeys((row["model"], row["dataset"]) for row in found):
        cells = []
        for name in names:
            values = [
                row["accuracy"]
                for row in found
                if (row["model"], row["dataset"], row["method"]) == (*place, name) and row["accuracy"] is not None
            ]
            cells.append(f"{100 * sum(values) / len(values):.1f}" if values else "–")
        lines.append([f"{place[0]}/{place[1]}", *cells])
    head = [("Where", False), *((METHODS[name], True) for name in names)]
    return TableView(f"{printed['where']}: {printed['setting']}. {printed['note']}", head, lines)


def trajectory_section(tables: Tables, figures: list[FigureView]) -> Section:
    """How well single neurons follow TD errors, and what holding value neurons does to them."""
    neurons = [run(), words("Layer", "layer"), words("Kind", "kind"), Column("Neuron", neuron_words)]
    neurons += [whole("Paragraphs", "n"), ranged("Spearman correlation", "spearman"), words("Why no number", "reason")]
    ablated = [run(), words("Held", "condition"), words("Draw", "draw"), Column("Neuron", neuron_words)]
    ablated += [whole("Responses", "n"), ranged("Correlation with the original", "correlation")]
    ablated += [ranged("RMSE", "rmse", "rmse_low", "rmse_high")]
    ablated += [ranged("Spearman with TD errors", "spearman", "spearman_low", "spearman_high")]
    contrasts = [
        run(),
        words("Against", "against"),
        words("Measure", "measure"),
        fine_column(),
        p_column(),
        words("Verdict", "verdict"),
        words("Why", "reason"),
    ]
    shown = [
        view(
            CAPTIONS["neurons"],
            neurons,
            rows_of(tables, "trajectories"),
        ),
        view(
            CAPTIONS["ablation"],
            ablated,
            [row for row in rows_of(tables, "trajectory_ablation") if row["neuron"] is None],
        ),
        view(
            CAPTIONS["ablation_contrasts"],
            contrasts,
            rows_of(tables, "ablation_contrasts"),
        ),
    ]
    return section(figures, shown, "No neuron was followed over responses in this study.")


def neuron_words(row: Row) -> str:
    """The number of a neuron, or that the row is a mean."""
    return "mean" if row["neuron"] is None else str(row["neuron"])
