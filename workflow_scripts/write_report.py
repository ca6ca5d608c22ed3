"""Rule `write_report`: one self-contained HTML page with the question, the figures, the tables and what they show.

The page loads nothing: its style is inline, its figures are data URIs, and its content security policy forbids the
rest; the one script, that of the trajectories, is inline too and named there by its hash. The page holds no date, so
the same results give the same bytes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from workflow_scripts.lib.claims.registration import read
from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.report.parts import render
from workflow_scripts.lib.report.report_page import Results, report_values
from workflow_scripts.lib.storage.files import atomic_path
from workflow_scripts.lib.storage.tables import read_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Read tables, figures and captions and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON of the whole configuration")
    parser.add_argument("--tables", required=True, nargs="+", type=Path, help="all tables, parquet")
    parser.add_argument("--figures", required=True, nargs="+", type=Path, help="svg, in the order shown")
    parser.add_argument("--captions", required=True, nargs="+", type=Path, help="{figure}.md for every figure")
    parser.add_argument("--template", required=True, type=Path, help="the page; its parts are in the same folder")
    parser.add_argument("--published", required=True, nargs="+", type=Path, help="what the paper prints (yaml)")
    parser.add_argument("--trajectories", nargs="*", type=Path, default=[], help="traced neurons, one file per run")
    parser.add_argument("--registration", nargs="*", type=Path, default=[], help="registrations/<study>.json, if any")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    results = Results(
        tables={path.stem: read_parquet(path) for path in arguments.tables},
        figures=arguments.figures,
        captions={path.stem: path for path in arguments.captions},
        published={path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in arguments.published},
        traces=arguments.trajectories,
        registered=read(arguments.registration[0]) if arguments.registration else None,
    )
    values = report_values(results, load(arguments.params).raw, arguments.template.parent)
    page = render(arguments.template, values)
    with atomic_path(arguments.output) as path:
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    run_main(main)
