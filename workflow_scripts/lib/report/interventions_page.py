"""The section on interventions: accuracies with neurons ablated, contrasts, overlaps, the dose-response."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.formatting import fine, fine_interval, grouped, listed, number, p_value
from workflow_scripts.lib.neurons.catalogue import MODES, SELECTIONS, is_random
from workflow_scripts.lib.report.paper_tables import paper_table
from workflow_scripts.lib.report.parts import FigureView, caption_of, data_uri
from workflow_scripts.lib.report.tables import (
    Column,
    Row,
    TableView,
    between,
    capital,
    difference,
    p_column,
    reason,
    run,
    view,
    written,
)

DOSE = "dose"
"""The figure that the section shows."""
TITLES = {
    "table2": "Value neurons compared with other selections (the paper’s Table 2)",
    "table5": "Value probes trained on TD errors and on the final state (the paper’s Table 5)",
}
PLACE = ["model", "dataset", "layer"]


@dataclass(frozen=True)
class InterventionSection:
    """What was ablated and how, tables with their titles, the figure."""

    how: str
    share: str
    proof: str
    accuracies: list[tuple[str, str, TableView]]
    contrasts: TableView
    overlaps: TableView
    source: str
    printed: list[TableView]
    figure: FigureView | None


def intervention_section(
    tables: dict[str, pl.DataFrame],
    published: dict[str, Any],
    config: dict[str, Any],
    figures: Sequence[Path],
    captions: dict[str, Path],
) -> InterventionSection | None:
    """Build everything the section shows; return None where no neuron was ablated."""
    table, contrasts = tables["table2"], tables["intervention_contrasts"]
    if table.is_empty():
        return None
    modes = table.filter(pl.col("mode") != "none")["mode"].unique().sort().to_list()
    level = config["pruning"]["confidence"]
    dose = next((path for path in figures if path.stem == DOSE), None)
    return InterventionSection(
        how=listed([MODES[mode] for mode in modes]),
        share=f"{100 * float(config['interventions']['share']):g} %",
        proof=proof_words(tables),
        accuracies=[(name, title, accuracy_table(tables[name], level)) for name, title in TITLES.items()],
        contrasts=contrast_table(contrasts.to_dicts()),
        overlaps=overlap_table(tables["neuron_overlap"].to_dicts(), published["overlap"]),
        source=published["source"],
        printed=[paper_table(entry, tables[entry["table"]]) for entry in published["tables"]],
        figure=dose_view(dose, captions, tables["dose_response"], config["figures"][DOSE]) if dose else None,
    )


def selection(title: str, name: str) -> Column:
    """Build a column that names a selection of neurons."""
    return Column(title, lambda row: capital(SELECTIONS[row[name]]), "text")


def layer() -> Column:
    """Build the column of layers, `mean` where the row is one over them."""
    return Column("Layer", lambda row: "mean" if row["layer"] is None else str(row["layer"]))


def accuracy_table(table: pl.DataFrame, confidence: float) -> TableView:
    """Build Table 2 or 5, one row for each layer and selection of every run."""
    caption = (
        f"Accuracy and its change against the unablated run, each with its {100 * confidence:g} % interval over "
        "problems; p by a paired test over problems. Of several draws, the mean and, in brackets, lowest and highest. "
        "All changes are against one unablated run: sampling noise in that run shifts all changes equally. Layer "
        "“mean”: the average over layers (“all/all”: and runs), with an interval of its own over problems and draws."
    )
    columns = [run(), layer(), selection("Masked", "selection")]
    columns += [folded_column("Draws", "draws"), folded_column("Neurons", "neurons")]
    columns += [folded_column("Accuracy", "accuracy"), folded_column("Change", "change"), folded_column("p", "p")]
    groups = table.group_by([*PLACE, "selection"], maintain_order=True)
    return view(caption, columns, [folded(rows.to_dicts()) for _, rows in groups])


def folded_column(title: str, name: str) -> Column:
    """Build a column of numbers that `folded` has written."""
    return Column(title, lambda row: str(row[name]))


def folded(rows: Sequence[Row]) -> Row:
    """Fold a selection at a layer into one row, draws as mean and range."""
    first = rows[0]
    line = {name: first[name] for name in (*PLACE, "selection")}
    draws = "all" if first["draw"] is None else len(rows)
    line |= {"draws": draws if is_random(first["selection"]) else "–", "neurons": grouped(first["n_neurons"])}
    if len(rows) == 1:
        line["accuracy"] = written(first, "accuracy", "ci_low", "ci_high")
        change = None if first["selection"] == "none" else first["change"]
        line["change"] = fine_interval(change, first["change_low"], first["change_high"])
        return line | {"p": p_value(first["p_value"])}
    for name, write in (("accuracy", number), ("change", fine)):
        values = [row[name] for row in rows]
        line[name] = f"{write(sum(values) / len(values))} ({between(values, write)})"
    return line | {"p": between([row["p_value"] for row in rows], p_value)}


def contrast_table(rows: Sequence[Row]) -> TableView:
    """Tabulate value neurons against every other selection."""
    draws = Column("Draws", lambda row: str(row["n_draws"]) if is_random(row["against"]) else "–")
    columns = [run(), layer(), selection("Against", "against"), draws]
    columns += [Column("Accuracy, value neurons masked", lambda row: number(row["accuracy_value"]))]
    columns += [Column("Accuracy, others masked", lambda row: number(row["accuracy_other"]))]
    columns += [difference(), p_column()]
    return view("", columns, rows, notes=reason)


def overlap_table(rows: Sequence[Row], printed: dict[str, Any]) -> TableView:
    """Tabulate how many neurons two selections share, and what chance gives."""
    caption = (
        "Value neurons that another selection contains too, compared with what the same number of neurons drawn "
        "uniformly would share. p is the chance of sharing at least this number. The paper "
        f"({printed['where']}) prints {percentage(printed['overlap'])} for {SELECTIONS[printed['second']]}, chance "
        f"{percentage(printed['chance'])}."
    )
    columns = [run(), layer(), selection("Shared with", "second")]
    columns += [Column("Neurons", lambda row: f"{row['shared']} of {row['n_neurons']}")]
    columns += [Column("Overlap", lambda row: percentage(row["overlap"]))]
    columns += [Column("Chance, mean", lambda row: percentage(row["chance"]))]
    columns += [Column("Chance, upper limit", lambda row: percentage(row["chance_high"])), p_column()]
    return view(caption, columns, [row for row in rows if not is_random(row["second"])])


def percentage(value: float) -> str:
    """Write a share in percent with one decimal."""
    return f"{100 * value:.1f} %"


def proof_words(tables: dict[str, pl.DataFrame]) -> str:
    """Say that every mask was applied; `tabulate_interventions` refuses anything else."""
    names = [*PLACE, "selection", "draw", "share", "mode", "factor", "largest_miss"]
    both = [tables[name].with_columns(factor=pl.lit(0.0)) for name in ("table2", "table5")]
    frames = [frame.drop_nulls("layer") for frame in (*both, tables["dose_response"])]
    masked = [frame.filter(pl.col("selection") != "none").select(names) for frame in frames]
    conditions = pl.concat([frame for frame in masked if len(frame)], how="vertical_relaxed").unique()
    return (
        f"{grouped(len(conditions))} conditions were run and checked: the mask was applied at every position "
        f"processed, and the largest distance from the intended value was "
        f"{max(conditions['largest_miss'].to_list()):g}. The counts are stored with the responses, in results/masked."
    )


def dose_lines(dose: pl.DataFrame, section: dict[str, Any]) -> list[str]:
    """Say what the figure shows: each selection at its smallest and largest share set to zero."""
    runs, layers = section.get("runs") or [], section.get("layers")
    lines = []
    shown = dose.filter(pl.col("mode").is_in(["zero", "none"]))
    for (model, dataset, layer), rows in shown.group_by(PLACE, maintain_order=True):
        if f"{model}/{dataset}" not in runs or (layers and layer not in layers):
            continue
        unmasked = rows.filter(pl.col("selection") == "none")["accuracy"][0]
        masked = rows.filter(pl.col("selection") != "none").group_by("selection", maintain_order=True)
        for (name,), curve in masked:
            lines.append(
                f"{model}/{dataset}, layer {layer}, {dose_words(str(name), curve)}; unablated {number(unmasked)}."
            )
    return lines


def dose_words(name: str, curve: pl.DataFrame) -> str:
    """Write the accuracy of one selection at its smallest and largest share."""
    means = curve.group_by("share").agg(pl.col("accuracy").mean()).sort("share").rows()
    ends = [f"{number(accuracy)} at share {share:g}" for share, accuracy in dict.fromkeys([means[0], means[-1]])]
    n_draws = curve["draw"].n_unique()
    draws = f" (mean of {n_draws} draws)" if n_draws > 1 else ""
    return f"{SELECTIONS[name]} set to zero{draws}: accuracy {listed(ends)}"


def dose_view(path: Path, captions: dict[str, Path], dose: pl.DataFrame, section: dict[str, Any]) -> FigureView:
    """Build the dose-response figure."""
    title, caption = caption_of(DOSE, captions)
    lines = dose_lines(dose, section)
    shown = " ".join(lines) or "No curve is shown."
    alt = f"{title}. Line charts of accuracy against the share of neurons set to zero, and against the factor. {shown}"
    return FigureView(DOSE, title, caption, alt, data_uri(path), lines)
