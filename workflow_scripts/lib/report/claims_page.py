"""The claims as the report lists them, and the paper's Table 1 with this study's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workflow_scripts.lib.claims.verdicts import VERDICTS
from workflow_scripts.lib.formatting import fine, fine_interval, number, p_value
from workflow_scripts.lib.report.application_section import Tables, rows_of
from workflow_scripts.lib.report.claims_picture import picture
from workflow_scripts.lib.report.curves import PLACES
from workflow_scripts.lib.report.paper_tables import comparison
from workflow_scripts.lib.report.tables import Column, Row, TableView, p_column, reason, run, run_name, view, whole

INPUTS = {
    "all": "All neurons",
    "one percent, by importance": "The 1 % with the largest weights",
    "one percent, random": "1 % at random, mean",
}
"""Rows of Table 1, by the column `inputs` of its csv."""


@dataclass(frozen=True)
class Link:
    """A place of the page that a verdict rests on."""

    target: str
    words: str


SECTIONS = {
    "scores value": Link("figures", "the curves"),
    "scores dopamine": Link("figures", "the curves"),
    "scores masks": Link("interventions", "Tables 2 and 5"),
    "neurons": Link("interventions", "neurons that selections share"),
    "scores overlap": Link("transfer", "transfer"),
    "scores confidence": Link("confidence", "Table 3"),
    "scores search": Link("search", "Table 4"),
    "scores trajectories": Link("trajectories", "trajectories"),
    "scores ablated": Link("trajectories", "trajectories"),
}
"""The section of the page that shows a claim's scores, by the start of its column `source`."""
SHOWN = 500
"""Letters that are shown of either end of a long text; the whole is in `tables/cases.csv`."""
OF_SEEDS = ("scores overlap", "neurons")
"""How that column begins where the sample is of probe seeds."""


@dataclass(frozen=True)
class CaseView:
    """One response behind a claim: which it is, in words, and the texts of question and response."""

    title: str
    question: str
    response: str


@dataclass(frozen=True)
class ClaimView:
    """One claim with its verdict, what was measured in words, the rule, links, every run and layer, and two cases."""

    key: str
    claim: str
    place: str
    verdict: str
    facts: list[tuple[str, str]]
    rule: str
    links: list[Link]
    cells: TableView | None
    cases: list[CaseView]


@dataclass(frozen=True)
class Claims:
    """A count of verdicts, the picture of all claims, and each claim with what it rests on."""

    counted: str
    picture: TableView
    views: list[ClaimView]


@dataclass(frozen=True)
class Registered:
    """The hash of a registration, and every deviation from it."""

    hash: str
    deviations: list[str]


@dataclass(frozen=True)
class ClaimsSection:
    """The claims, where they were judged; Table 1; what was registered before, if anything was; shuffled labels."""

    claims: Claims | None
    table1: TableView
    registered: Registered | None
    alarms: list[str]
    selectivity: TableView


def claims_section(
    tables: Tables, figures: Mapping[str, dict[str, Any]], confidence: str, registered: Registered | None = None
) -> ClaimsSection:
    """Build the section of every claim of the paper, and of its Table 1 with this study's numbers.

    `figures`: what the paper says of the figure that shows a claim, by its key; figures that the page has.
    """
    shuffled = rows_of(tables, "selectivity")
    return ClaimsSection(
        judged_claims(tables, figures, confidence),
        table1(tables),
        registered,
        [alarm(row) for row in shuffled if row["alarm"]],
        selectivity_table(shuffled, confidence),
    )


def judged_claims(tables: Tables, figures: Mapping[str, dict[str, Any]], confidence: str) -> Claims | None:
    """Show the judged claims; return None where nothing was judged."""
    rows = rows_of(tables, "claims")
    if not rows:
        return None
    verdicts = [row["verdict"] for row in rows]
    counted = ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS)
    views = [claim_view(row, tables, figures.get(row["key"]), confidence) for row in rows]
    return Claims(f"Of {len(rows)} claims: {counted}.", picture(rows), views)


def claim_view(row: Row, tables: Tables, figure: dict[str, Any] | None, confidence: str) -> ClaimView:
    """Build what stands behind one verdict."""
    unit = "probe seeds" if row["source"].startswith(OF_SEEDS) else "problems"
    facts = [
        ("Measured", f"{estimate(row)}: {row['estimand']}"),
        ("Margin", f"{row['direction']} {fine(row['margin'])}"),
        ("On", counted(row, unit)),
        *([("Decided by", f"about {row['needed_n']:,} {unit} at this effect")] if row["needed_n"] else []),
        ("Evidence", row["evidence"]),
        ("The paper", f"{row['printed']} ({row['place']})"),
        ("Computed from", row["source"]),
    ]
    links = [Link(figure["figure"], figure["where"].rpartition(", ")[2])] if figure else []
    section = next((one for start, one in SECTIONS.items() if row["source"].startswith(start)), None)
    links += [section] if section else []
    cells, cases = (
        [one for one in rows_of(tables, name) if one["key"] == row["key"]] for name in ("claim_cells", "cases")
    )
    table = cell_table(cells, unit, confidence) if cells else None
    shown = [case_view(case) for case in cases if case["text"] is not None]
    return ClaimView(row["key"], row["claim"], row["place"], row["verdict"], facts, row["test"], links, table, shown)


def case_view(row: Row) -> CaseView:
    """Show one response: where it comes from, what it contributes, and its beginning and end."""
    place = f"{run_name(row)}, problem {row['problem_id']}"
    place += "" if row["layer"] is None else f", layer {row['layer']}"
    place += "" if row["paragraph"] is None else f", paragraph {row['paragraph']}"
    written = {"masked": "with value neurons ablated, ", "search": "by search with dopamine neurons, "}
    outcome = "right" if row["reward"] else "wrong"
    outcome += " (below, the response without ablation)" if row["origin"] == "masked" else ""
    against = f", against {row['comparison'].replace('_', ' ')}" if row["comparison"] else ""
    title = (
        f"{row['case'].capitalize()} case{against}: {place}; {written.get(row['origin'], '')}answered {outcome}; "
        f"contributes {fine(row['contribution'])}, the average is {fine(row['average'])}"
    )
    return CaseView(title, shortened(row["question"]), shortened(row["text"]))


def shortened(text: str) -> str:
    """Cut the middle out of a long text, and say how much."""
    left_out = len(text) - 2 * SHOWN
    return text if left_out < SHOWN // 2 else f"{text[:SHOWN]}\n[… {left_out:,} letters …]\n{text[-SHOWN:]}"


def cell_table(rows: Sequence[Row], unit: str, confidence: str) -> TableView:
    """Tabulate every run and layer behind a claim, also those that decide nothing."""
    caption = (
        f"Every run and layer by itself, with its {confidence} interval: rows of `tables/claim_cells.csv`. Those that "
        "the paper does not name stand here too and decide nothing; no single row is a verdict."
    )
    columns = [Column("Run", lambda row: row["run"], "text"), Column("Layer", lambda row: plain_layer(row["layer"]))]
    if any(row["comparison"] for row in rows):
        columns += [Column("Compared", lambda row: row["comparison"].replace("_", " "), "text")]
    columns += [Column("Measured", estimate), Column("Margin", lambda row: fine(row["margin"]))]
    columns += [
        Column("On", lambda row: counted(row, unit), "text"),
        Column("Decides", lambda row: "yes" if row["decides"] else "no", "text"),
    ]
    return view(caption, columns, rows)


def yes_or_no(title: str, name: str) -> Column:
    """Build a column of what is or is not so."""
    return Column(title, lambda row: "yes" if row[name] else "no", "text")


def plain_layer(layer: int | None) -> str:
    """Write a layer; a dash where layers are averaged."""
    return "–" if layer is None else str(layer)


def estimate(row: Row) -> str:
    """Write a number with its interval; without one, the number alone."""
    if row["value"] is None:
        return "–"
    if row["ci_low"] is None:
        return f"{fine(row['value'])}, no interval"
    return fine_interval(row["value"], row["ci_low"], row["ci_high"])


def counted(row: Row, unit: str) -> str:
    """Say on how many problems, or probe seeds, a number rests."""
    rarer = "" if row["n_rarer"] is None else f", {row['n_rarer']} of the rarer outcome"
    return f"{row['n']} {unit}{rarer}"


def alarm(row: Row) -> str:
    """Write that shuffled labels beat chance."""
    return (
        f"{row['model']}/{row['dataset']}, {PLACES[row['place']].lower()}: probes trained on shuffled labels reach "
        f"{fine(row['shuffled'])}, chance is {fine(row['chance'])} (p = {p_value(row['p_value'])}, "
        f"{row['shuffles']} shuffles). Something lets them see what they must not; believe no level of this run."
    )


def selectivity_table(rows: Sequence[Row], confidence: str) -> TableView:
    """Tabulate how far probes with true labels exceed those with shuffled ones."""
    caption = (
        f"Probes with true and with shuffled labels, all inputs, averaged over layers; the difference with its "
        f"{confidence} interval. p: a t-test over shuffles of the hypothesis that shuffled labels do as well as "
        "chance; an alarm below 0.01, once in a hundred rows by chance alone. Rows of `tables/selectivity.csv`."
    )
    columns = [run(), Column("Probes", lambda row: PLACES[row["place"]], "text")]
    columns += [Column("True labels", lambda row: fine(row["true"]))]
    columns += [Column("Shuffled", lambda row: fine(row["shuffled"])), whole("Shuffles", "shuffles"), p_column()]
    columns += [Column("Difference", lambda row: estimate(row | {"value": row["selectivity"]}))]
    columns += [yes_or_no("Alarm", "alarm")]
    return view(caption, columns, rows, notes=reason)


def table1(tables: Tables) -> TableView:
    """Tabulate value and dopamine neurons side by side, averages over all runs and layers."""
    lines = [
        [
            "Definition",
            "predict the chance that the answer will be correct",
            "follow how a paragraph changes that chance",
        ],
        [
            "Probe learns",
            "the value of a state, by its TD error",
            "the Monte-Carlo TD error of a paragraph, by squared error",
        ],
        ["Scored by", "AUC against the reward; chance 0.50", "Spearman correlation with the TD error; chance 0.00"],
    ]
    for inputs, title in INPUTS.items():
        initial, final, dopamine = (level(tables, place, inputs) for place in ("initial", "final", "paragraph"))
        lines.append([title, f"{initial}; at the last token {final}", dopamine])
    lines.append(["Application", confidence_words(tables), search_words(tables)])
    caption = "Averages over all runs and layers of this study, resampled together: the rows of `tables/table1.csv`."
    titles = ("Property", "Value neurons", "Dopamine neurons")
    return comparison(caption, [(title, "text") for title in titles], lines)


def level(tables: Tables, place: str, inputs: str) -> str:
    """Write the level of probes at a place with its interval."""
    rows = [row for row in rows_of(tables, "table1") if (row["place"], row["inputs"]) == (place, inputs)]
    if not rows or rows[0]["value"] is None:
        return "not measured"
    return fine_interval(rows[0]["value"], rows[0]["ci_low"], rows[0]["ci_high"])


def confidence_words(tables: Tables) -> str:
    """Write the AUC of confidence from value neurons: its mean over runs."""
    rows = [row for row in rows_of(tables, "table3") if (row["model"], row["method"]) == ("all", "value_neurons_cv")]
    if not rows or rows[0]["auc"] is None:
        return "confidence: not measured"
    auc = fine_interval(rows[0]["auc"], rows[0]["ci_low"], rows[0]["ci_high"])
    return f"confidence before the answer: AUC {auc}"


def search_words(tables: Tables) -> str:
    """Write the accuracy of search by dopamine neurons and of greedy decoding, means over runs and seeds."""
    dopamine, greedy = (accuracy(tables, name) for name in ("dopamine", "greedy"))
    if dopamine is None:
        return "guided search: not measured"
    baseline = "" if greedy is None else f"; greedy decoding {number(greedy)}"
    return f"guided search: accuracy {number(dopamine)}{baseline}"


def accuracy(tables: Tables, method: str) -> float | None:
    """Average the accuracy of one method of Table 4; return None where it was not measured."""
    known = [row["accuracy"] for row in rows_of(tables, "table4") if row["method"] == method]
    return float(np.mean(known)) if known and None not in known else None
