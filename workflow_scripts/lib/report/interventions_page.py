"""What the report shows of the interventions: tables folded over draws, contrasts in words, the paper's numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.claims.verdicts import CONTRADICTED, HARM, SUPPORTED, UNDECIDED
from workflow_scripts.lib.formatting import fine, fine_interval, grouped, interval, listed, number, p_value
from workflow_scripts.lib.neurons.catalogue import MODES, SELECTIONS, is_random
from workflow_scripts.lib.report.parts import FigureView, data_uri

DOSE = "dose"
"""The figure that the section shows."""
TITLES = {
    "table2": "Value neurons beside other selections (the paper’s Table 2)",
    "table5": "Value probes trained on TD errors and on the final state (the paper’s Table 5)",
}
PLACE = ["model", "dataset", "layer"]
CONTROLS = ("random_matched", "random")
"""What value neurons are first of all held against: the first of these that was run."""


def capital(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def run_name(row: dict[str, Any]) -> str:
    """Model and data set as the configuration writes them."""
    return f"{row['model']}/{row['dataset']}"


def between(values: Sequence[Any], words: Any) -> str:
    """Lowest and highest of several numbers, or one where they are written alike."""
    low, high = words(min(values)), words(max(values))
    return low if low == high else f"{low} to {high}"


def folded(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One line of a table: a selection at a layer, draws as mean and range."""
    first = rows[0]
    line = {"run": run_name(first), "layer": first["layer"], "selection": capital(SELECTIONS[first["selection"]])}
    line |= {"draws": len(rows) if is_random(first["selection"]) else "–", "neurons": grouped(first["n_neurons"])}
    if len(rows) == 1:
        line["accuracy"] = interval(first["accuracy"], first["ci_low"], first["ci_high"])
        change = None if first["selection"] == "none" else first["change"]
        line["change"] = fine_interval(change, first["change_low"], first["change_high"])
        return line | {"p": p_value(first["p_value"])}
    for name, words in (("accuracy", number), ("change", fine)):
        values = [row[name] for row in rows]
        line[name] = f"{words(sum(values) / len(values))} ({between(values, words)})"
    return line | {"p": between([row["p_value"] for row in rows], p_value)}


def table_view(name: str, table: pl.DataFrame) -> dict[str, Any]:
    """Table 2 or 5, one line for each layer and selection of every run."""
    groups = table.group_by([*PLACE, "selection"], maintain_order=True)
    return {"key": name, "title": TITLES[name], "rows": [folded(rows.to_dicts()) for _, rows in groups]}


def difference_words(row: dict[str, Any]) -> str:
    """The numbers of a contrast."""
    draws = f", mean of {row['n_draws']} draws" if row["n_draws"] > 1 else ""
    p = p_value(row["p_value"])
    return (
        f"accuracy {number(row['accuracy_value'])} against {number(row['accuracy_other'])}{draws}; difference "
        f"{fine_interval(row['difference'], row['ci_low'], row['ci_high'])}, p {p if p.startswith('<') else f'= {p}'}"
    )


def harm_sentence(row: dict[str, Any]) -> str:
    """Whether the value neurons of one layer did more harm than others, in words."""
    others = SELECTIONS[row["against"]]
    said = {
        SUPPORTED: f"holding the value neurons lowered accuracy further than holding as many {others}",
        CONTRADICTED: f"holding the value neurons did no more harm than holding as many {others}",
        UNDECIDED: f"undecided whether holding the value neurons did more harm than holding as many {others}",
    }[row["verdict"]]
    because = f" ({row['reason']})" if row["reason"] else ""
    return f"{run_name(row)}, layer {row['layer']}: {said}{because}. Measured: {difference_words(row)}."


def harm_sentences(table: pl.DataFrame, contrasts: pl.DataFrame) -> list[str]:
    """One sentence for each run and layer."""
    sentences = []
    for place in table.select(PLACE).unique(maintain_order=True).to_dicts():
        here = contrasts.filter(*(pl.col(name) == value for name, value in place.items()))
        by_other = {row["against"]: row for row in here.to_dicts()}
        found = next((by_other[name] for name in CONTROLS if name in by_other), None)
        missing = f"{run_name(place)}, layer {place['layer']}: no random neurons were held beside the value neurons."
        sentences.append(harm_sentence(found) if found else missing)
    return sentences


def contrast_view(row: dict[str, Any]) -> dict[str, Any]:
    """One contrast with its verdict."""
    return {
        "run": run_name(row),
        "layer": row["layer"],
        "against": capital(SELECTIONS[row["against"]]),
        "draws": row["n_draws"] if is_random(row["against"]) else "–",
        "value": number(row["accuracy_value"]),
        "other": number(row["accuracy_other"]),
        "difference": fine_interval(row["difference"], row["ci_low"], row["ci_high"]),
        "p": p_value(row["p_value"]),
        "verdict": row["verdict"],
        "reason": row["reason"],
    }


def harm_note(contrasts: pl.DataFrame, confidence: float) -> str:
    """How many contrasts chance alone would make `supported`."""
    judged = contrasts.filter(pl.col("reason").is_null())
    given = judged["verdict"].to_list()
    expected = len(given) * (1 - confidence) / 2
    return (
        f"{len(given)} contrasts were judged at {100 * confidence:g} % confidence, without correction for their "
        f"number; if value neurons did as much harm as the others, about {expected:.1f} of them would still be "
        f"expected to come out as supported. {given.count(SUPPORTED)} did. Contrasts of one layer share a run and are "
        "not independent."
    )


def overlap_view(row: dict[str, Any]) -> dict[str, Any]:
    """How many neurons two selections share, beside chance."""
    return {
        "run": run_name(row),
        "layer": row["layer"],
        "second": capital(SELECTIONS[row["second"]]),
        "shared": f"{row['shared']} of {row['n_neurons']}",
        "overlap": f"{100 * row['overlap']:.1f} %",
        "chance": f"{100 * row['chance']:.1f} %",
        "high": f"{100 * row['chance_high']:.1f} %",
        "p": p_value(row["p_value"]),
    }


def proof_words(tables: dict[str, pl.DataFrame]) -> str:
    """That every condition was held; `tabulate_interventions` refuses anything else."""
    names = [*PLACE, "selection", "draw", "share", "mode", "factor", "largest_miss"]
    both = [tables[name].with_columns(factor=pl.lit(0.0)) for name in ("table2", "table5")]
    kept = [frame.filter(pl.col("selection") != "none").select(names) for frame in (*both, tables["dose_response"])]
    every = pl.concat([frame for frame in kept if len(frame)], how="vertical_relaxed").unique()
    return (
        f"{grouped(len(every))} conditions were run and each is proven: every position processed was held, and the "
        f"largest distance from the wanted value was {max(every['largest_miss'].to_list()):g}. The counts lie beside "
        "the responses, in results/masked."
    )


def signed(value: float) -> str:
    """One decimal with its sign, a true minus."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def paper_rows(entry: dict[str, Any], table: pl.DataFrame) -> list[dict[str, Any]]:
    """The paper's lines and this study's in the same columns: accuracy in percent, change in percentage points."""
    columns = list(next(iter(entry["layers"].values())))
    rows = [
        {"who": "Paper", "layer": layer, "cells": [f"{a:.1f} ({signed(change)})" for a, change in cells.values()]}
        for layer, cells in entry["layers"].items()
    ]
    for _, part in table.group_by(PLACE, maintain_order=True):
        held = part.group_by("selection", maintain_order=True).agg(pl.col("accuracy", "change").mean() * 100)
        means = {name: f"{accuracy:.1f} ({signed(change)})" for name, accuracy, change in held.rows()}
        rows.append(
            {
                "who": run_name(part.to_dicts()[0]),
                "layer": part["layer"][0],
                "cells": [means.get(name, "–") for name in columns],
            }
        )
    return rows


def paper_view(entry: dict[str, Any], table: pl.DataFrame) -> dict[str, Any]:
    """A table of the paper with this study's numbers below."""
    columns = [capital(SELECTIONS[name]) for name in next(iter(entry["layers"].values()))]
    return {name: entry[name] for name in ("where", "setting", "says")} | {
        "columns": columns,
        "rows": paper_rows(entry, table),
    }


def dose_lines(dose: pl.DataFrame, section: dict[str, Any]) -> list[str]:
    """What the figure shows in words: each selection at its smallest and largest share held at zero."""
    runs, layers = section.get("runs") or [], section.get("layers")
    lines = []
    shown = dose.filter(pl.col("mode").is_in(["zero", "none"]))
    for (model, dataset, layer), rows in shown.group_by(PLACE, maintain_order=True):
        if f"{model}/{dataset}" not in runs or (layers and layer not in layers):
            continue
        plain = rows.filter(pl.col("selection") == "none")["accuracy"][0]
        for (name,), part in rows.filter(pl.col("selection") != "none").group_by("selection", maintain_order=True):
            means = part.group_by("share").agg(pl.col("accuracy").mean()).sort("share").rows()
            ends = [f"{number(a)} at share {share:g}" for share, a in dict.fromkeys([means[0], means[-1]])]
            draws = f" (mean of {part['draw'].n_unique()} draws)" if part["draw"].n_unique() > 1 else ""
            held = f"{SELECTIONS[str(name)]} held at zero{draws}"
            lines.append(
                f"{model}/{dataset}, layer {layer}, {held}: accuracy {listed(ends)}; unmasked {number(plain)}."
            )
    return lines


def dose_view(path: Path, caption: tuple[str, str], dose: pl.DataFrame, section: dict[str, Any]) -> FigureView:
    """The dose-response figure."""
    lines = dose_lines(dose, section)
    shown = " ".join(lines) or "No curve is shown."
    alt = f"{caption[0]}. Line charts of accuracy against the share of neurons held, and against the factor. {shown}"
    return FigureView(DOSE, *caption, alt, data_uri(path), lines)


def intervention_view(
    tables: dict[str, pl.DataFrame],
    printed: dict[str, Any],
    config: dict[str, Any],
    figure: tuple[Path, tuple[str, str]] | None,
) -> dict[str, Any] | None:
    """Everything the section shows, or None where no neuron was held; `figure` is the dose-response and its caption."""
    table, contrasts = tables["table2"], tables["intervention_contrasts"]
    if table.is_empty():
        return None
    undrawn = [row for row in tables["neuron_overlap"].to_dicts() if not is_random(row["second"])]
    modes = table.filter(pl.col("mode") != "none")["mode"].unique().sort().to_list()
    return {
        "how": listed([MODES[mode] for mode in modes]),
        "share": f"{100 * float(config['interventions']['share']):g} %",
        "rule": HARM,
        "sentences": harm_sentences(table, contrasts),
        "tables": [table_view(name, tables[name]) for name in TITLES],
        "contrasts": [contrast_view(row) for row in contrasts.to_dicts()],
        "chance_note": harm_note(contrasts, config["pruning"]["confidence"]),
        "overlaps": [overlap_view(row) for row in undrawn],
        "proof": proof_words(tables),
        "source": printed["source"],
        "paper": [paper_view(entry, tables[entry["table"]]) for entry in printed["tables"]],
        "paper_overlap": printed["overlap"] | {"second": SELECTIONS[printed["overlap"]["second"]]},
        "figure": figure and dose_view(*figure, tables["dose_response"], config["figures"][DOSE]),
    }
