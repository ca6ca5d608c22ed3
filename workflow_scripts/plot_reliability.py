"""Rule `plot_reliability`: share of correct answers against the calibrated probability of one, as pdf, svg and png."""

from collections.abc import Sequence

from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.report.figure_command import plot_table
from workflow_scripts.lib.report.reliability_figure import draw


def main(argv: Sequence[str] | None = None) -> None:
    """Read the table and write the figure."""
    plot_table(argv, __doc__, draw)


if __name__ == "__main__":
    run_main(main)
