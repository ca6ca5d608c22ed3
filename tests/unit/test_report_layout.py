"""Every table of the report fits: on a wide screen into the page, on a phone into its own scrolling box."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path

import pytest
import realistic_results as realistic
from browser import chromium

from workflow_scripts import write_report
from workflow_scripts.lib.report.trajectories_page import script_hash

MEASURE = """
addEventListener("load", () => {
  const faults = [];
  const fault = (what, node) => faults.push(what + ": " + node.textContent.trim().replace(/\\s+/g, " ").slice(0, 60));
  const phone = innerWidth < 600;
  const page = document.documentElement;
  const excess = page.scrollWidth - page.clientWidth;
  if (excess > 0) faults.push("the page scrolls sideways by " + excess);
  const canvas = document.createElement("canvas").getContext("2d");
  let cells = 0;
  for (const table of document.querySelectorAll("table")) {
    const box = table.closest(".wide");
    if (!box) fault("table outside a box", table);
    if (!phone && box.scrollWidth > box.clientWidth) fault("table wider than the page", table);
    if (box.getBoundingClientRect().right > innerWidth + 1) fault("box wider than the page", table);
    for (const cell of table.querySelectorAll("td, th, caption")) {
      cells += 1;
      const style = getComputedStyle(cell), content = document.createRange();
      content.selectNodeContents(cell);
      const text = content.getBoundingClientRect(), outer = cell.getBoundingClientRect();
      const words = cell.textContent.trim();
      if (text.right > outer.right + 1 || text.left < outer.left - 1 || cell.scrollWidth > cell.clientWidth + 1)
        fault("text outside its cell", cell);
      const lines = text.height / parseFloat(style.lineHeight), note = cell.colSpan > 1 || cell.tagName === "CAPTION";
      if (lines > (note && phone ? 20 : 10)) fault(lines.toFixed(0) + " lines", cell);
      canvas.font = style.font;
      const natural = canvas.measureText(words).width;
      const inner = cell.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      const least = cell.closest("thead") ? 24 : words.length > 40 ? 130 : 60;
      if (inner < Math.min(natural, least) - 2) fault(inner.toFixed(0) + " pixels wide", cell);
    }
  }
  parent.postMessage(JSON.stringify({width: innerWidth, cells, faults}), "*");
});
"""
FRAME = """<!DOCTYPE html><body style="margin: 0"><script>
addEventListener("message", event => { document.body.dataset.measured = event.data; });
</script><iframe src="page.html" width="%d" height="900" style="border: 0"></iframe></body>"""


def measured(text: str, folder: Path, width: int) -> dict[str, object]:
    """The width of the page, the number of cells and the faults that a browser measures; a frame may be narrow."""
    text = text.replace("script-src ", f"script-src '{script_hash(MEASURE)}' ", 1)
    (folder / "page.html").write_text(text.replace("<body>", f"<body><script>{MEASURE}</script>", 1), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME % width, encoding="utf-8")
    flags = ["--window-size=1300,1000", "--hide-scrollbars", "--virtual-time-budget=5000", "--dump-dom"]
    command = [*chromium(folder), *flags, (folder / "frame.html").as_uri()]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    found = re.search(r'data-measured="([^"]*)"', shown)
    assert found is not None, "the page did not answer"
    answer: dict[str, object] = json.loads(unescape(found[1]))
    return answer


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
