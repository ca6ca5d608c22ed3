"""Every table of the report fits: on a wide screen into the page, on a phone into its own scrolling box."""

from pathlib import Path

import pytest
import realistic_results as realistic
from table_layout import measured

from workflow_scripts import write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("realistic")
    write_report.main(realistic.report_arguments(folder))
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [1250, 390])
def test_every_table_fits_and_every_cell_can_be_read(report: str, tmp_path: Path, width: int) -> None:
    assert realistic.REASON[:40].capitalize() in report and realistic.EVIDENCE[:40] in report
    answer = measured(report, tmp_path, width)
    assert answer["width"] == width and int(str(answer["cells"])) > 500
    assert answer["faults"] == []


def test_the_page_opens_short(report: str, tmp_path: Path) -> None:
    """Claims and question stand open, and everything else unfolds: the page of every number is ten times as long."""
    assert int(str(measured(report, tmp_path, 1250)["folded"])) < 5000


BAD = {
    "pixels wide: one letter": ("width: 2rem", "<td style='word-break: break-all'>one letter wide</td>"),
    "wider than the page: too wide": ("width: 2000px", f"<td>{'too wide ' * 9}</td>"),
    "lines: too high": ("width: 9rem", f"<td>{'too high ' * 60}</td>"),
    "outside its cell: clipped": ("width: 9rem", "<td><p style='width: 14rem'>clipped</p></td>"),
}
"""Faults that must be reported, with the style of a table and the cell that has them."""


def test_the_measurement_sees_what_it_is_meant_to_see(report: str, tmp_path: Path) -> None:
    fixed = "table-layout: fixed; min-width: 0"
    tables = "".join(
        f"<div class='wide'><table style='{fixed}; {width}'><tr>{cell}</tr></table></div>"
        for width, cell in BAD.values()
    )
    faults = str(measured(report.replace("</main>", f"{tables}</main>"), tmp_path, 1250)["faults"])
    assert [fault for fault in BAD if fault not in faults] == []
    broken = report.replace("</main>", "<p style='width: 90rem; max-width: none'>a page too wide</p></main>")
    assert "the page scrolls sideways" in str(measured(broken, tmp_path, 390)["faults"])
