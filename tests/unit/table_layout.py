"""Measure in a browser whether the tables of a page fit and can be read."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path

from browser import chromium

from workflow_scripts.lib.report.trajectories_page import script_hash

MEASURE = """
addEventListener("load", () => {
  const faults = [], folded = document.documentElement.scrollHeight;
  for (const fold of document.querySelectorAll("details")) fold.open = true;
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
      if (lines > 1.5 && inner < Math.min(natural, least) - 2) fault(inner.toFixed(0) + " pixels wide", cell);
    }
  }
  parent.postMessage(JSON.stringify({width: innerWidth, cells, faults, folded}), "*");
});
"""
FRAME = """<!DOCTYPE html><body style="margin: 0"><script>
addEventListener("message", event => { document.body.dataset.measured = event.data; });
</script><iframe src="page.html" width="%d" height="900" style="border: 0"></iframe></body>"""


def measured(text: str, folder: Path, width: int) -> dict[str, object]:
    """The width of the page, its height as it opens, the number of cells and the faults, with every fold open.

    A browser measures; a frame may be narrow.
    """
    allowed = f"script-src '{script_hash(MEASURE)}'"
    policy = "script-src" if "script-src" in text else "default-src 'none'"
    text = text.replace(policy, allowed if policy == "script-src" else f"{policy}; {allowed}", 1)
    (folder / "page.html").write_text(text.replace("<body>", f"<body><script>{MEASURE}</script>", 1), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME % width, encoding="utf-8")
    flags = ["--window-size=1300,1000", "--hide-scrollbars", "--virtual-time-budget=5000", "--dump-dom"]
    command = [*chromium(folder), *flags, (folder / "frame.html").as_uri()]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    found = re.search(r'data-measured="([^"]*)"', shown)
    assert found is not None, "the page did not answer"
    answer: dict[str, object] = json.loads(unescape(found[1]))
    return answer
