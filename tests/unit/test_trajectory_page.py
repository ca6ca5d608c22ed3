"""The interactive page: small and exact data, safe whatever the text holds, and controls that work in a browser."""

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import traced_runs as runs
from browser import chromium

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.report.trajectories_page import BUDGET, data_text, page, part, script_hash
from workflow_scripts.lib.trajectories.traces import SCHEMA, Traced

EVIL = '</script><img src="http://localhost:9/x" onerror="document.body.dataset.owned=1"><script>boom()</script><!--'


PARTS = Path(__file__).resolve().parents[2] / "report"


def standalone(payload: Mapping[str, Any], folder: Path = PARTS) -> str:
    """The view alone, as one page that loads nothing."""
    script = part("js", folder)
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src '{script_hash(script)}'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<title>Dopamine neurons over responses</title>\n<link rel="icon" href="data:,">\n<style>{part("css", folder)}'
        f"</style>\n</head>\n<body>\n<section>\n{part('html', folder)}</section>\n"
        f'<script type="application/json" id="trajectories-data">{data_text(payload)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def config(n: int) -> dict[str, Any]:
    return {"trajectories": {"page_responses": n}}


def two_runs() -> dict[str, Traced]:
    return {"grpo/ledger": runs.planted(), "grpo/locks": runs.planted(20, seed=3, dataset="locks")}


def with_text(traced: Traced, text: str) -> Traced:
    pieces = pl.col("pieces").list.eval(pl.element() + text)
    return Traced(**(vars(traced) | {"responses": traced.responses.with_columns(pieces)}))


def test_numbers_are_rounded_and_oriented() -> None:
    traced = runs.planted()
    payload = page({"any": traced}, config(40))
    (run,) = payload["runs"]
    assert (run["run"], run["layer"], run["total"], len(run["responses"])) == ("grpo/ledger", 3, 40, 40)
    assert [one["sign"] for one in run["neurons"]] == [-1, 1, 1, 1]
    for found in run["responses"]:
        row = traced.responses.filter(pl.col("problem_id") == found["id"]).row(0, named=True)
        assert np.allclose(np.array(found["v"][0]) / 100, row["values"], atol=0.0051)
        assert np.allclose(np.array(found["d"][0]) / 100, row["deltas"], atol=0.0051)
        assert np.allclose(-np.array(found["a"][0]) / 10, row["activations"][0], atol=0.051)
        assert found["pieces"] == row["pieces"] and found["ends"] == row["boundaries"]


def test_responses_are_shared_out_validation_first_in_order_of_problem() -> None:
    payload = page(two_runs(), config(25))
    assert [len(run["responses"]) for run in payload["runs"]] == [13, 12]
    for run, validation in zip(payload["runs"], (13, 10), strict=True):
        splits = [one["split"] for one in run["responses"]]
        assert splits[:validation] == ["validation"] * validation and set(splits[validation:]) <= {"train"}
        for part_of in ("validation", "train"):
            names = [one["id"] for one in run["responses"] if one["split"] == part_of]
            assert names == sorted(names)


def test_correlations_come_from_the_table() -> None:
    table = pl.DataFrame(
        {"model": ["grpo"] * 2, "dataset": ["ledger"] * 2, "neuron": [7, 3], "spearman": [0.5, None]}
        | {"ci_low": [0.25, None], "ci_high": [0.75, None]}
    )
    neurons = page({"any": runs.planted()}, config(1), table)["runs"][0]["neurons"]
    assert [one["rho"] for one in neurons] == [[50, 25, 75], None, None, None]


def test_two_hundred_responses_of_a_hundred_tokens_stay_small() -> None:
    rng, rows = np.random.default_rng(0), []
    for i in range(200):
        deltas = rng.uniform(-0.2, 0.2, 34).tolist()
        rows.append(runs.row_of(f"p-{i:03d}", "validation", deltas, rng.normal(0, 1, (10, 102))))
    neurons = runs.NEURONS[:1] * 10
    traced = Traced("grpo", "ledger", 3, "response", neurons, pl.DataFrame(rows, schema=SCHEMA))
    assert len(data_text(page({"any": traced}, config(200)))) < 1_500_000
    long = traced.responses.with_columns(pl.col("pieces").list.eval(pl.element() + "x" * 1000))
    cut = page({"any": Traced(**(vars(traced) | {"responses": long}))}, config(200))
    assert 0 < len(cut["runs"][0]["responses"]) < 200 and len(data_text(cut)) < BUDGET + 10_000


def test_no_text_can_leave_the_data() -> None:
    text = data_text(page({"any": with_text(runs.planted(2), EVIL + "\u2028")}, config(2)))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["runs"][0]["responses"][0]["pieces"][0].endswith(EVIL + "\u2028")


def test_the_hash_is_the_one_browsers_compute() -> None:
    digest = hashlib.sha256("let ä = 1;".encode()).digest()
    assert script_hash("let ä = 1;") == "sha256-" + base64.b64encode(digest).decode()


def test_a_missing_part_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trajectories\.js: cannot be read"):
        standalone({"runs": []}, tmp_path)


def test_every_control_has_a_label_and_the_parts_load_nothing() -> None:
    html = part("html", PARTS)
    controls = re.findall(r'<select id="([\w-]+)"', html)
    assert controls and set(controls) == set(re.findall(r'<label for="([\w-]+)"', html))
    assert "<noscript>" in html
    for kind in ("html", "css", "js"):
        assert not re.search(
            r"url\(|@import|innerHTML|insertAdjacent|eval\(|fetch\(|https?://(?!www\.w3\.org/2000/svg)",
            part(kind, PARTS),
        )


def brightness(colour: str) -> float:
    """Relative luminance, as the accessibility guidelines define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_text_is_dark_on_every_shade_and_signs_differ_without_colour() -> None:
    shades = dict(re.findall(r"\.traj-([np]\d) \{ background: (#\w{6})", part("css", PARTS)))
    assert len(shades) == 8
    for colour in shades.values():
        assert (brightness(colour) + 0.05) / (brightness("#1c1f24") + 0.05) > 7
    for level in (2, 3, 4):
        assert f".traj-p{level} {{ background: {shades[f'p{level}']}; text-decoration: underline solid" in part(
            "css", PARTS
        )
        assert f".traj-n{level} {{ background: {shades[f'n{level}']}; text-decoration: underline dotted" in part(
            "css", PARTS
        )


WATCH = """
window.addEventListener("error", event => put("errors", event.message));
document.addEventListener("securitypolicyviolation", event => put("blocked", event.violatedDirective));
const put = (name, value) => { document.body.dataset[name] = value; };
"""
TELL = """
const all = selector => [...document.querySelectorAll(selector)];
const shades = () => all(".traj-text .traj-t").map(t => t.className).join();
const pick = (id, value) => {
  const control = document.getElementById(id);
  control.value = value;
  control.dispatchEvent(new Event("change"));
};
const press = key => {
  document.getElementById("traj-text").dispatchEvent(new KeyboardEvent("keydown", {key, cancelable: true}));
};
const title = () => document.getElementById("traj-title").textContent;
"""


def browse(text: str, folder: Path, script: str, size: str = "1100,900") -> dict[str, str]:
    """What a script that runs after the page's own leaves in the data attributes of the body."""
    before, after = WATCH, TELL + script + '\nput("requests", performance.getEntriesByType("resource").length);'
    after += '\nput("wide", document.documentElement.scrollWidth - document.documentElement.clientWidth);'
    allowed = f"'{script_hash(before)}' '{script_hash(after)}'"
    text = text.replace("script-src ", f"script-src {allowed} ", 1)
    text = text.replace("<body>", f"<body><script>{before}</script>", 1).replace(
        "</body>", f"<script>{after}</script></body>"
    )
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    command = [*chromium(folder), f"--window-size={size}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    body = re.search(r"<body([^>]*)>", done.stdout)
    assert body is not None
    return dict(re.findall(r'data-(\w+)="([^"]*)"', body.group(1)))


def test_the_controls_change_what_is_shown(tmp_path: Path) -> None:
    script = """
    const before = shades(), first = title();
    put("shown", all("#traj-body:not([hidden]) .traj-text .traj-t").length);
    put("shapes", all("#traj-chart svg circle").length);
    pick("traj-neuron", "1");
    put("neuron", shades() !== before);
    const list = document.getElementById("traj-response");
    put("listed", list.options.length);
    pick("traj-response", list.options[5].value);
    put("response", title() !== first);
    pick("traj-outcome", "0");
    const shown = [...list.options].map(o => o.textContent);
    put("incorrect", shown.every(text => text.includes("incorrect")) && title().includes("incorrect"));
    pick("traj-outcome", "all"); pick("traj-sort", "up");
    const surprises = [...list.options].map(o => parseFloat(o.textContent.split("  ")[2].replace("\\u2212", "-")));
    put("sorted", surprises.every((s, i) => !i || s <= surprises[i - 1]));
    for (let i = 0; i < 3; i++) press("ArrowRight");
    put("token", document.getElementById("traj-readout").textContent);
    press("End"); put("last", all(".traj-at")[0].dataset.index);
    pick("traj-run", "1");
    put("other", list.options.length);
    """
    told = browse(standalone(page(two_runs(), config(60))), tmp_path, script)
    assert told["token"].startswith("Token 3 of 12 (paragraph 1): ")
    counted = {"shown": "12", "shapes": "5", "listed": "30", "other": "20", "last": "11"}
    assert {name: told[name] for name in counted} == counted
    assert {told[name] for name in ("neuron", "response", "incorrect", "sorted")} == {"true"}
    assert not {"errors", "blocked"} & set(told) and told["requests"] == "0"


def test_a_token_bears_the_shade_of_its_activation(tmp_path: Path) -> None:
    own = np.zeros((4, 6))
    own[1] = [0.0, 0.6, -1.2, 1.7, -2.6, 30.0]
    rows = [runs.row_of("a", "validation", [0.4, -0.4], own)]
    traced = Traced("grpo", "ledger", 3, "response", runs.NEURONS, pl.DataFrame(rows, schema=SCHEMA))
    script = 'pick("traj-neuron", "1"); put("shades", all(".traj-text .traj-t").map(t => t.className.slice(7)).join());'
    told = browse(standalone(page({"any": traced}, config(1))), tmp_path, script)
    assert told["shades"].replace("traj-", "").split(",") == ["", "p1", "n2", "p3", "n4", "p4"]


def test_text_of_a_model_stays_text_and_a_phone_need_not_scroll_sideways(tmp_path: Path) -> None:
    payload = page({"any": with_text(runs.planted(), EVIL)}, config(10))
    script = 'put("images", document.images.length); put("text", all(".traj-t")[9].textContent.length);'
    told = browse(standalone(payload), tmp_path, script, "500,900")
    first = payload["runs"][0]["responses"][0]["pieces"][0]
    assert told["images"] == "0" and int(told["text"]) >= len(first)
    assert "owned" not in told and not {"errors", "blocked"} & set(told)
    assert told["requests"] == "0" and told["wide"] == "0"


def test_a_study_without_responses_says_so_and_the_watch_sees_what_is_blocked(tmp_path: Path) -> None:
    text = standalone(page({}, config(10)))
    script = 'put("said", document.getElementById("trajectories-view").textContent.includes("nothing to show"));'
    assert browse(text, tmp_path, script)["said"] == "true"
    told = browse(text.replace("</section>", "</section><script>0</script>"), tmp_path, script)
    assert told["blocked"] == "script-src-elem"
