"""Put the sections of the report together: one object for each part of its template."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.claims.registration import deviations, registration
from workflow_scripts.lib.report import confidence_page, dopamine_page, transfer_page
from workflow_scripts.lib.report.application_section import Figures, Section
from workflow_scripts.lib.report.claims_page import Registered, claims_section
from workflow_scripts.lib.report.confidence_page import confidence_section
from workflow_scripts.lib.report.curves import curves_of
from workflow_scripts.lib.report.curves_page import FIGURE_PLACES, excerpt_section, pruning_figures
from workflow_scripts.lib.report.dopamine_page import dopamine_section, viewer
from workflow_scripts.lib.report.interventions_page import DOSE, intervention_section
from workflow_scripts.lib.report.paper_page import figures_of, paper_table
from workflow_scripts.lib.report.parts import FigureView, shown_figure
from workflow_scripts.lib.report.runs_page import runs_section
from workflow_scripts.lib.report.search_page import search_section
from workflow_scripts.lib.report.settings_page import settings_section
from workflow_scripts.lib.report.transfer_page import transfer_section


@dataclass(frozen=True)
class Results:
    """What a study left for its report.

    Args:
        tables: every table by its name.
        figures: svg files, in the order shown.
        captions: `{figure}.md` by figure.
        published: what the paper prints, by file.
        traces: trajectories of the followed neurons, one file per run.
        registered: what was registered before the study ran, if it was.
    """

    tables: dict[str, pl.DataFrame]
    figures: Sequence[Path]
    captions: dict[str, Path]
    published: dict[str, Any]
    traces: Sequence[Path]
    registered: dict[str, Any] | None = None


def report_values(results: Results, config: dict[str, Any], parts: Path) -> dict[str, Any]:
    """Build everything that the template reads, by section; `parts` is the folder of the template's parts."""
    tables, published = results.tables, results.published
    confidence = f"{100 * config['pruning']['confidence']:g} %"
    curves = curves_of(tables["pruning_value"], "auc") + curves_of(tables["pruning_dopamine"], "spearman")
    return {
        "study": config.get("study", "default"),
        "about": config.get("about"),
        "published": published["figures"]["source"],
        "claims": claims_section(tables, claimed(results), confidence, registered(results, config)),
        "runs": runs_section(tables, confidence, config.get("left_out") or {}),
        "figures": [*pruning_figures(results.figures, results.captions, config, curves), *other_figures(results)],
        "interventions": intervention_section(
            tables, published["interventions"], config, results.figures, results.captions
        ),
        "applications": applications(results),
        "trajectories": viewer(results.traces, parts, config, tables.get("trajectories")),
        "paper": paper_table(published, tables),
        "excerpt": excerpt_section(curves, list(tables), confidence),
        "settings": settings_section(config, tables),
    }


def claimed(results: Results) -> dict[str, dict[str, Any]]:
    """Map each claim to what the paper says of its figure, where this study has that figure."""
    drawn = {path.stem for path in results.figures}
    entries = [entry for entry in figures_of(results.published) if entry["figure"] in drawn]
    return {key: entry for entry in reversed(entries) for key in entry["claims"]}


def registered(results: Results, config: dict[str, Any]) -> Registered | None:
    """Compare the study with what was registered; return None where nothing was."""
    if results.registered is None:
        return None
    now = registration(config, results.published["claims"]["claims"])
    return Registered(results.registered["hash"], deviations(results.registered, now))


def other_figures(results: Results) -> list[FigureView]:
    """List the figures that no section is about."""
    known = {*FIGURE_PLACES, DOSE, *confidence_page.SHOWN, *dopamine_page.SHOWN, *transfer_page.SHOWN}
    return [shown_figure(path, results.captions) for path in results.figures if path.stem not in known]


def applications(results: Results) -> list[Section]:
    """Build the sections on transfer, confidence, search and trajectories."""
    figures = Figures({path.stem: path for path in results.figures}, results.captions)
    published = results.published["applications"]
    return [
        transfer_section(results.tables, figures),
        confidence_section(results.tables, figures, published),
        search_section(results.tables, published),
        dopamine_section(results.tables, figures),
    ]
