"""The section on transfer: overlaps of value neurons between runs, and correlations of importances."""

from workflow_scripts.lib.report.application_section import Figures, Section, Tables, rows_of, section
from workflow_scripts.lib.report.tables import Column, Row, difference, ranged, reason, two, view, whole, words

SHOWN = ("fig2", "fig8")
LEAD = "Whether probes trained on other data sets, or on models derived from the same base, select the same neurons."
OVERLAPS = (
    "Value neurons that two probes share, as intersection over union, the mean over pairs of different "
    "seeds and, in brackets, lowest and highest. Probes of one seed start from the same weights in every "
    "run, which alone makes them similar: “same seed” shows by how much."
)
RISE = (
    "Whether the overlap rises towards a prune ratio of 1: intersection over union at two ratios, the mean over pairs "
    "of different seeds, and the difference of what lies above that of random sets, on the same pairs of probes. Its "
    "interval leaves out one seed at a time."
)
RANKS = "Rank correlation of the importances of all neurons, with its interval over neurons."
SHOWN_RATIOS = (0.9, 0.96, 0.99)
"""Prune ratios of the excerpt of the overlaps."""


def transfer_section(tables: Tables, figures: Figures) -> Section:
    """Build the section on overlaps at some ratios and rank correlations of importances."""
    shown = [row for row in rows_of(tables, "transfer") if row["kind"] == "value" and is_shown(row["prune_ratio"])]
    both = [Column("Compared", pair_words, "text"), words("Layer", "layer")]
    controls = [two("Other seeds, same run", "within"), two("Same seed", "same_seed")]
    overlaps = [*both, words("Prune ratio", "prune_ratio"), whole("Neurons kept", "n_kept")]
    overlaps += [ranged("IoU [seeds]", "iou", "iou_low", "iou_high"), two("Random", "random_mean")]
    overlaps += [two("Random, upper limit", "random_high"), two("Shuffled labels", "shuffled"), *controls]
    rise = [*both, words("Probes", "kind"), two("IoU at 0.9", "iou_from"), two("IoU at 0.99", "iou_to")]
    rise += [two("Above chance at 0.9", "above_from"), two("Above chance at 0.99", "above_to"), difference()]
    ranks = [*both, words("Probes", "kind"), ranged("Rank correlation", "spearman"), two("Shuffled labels", "shuffled")]
    listed = [
        view(OVERLAPS, overlaps, shown),
        view(RISE, rise, rows_of(tables, "transfer_rise"), notes=reason),
        view(RANKS, [*ranks, *controls], rows_of(tables, "importance_correlation")),
    ]
    nothing = "No two runs were compared in this study."
    return section("transfer", "Transfer", LEAD, figures.named(*SHOWN), listed, nothing)


def is_shown(ratio: float) -> bool:
    """Say whether the excerpt has this prune ratio."""
    return any(abs(ratio - shown) < 1e-9 for shown in SHOWN_RATIOS)


def pair_words(row: Row) -> str:
    """Name the two runs of a comparison."""
    if row["across"] == "models":
        return f"{row['model_a']} and {row['model_b']} on {row['dataset_a']}"
    return f"{row['model_a']} on {row['dataset_a']} and {row['dataset_b']}"
