"""What modules that draw figures from one table share: the command line, and the three files of each figure."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import polars as pl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.report import figure_style
from workflow_scripts.lib.storage.tables import read_parquet


def plot_table(
    argv: Sequence[str] | None, description: str | None, draw: Callable[[pl.DataFrame, Any], Figure]
) -> None:
    """Read the table and write every figure that the parameters name; `draw` gets the table and its section."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--params", required=True, help="canonical JSON with the sections figures.NAME")
    parser.add_argument("--table", required=True, type=Path, help="parquet")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    matplotlib.use("Agg")
    matplotlib.rcParams.update(figure_style.STYLE)
    table = read_parquet(arguments.table)
    for name, section in load(arguments.params).figures.items():
        figure = draw(table, section)
        figure_style.save(figure, arguments.output_dir, name)
        plt.close(figure)
