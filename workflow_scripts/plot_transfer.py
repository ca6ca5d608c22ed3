"""Rule `plot_transfer`: Figures 2 and 8 as pdf, svg and png, from the table `transfer` alone."""

from collections.abc import Sequence

from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.report.figure_command import plot_table
from workflow_scripts.lib.report.transfer_figure import draw


def main(argv: Sequence[str] | None = None) -> None:
    """Read the table and write both figures."""
    plot_table(argv, __doc__, draw)


if __name__ == "__main__":
    run_main(main)
