"""What the modules that draw figures share: the command line of one table, and the three files of each figure."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import polars as pl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.report import figure_style
from workflow_scripts.lib.storage.tables import read_parquet


def save_figures(folder: Path, names: Iterable[str], draw: Callable[[str], Figure]) -> None:
    """Draw every named figure in the style of the project, and write its files."""
    matplotlib.use("Agg")
    matplotlib.rcParams.update(figure_style.STYLE)
    for name in names:
        figure = draw(name)
        figure_style.save(figure, folder, name)
        plt.close(figure)


def plot_table(
    argv: Sequence[str] | None, description: str | None, draw: Callable[[pl.DataFrame, Any], Figure]
) -> None:
    """Read the table and write every figure that the parameters name; `draw` gets the table and its section."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--params", required=True, help="canonical JSON with the sections figures.NAME")
    parser.add_argument("--table", required=True, type=Path, help="parquet")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    table, sections = read_parquet(arguments.table), dict(load(arguments.params).figures.items())
    save_figures(arguments.output_dir, sections, lambda name: draw(table, sections[name]))
