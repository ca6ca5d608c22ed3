"""Rule `plot_trajectories`: Figures 3 and 9 (a positive and a negative surprise) and Figure 10 (ablation)."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.report.ablation_figure import ablation_figure
from workflow_scripts.lib.report.figure_command import save_figures
from workflow_scripts.lib.report.surprise_figure import surprise_figure
from workflow_scripts.lib.storage.identity import run_of
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.trajectories.traces import read_trace

SURPRISES, ABLATION = ("fig3", "fig9"), "fig10"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the trajectories and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with figures.fig3, fig9, fig10")
    parser.add_argument("--traced", nargs="*", type=Path, default=[], help="results/trajectories/*/*.parquet")
    parser.add_argument("--ablated", nargs="*", type=Path, default=[], help="results/trajectories/*/*/ablated.parquet")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    sections = load(arguments.params).figures
    traced = {"/".join(run_of(path, "file")): read_trace(path) for path in arguments.traced}
    ablated = {"/".join(run_of(path, "shard")): read_parquet(path) for path in arguments.ablated}

    def drawn(name: str) -> Figure:
        section = sections.get(name, {})
        return ablation_figure(traced, ablated, section) if name == ABLATION else surprise_figure(traced, section)

    save_figures(arguments.output_dir, [*SURPRISES, ABLATION], drawn)


if __name__ == "__main__":
    run_main(main)
