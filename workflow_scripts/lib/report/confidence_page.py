"""The section on confidence: Table 3, the paper's Table 3, and paired differences."""

from collections.abc import Sequence
from typing import Any

from workflow_scripts.lib.confidence.methods import EXPLAINED
from workflow_scripts.lib.formatting import number
from workflow_scripts.lib.report.application_section import Figures, Section, Tables, rows_of, section
from workflow_scripts.lib.report.paper_tables import comparison, runs_in
from workflow_scripts.lib.report.tables import (
    Kind,
    Row,
    TableView,
    difference,
    labelled,
    p_column,
    ranged,
    reason,
    run,
    view,
    whole,
    written,
)

SHOWN = ("reliability",)
LEAD = (
    "Whether value neurons predict, before an answer is written, that it will be correct, and predict it better than "
    "simpler methods."
)
TABLE3 = (
    "Predicting from the question alone whether the answer will be correct (the paper’s Table 3), on "
    "validation problems. Brier score and calibration error are those of probabilities calibrated on "
    "training problems, the latter over bins of equally many responses."
)
CONTRASTS = (
    "AUC of value neurons less that of another method, with paired intervals over problems. “all/all”: the mean over "
    "runs."
)


def confidence_section(tables: Tables, figures: Figures, published: dict[str, Any]) -> Section:
    """Build the section on confidence: Table 3, the paper's Table 3, and paired differences."""
    measured = rows_of(tables, "table3")
    columns = [run(), labelled("Method", "method", EXPLAINED), ranged("AUC", "auc")]
    columns += [ranged("Brier score", "brier", "brier_low", "brier_high")]
    columns += [ranged("Calibration error", "ece", "ece_low", "ece_high")]
    columns += [ranged("AUC within question length", "auc_within_length", "auc_within_low", "auc_within_high")]
    columns += [whole("Responses", "n")]
    contrasts = [run(), labelled("Method", "method", EXPLAINED), labelled("Against", "against", EXPLAINED)]
    contrasts += [difference(), p_column()]
    listed = [
        view(TABLE3, columns, measured, notes=reason),
        *([printed_table(measured, published["table3"])] if measured else []),
        view(CONTRASTS, contrasts, rows_of(tables, "confidence_contrasts"), notes=reason),
    ]
    nothing = "Confidence was not measured in this study."
    return section("confidence", "Confidence", LEAD, figures.named(*SHOWN), listed, nothing)


def printed_table(measured: Sequence[Row], printed: dict[str, Any]) -> TableView:
    """Tabulate the paper's Table 3 and this study's AUCs in the same columns."""
    names = printed["columns"]
    rows = [[f"Paper: {entry['run']}", *(number(value) for value in entry["auc"])] for entry in printed["rows"]]
    for place in runs_in(measured):
        by_method = {row["method"]: row for row in measured if (row["model"], row["dataset"]) == place}
        aucs = [written(by_method[n], "auc", "ci_low", "ci_high") if n in by_method else "–" for n in names]
        rows.append([f"Here: {place[0]}/{place[1]}", *aucs])
    titles: list[tuple[str, Kind]] = [("Source", "text")]
    titles += [(EXPLAINED[name].partition(",")[0], "number") for name in names]
    return comparison(f"{printed['where']}: {printed['setting']}.", titles, rows)
