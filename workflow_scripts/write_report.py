"""Rule `write_report`: one self-contained HTML page with the question, the figures, the tables and what they show.

The page loads nothing: its style is inline, its figures are data URIs, and its content security policy forbids the
rest; the one script, that of the trajectories, is inline too and named there by its hash. The page holds no date, so
the same results give the same bytes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from workflow_scripts.lib.claims.curve_rules import PRINTED_RULE, RULES, Curve, curves_of
from workflow_scripts.lib.claims.verdicts import VERDICTS
from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.formatting import grouped
from workflow_scripts.lib.report.applications_page import (
    confidence_section,
    search_section,
    shown_figure,
    trajectory_section,
    transfer_section,
)
from workflow_scripts.lib.report.claims_page import beside_claims, claims_view, table1
from workflow_scripts.lib.report.curves_page import (
    FIGURE_PLACES,
    METRICS,
    PLACES,
    SHOWN_RATIOS,
    beside_published,
    chance_note,
    curve_rows,
    figure_view,
    in_figure,
    judge,
    tally,
)
from workflow_scripts.lib.report.interventions_page import DOSE, intervention_view
from workflow_scripts.lib.report.parts import FigureView, caption_of, render
from workflow_scripts.lib.report.trajectories_page import data_text, page, part, script_hash
from workflow_scripts.lib.runtime.machine import versions
from workflow_scripts.lib.storage.files import atomic_path
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.trajectories.traces import read_trace

SECTIONS = [
    *("split", "rollouts", "values", "activations", "value_probes", "dopamine_probes", "ntp_probes", "interventions"),
    *("transfer", "confidence", "search", "trajectories", "pruning"),
]
"""The sections of the configuration that the report prints key by key, in this order."""


def applications(
    tables: dict[str, pl.DataFrame], paths: Sequence[Path], captions: dict[str, Path], published: dict[str, Any]
) -> dict[str, Any]:
    """The sections on transfer, confidence, search and trajectories."""
    shown = {path.stem: path for path in paths}

    def pictures(*names: str) -> list[FigureView]:
        return [shown_figure(shown[name], captions) for name in names if name in shown]

    return {
        "transfer": transfer_section(tables, pictures("fig2", "fig8")),
        "confidence": confidence_section(tables, pictures("reliability"), published),
        "search": search_section(tables, published),
        "trajectories": trajectory_section(tables, pictures("fig3", "fig9", "fig10")),
    }


def settings(config: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Sections of the configuration as printed: name, then key and value as text."""
    return [
        (name, [(key, ", ".join(map(str, v)) if isinstance(v, list) else str(v)) for key, v in config[name].items()])
        for name in SECTIONS
        if config.get(name)
    ]


def totals(tables: dict[str, pl.DataFrame]) -> list[tuple[str, str]]:
    """What was produced in all, over the runs of the study."""
    rollouts, values = tables["rollouts"], tables["values"]
    return [
        ("models", grouped(rollouts["model"].n_unique())),
        ("data sets", grouped(rollouts["dataset"].n_unique())),
        ("runs (a model on a data set)", grouped(len(rollouts))),
        ("responses", grouped(rollouts["n_responses"].sum())),
        ("paragraphs with a TD error", grouped(values["paragraphs"].sum() if len(values) else 0)),
        ("continuations sampled for them", grouped(values["continuations"].sum() if len(values) else 0)),
    ]


def trajectories(paths: Sequence[Path], folder: Path, config: dict[str, Any], table: Any) -> dict[str, str] | None:
    """The interactive page: its data, style and script, and the hash by which the page allows the script."""
    if not paths:
        return None
    frames = {traced.run: traced for traced in map(read_trace, paths)}
    payload = page(frames, config, table)
    if not any(run["responses"] for run in payload["runs"]):
        return None
    script = part("js", folder)
    return {"data": data_text(payload), "style": part("css", folder), "script": script, "hash": script_hash(script)}


def context(arguments: argparse.Namespace, config: dict[str, Any]) -> dict[str, Any]:
    """Everything that the template reads."""
    tables = {path.stem: read_parquet(path) for path in arguments.tables}
    curves = curves_of(tables["pruning_value"], "auc") + curves_of(tables["pruning_dopamine"], "spearman")
    judged = judge(curves)
    captions = {path.stem: path for path in arguments.captions}
    published = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in arguments.published}
    confidence = config["pruning"]["confidence"]
    dose = next(((path, caption_of(DOSE, captions)) for path in arguments.figures if path.stem == DOSE), None)
    pruning = [path for path in arguments.figures if path.stem in FIGURE_PLACES]
    return {
        "study": config.get("study", "default"),
        "config": config,
        "settings": settings(config),
        "versions": versions(),
        "totals": totals(tables),
        "claims": claims_view(tables),
        "table1": table1(tables),
        "table_names": list(tables),
        "rollouts": tables["rollouts"].to_dicts(),
        "values": tables["values"].to_dicts(),
        "figures": [figure_view(path, captions, config, curves) for path in pruning],
        "held": intervention_view(tables, published["interventions"], config, dose),
        "applications": applications(tables, arguments.figures, captions, published["applications"]),
        "trajectories": trajectories(
            arguments.trajectories, arguments.template.parent, config, tables.get("trajectories")
        ),
        "judged": judged,
        "places": PLACES,
        "metrics": METRICS,
        "rules": RULES,
        "printed_rule": PRINTED_RULE,
        "verdict_names": VERDICTS,
        "tally": tally(judged),
        "chance_note": chance_note(judged, confidence),
        "confidence": f"{100 * confidence:g} %",
        "curve_rows": curve_rows(judged),
        "shown_ratios": SHOWN_RATIOS,
        "published": published["figures"]["source"],
        "entries": entries(published, tables, config, curves),
    }


def entries(
    published: dict[str, Any], tables: dict[str, pl.DataFrame], config: dict[str, Any], curves: Sequence[Curve]
) -> list[dict[str, Any]]:
    """What the paper says of its figures, with what was found here, in the order of their numbers."""
    drawn_here = [
        entry | {"ours": beside_published(entry, in_figure(entry["figure"], config, curves))}
        for entry in published["figures"]["entries"]
    ]
    if "claims" in tables:
        drawn_here += [
            entry | {"ours": beside_claims(entry, tables["claims"])} for entry in published["applications"]["figures"]
        ]
    return sorted(drawn_here, key=lambda entry: int(entry["figure"].removeprefix("fig")))


def main(argv: Sequence[str] | None = None) -> None:
    """Read tables, figures and captions and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON of the whole configuration")
    parser.add_argument("--tables", required=True, nargs="+", type=Path, help="all tables, parquet")
    parser.add_argument("--figures", required=True, nargs="+", type=Path, help="svg, in the order shown")
    parser.add_argument("--captions", required=True, nargs="+", type=Path, help="{figure}.md for every figure")
    parser.add_argument("--template", required=True, type=Path, help="the page; its parts lie beside it")
    parser.add_argument("--published", required=True, nargs="+", type=Path, help="what the paper prints (yaml)")
    parser.add_argument("--trajectories", nargs="*", type=Path, default=[], help="followed neurons, one file a run")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    page = render(arguments.template, context(arguments, load(arguments.params).raw))
    with atomic_path(arguments.output) as path:
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    run_main(main)
