"""Rule `plot_dose`: accuracy against how many neurons are ablated, and how strongly, as pdf, svg and png."""

from collections.abc import Sequence

from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.report.dose_figure import draw
from workflow_scripts.lib.report.figure_command import plot_table


def main(argv: Sequence[str] | None = None) -> None:
    """Read the table and write the figure."""
    plot_table(argv, __doc__, draw)


if __name__ == "__main__":
    run_main(main)
