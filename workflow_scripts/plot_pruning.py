"""Rule `plot_pruning`: Figures 1, 4 to 7 and 11 as pdf, svg and png, from the tables alone."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.report.figure_command import save_figures
from workflow_scripts.lib.report.pruning_figure import KINDS, draw
from workflow_scripts.lib.storage.tables import read_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Read the tables and write every configured figure of a pruning."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with section figures")
    parser.add_argument(
        "--tables", required=True, nargs="+", type=Path, help="pruning_value.parquet, pruning_dopamine.parquet"
    )
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    tables = {path.stem: read_parquet(path) for path in arguments.tables}
    sections = {name: section for name, section in load(arguments.params).figures.items() if name in KINDS}
    save_figures(
        arguments.output_dir, sections, lambda name: draw(tables[KINDS[name].table], KINDS[name], sections[name])
    )


if __name__ == "__main__":
    run_main(main)
