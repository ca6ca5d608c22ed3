import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import synthetic_results as synthetic
from browser import chromium
from PIL import Image

from workflow_scripts import plot_dose, plot_pruning, tabulate_interventions, tabulate_results, write_report
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.report.parts import read_caption
from workflow_scripts.lib.storage.tables import write_parquet

ROOT = Path(__file__).resolve().parents[2]
TABLES = (
    *("rollouts", "values", "pruning_value", "pruning_dopamine", "table2", "table5", "intervention_contrasts"),
    *("neuron_overlap", "dose_response"),
)
CONFIG: dict[str, Any] = {
    "study": "synthetic <b>",
    "models": {"grpo": {"path": "models/grpo", "revision": None, "dtype": "float32", "prompt": "chat"}},
    "datasets": {"ledger": {"source": "reference", "task": "ledger", "n_problems": 400, "answer": "boxed_integer"}},
    "rollouts": {"runs": ["grpo/ledger"], "temperature": 1.0, "seed": 0},
    "pruning": {"confidence": 0.95, "bootstrap": 200, "seed": 0},
    "figures": {
        "fig1": {"runs": ["grpo/ledger", "grpo/codes", "ppo/easy"], "layers": [2, 3, 4]},
        "fig4": {"runs": ["grpo/ledger", "ppo/easy"], "layers": [2, 3, 4]},
        "fig7": {"runs": ["grpo/ledger"], "layers": None},
        "fig11": {"runs": ["grpo/ledger", "grpo/codes"], "layers": [2, 3, 4]},
    },
}


def make_report(folder: Path, config: dict[str, Any] = CONFIG, drawn: Path | None = None) -> Path:
    """Write the report; with figures that another one has `drawn`, where they show the same or are not looked at."""
    tabulate_results.main(synthetic.tabulate_arguments(folder))
    tabulate_interventions.main(synthetic.intervention_arguments(folder, config.get("interventions", {})))
    tables = [str(folder / "tables" / f"pruning_{kind}.parquet") for kind in ("value", "dopamine")]
    params, figures = json.dumps(config), folder / "figures"
    if drawn:
        shutil.copytree(drawn.with_name("figures"), figures, dirs_exist_ok=True)
    else:
        plot_pruning.main(["--params", params, "--tables", *tables, "--output-dir", str(figures)])
    if "dose" in config["figures"] and not (figures / "dose.svg").exists():
        dose = ["--table", str(folder / "tables" / "dose_response.parquet")]
        plot_dose.main(["--params", params, *dose, "--output-dir", str(figures)])
    write_report.main(report_arguments(folder, config))
    return folder / "report.html"


def report_arguments(folder: Path, config: dict[str, Any]) -> list[str]:
    tables = [str(folder / "tables" / f"{name}.parquet") for name in TABLES]
    figures = [str(folder / "figures" / f"{name}.svg") for name in config["figures"]]
    captions = [str(ROOT / "report" / "captions" / f"{name}.md") for name in config["figures"]]
    fixed = ["--template", str(ROOT / "report/template.html")]
    printed = [str(ROOT / f"resources/published/{name}.yaml") for name in ("figures", "interventions", "applications")]
    fixed += ["--published", *printed]
    files = ["--tables", *tables, "--figures", *figures, "--captions", *captions, *fixed]
    return ["--params", json.dumps(config), *files, "--output", str(folder / "report.html")]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    synthetic.study(folder)
    return make_report(folder)


class Page(HTMLParser):
    """Collects what the checks need: tags left open, ids, links, images, visible text."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.alts: list[str | None] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag == "a":
            self.links.append(found.get("href") or "")
        elif found.get("src") or found.get("href"):
            self.loaded.append(found.get("src") or found.get("href") or "")
        if tag == "img":
            self.alts.append(found.get("alt"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def page_of(report: Path) -> Page:
    return Page(report.read_text(encoding="utf-8"))


def leads_somewhere(link: str, page: Page) -> bool:
    return link == "provenance.html" or (link.startswith("#") and link[1:] in page.ids)


def flat(page: Page) -> str:
    return " ".join(page.text.split())


def test_the_page_is_well_formed_and_its_links_lead_somewhere(report: Path) -> None:
    page = page_of(report)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.links and all(leads_somewhere(link, page) for link in page.links)


def test_the_page_loads_nothing(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert all(target.startswith("data:") for target in page_of(report).loaded)
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|<script|https?://", text)


def test_every_figure_is_there_with_a_text_alternative(report: Path) -> None:
    page = page_of(report)
    assert len(page.alts) == 4
    assert all(alt and "against the prune ratio" in alt for alt in page.alts)
    assert {"fig1", "fig4", "fig7", "fig11"} <= set(page.ids)


def test_names_from_the_configuration_are_escaped(report: Path) -> None:
    assert "synthetic &lt;b&gt;" in report.read_text(encoding="utf-8")


def test_what_a_figure_draws_is_given_in_words(report: Path) -> None:
    """Levels at either end of the curves, without a verdict: that is a claim's, over the layers that it names."""
    text = flat(page_of(report))
    assert "grpo/ledger: AUC of 6 layers: 0.65 to 0.80 with all inputs, 0.65 to 0.80 at prune ratio 0.99." in text
    assert "ppo/easy: all answers of the validation problems are correct: no probe can be judged." in text
    assert "ppo/easy: no paragraph passes the threshold: no dopamine probe can be judged." in text
    assert "grpo/codes: AUC of 3 layers: 0.51 with all inputs" in text
    assert "ppo/easy: no AUC: all responses are correct." in text
    assert "upported in" not in text and "selected on the data" not in text


def test_what_was_run_is_listed(report: Path) -> None:
    text = flat(page_of(report))
    for word in ("1 200 responses", "51 200 continuations", "torch 2", "Python 3.11", "temperature 1.0"):
        assert word in text.replace("temperature1.0", "temperature 1.0"), word
    assert "0.59 [0.54, 0.64]" in text  # accuracy of grpo/ledger


def test_what_the_paper_says_of_a_figure_stands_beside_the_claims(report: Path) -> None:
    text = flat(page_of(report))
    assert "The AUC stays mostly above 0.8" in text
    assert "The claims behind this figure were not judged." in text  # this study has no scores


def test_writing_twice_gives_the_same_bytes(report: Path) -> None:
    before = report.read_bytes()
    assert make_report(report.parent).read_bytes() == before


def test_adaptive_continuations_are_described(report: Path, tmp_path: Path) -> None:
    assert "Continuations were drawn until" not in flat(page_of(report))
    folder = shutil.copytree(report.parent, tmp_path / "study")
    table = folder / "tables" / "values.parquet"
    drawn = pl.read_parquet(table).with_columns(n_fewest=pl.lit(8), n_continuations=pl.lit(64), n_mean=pl.lit(21.26))
    write_parquet(drawn, table)
    write_report.main(report_arguments(folder, CONFIG))
    text = flat(page_of(folder / "report.html"))
    assert "8 to 64, mean 21.3" in text
    assert text.count("Continuations were drawn until the interval of a value was narrow enough") == 1


def test_a_study_without_a_single_number_says_so(tmp_path: Path) -> None:
    alike = synthetic.pruning("auc", {1: 0.5, 2: 0.5}, reason="all responses are correct")
    synthetic.write_run(tmp_path, "grpo", "ledger", [1] * 40, alike)
    config = CONFIG | {"figures": {"fig1": {"runs": ["grpo/ledger"], "layers": [1, 2]}, "fig4": {"runs": []}}}
    text = flat(page_of(make_report(tmp_path, config)))
    assert "all answers of the validation problems are correct: no probe can be judged" in text
    assert "grpo/ledger: no AUC: all responses are correct." in text
    assert not re.search(r"\bnan\b", text.lower())


def test_a_missing_figure_is_a_one_line_error(report: Path, tmp_path: Path) -> None:
    arguments = [a.replace(str(report), str(tmp_path / "report.html")) for a in report_arguments(report.parent, CONFIG)]
    figure, caption = (next(a for a in arguments if a.endswith(f"fig1.{kind}")) for kind in ("svg", "md"))
    with pytest.raises(UserError, match=r"fig1\.svg: cannot be read"):
        write_report.main([str(tmp_path / "fig1.svg") if a == figure else a for a in arguments])
    with pytest.raises(UserError, match=r"no file fig1\.md"):
        write_report.main([a for a in arguments if a != caption])
    assert not (tmp_path / "report.html").exists()


def test_a_caption_without_a_title_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fig1.md").write_text("no title\n\ntext\n")
    with pytest.raises(UserError, match=r"fig1\.md: line 1"):
        read_caption(tmp_path / "fig1.md")


MASKED: dict[str, Any] = CONFIG | {
    "interventions": synthetic.INTERVENTIONS,
    "figures": CONFIG["figures"] | {"dose": {"runs": ["grpo/ledger"], "layers": None}},
}


@pytest.fixture(scope="module")
def masked(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked")
    synthetic.study(folder)
    synthetic.write_masked(folder, "grpo", "ledger", {"value": 0.6, "magnitude": 0.6}, n_problems=300)
    return make_report(folder, MASKED, drawn=report)


def test_a_study_that_masked_no_neuron_says_so(report: Path) -> None:
    text = flat(page_of(report))
    assert "No neuron was ablated in this study" in text and "This study has no interventions." in text
    assert "Neurons ablated while the model answers" not in text


def test_the_page_with_interventions_is_sound_too(masked: Path) -> None:
    page = page_of(masked)
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    assert all(leads_somewhere(link, page) for link in page.links)
    assert all(target.startswith("data:") for target in page.loaded)
    assert {"interventions", "table2", "table5", "dose"} <= set(page.ids) and len(page.alts) == 5
    assert not re.search(r"\bnan\b", flat(page).lower()) and "None" not in page.text


def test_contrasts_stand_without_a_verdict_and_masks_were_checked(masked: Path) -> None:
    text = flat(page_of(masked))
    assert "Its interval resamples problems and draws. No row is a verdict" in text
    assert "This study has no interventions." not in text
    # Two layers of 14 conditions, and of layer 2 also 4 doses of the value neurons and of 3 draws.
    assert "44 conditions were run and checked: the mask was applied at every position processed" in text
    assert "the largest distance from the intended value was 0." in text


def test_random_draws_are_folded_and_the_paper_stands_beside(masked: Path) -> None:
    text = flat(page_of(masked))
    # Cells stand close: three draws of two neurons, then accuracy and change.
    assert re.search(r"Random neurons320\.\d\d \(0\.\d\d to 0\.\d\d\)", text)
    assert re.search(r"Value neurons \(final state\)–20\.\d\d \[0\.\d\d, 0\.\d\d\]", text)
    # The averages over layers, with intervals of their own.
    assert re.search(r"grpo/ledgermeanValue neurons–20\.\d\d \[0\.\d\d, 0\.\d\d\]", text)
    assert re.search(r"grpo/ledgermeanRandom neuronsall20\.\d\d \[0\.\d\d, 0\.\d\d\]", text)
    assert re.search(r"grpo/ledgermean2\d\.\d \(\N{MINUS SIGN}3\d\.\d\)6\d\.\d", text)
    assert "Paper51.2 (\N{MINUS SIGN}74.0)74.4 (\N{MINUS SIGN}0.8)75.2 (+0.0)" in text
    assert re.search(r"grpo/ledger22\d\.\d \(\N{MINUS SIGN}3\d\.\d\)6\d\.\d", text)
    assert "prints 0.7 % for NTP neurons, chance 0.5 %" in text
    assert re.search(r"NTP neurons1 of 250\.0 %1\.0 %0\.0 %0\.021", text)


def test_the_dose_response_is_given_in_words(masked: Path) -> None:
    text = flat(page_of(masked))
    assert "grpo/ledger, layer 2, value neurons set to zero: accuracy 0.2" in text
    assert re.search(
        r"matched random neurons set to zero \(mean of 3 draws\): accuracy .* at share 0\.2; unablated", text
    )


def browse(page: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [*chromium(folder), "--hide-scrollbars", *flags, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("size", ["1100,900", "500,900"])
def test_a_browser_shows_the_page(report: Path, tmp_path: Path, size: str) -> None:
    browse(report, tmp_path, f"--window-size={size}", f"--screenshot={tmp_path / 'page.png'}")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L"), dtype=float)
    assert pixels.shape == tuple(int(side) for side in reversed(size.split(",")))
    dark = (pixels < 128).mean(axis=1)
    assert np.median(pixels) > 245  # dark text on white
    assert all(part.max() > 0.01 for part in np.array_split(dark, 10))  # something in every tenth of the page


WATCH = """<script>
let blocked = 0, put = (name, value) => document.body.dataset[name] = value;
addEventListener("securitypolicyviolation", () => put("blocked", ++blocked));
addEventListener("load", () => {
  put("loaded", performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).length);
  put("wide", document.documentElement.scrollWidth - document.documentElement.clientWidth);
  put("images", [...document.images].filter(i => i.naturalWidth && i.clientHeight).length);
});
put("blocked", 0);
</script>"""


def watched(text: str, folder: Path) -> dict[str, int]:
    """What a browser counts on a page: requests and blocked requests, pixels it is too wide, images shown."""
    probe = folder / "probe.html"
    allowed = text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    probe.write_text(allowed.replace("<body>", f"<body>{WATCH}"), encoding="utf-8")
    body = re.search(r"<body[^>]*>", browse(probe, folder, "--window-size=500,900", "--dump-dom").stdout)
    assert body is not None
    return {name: int(count) for name, count in re.findall(r'data-(\w+)="(-?\d+)"', body.group())}


def test_a_browser_asks_no_network_and_a_phone_need_not_scroll_sideways(masked: Path, tmp_path: Path) -> None:
    text = masked.read_text(encoding="utf-8")
    assert watched(text, tmp_path) == {"blocked": 0, "loaded": 0, "wide": 0, "images": 5}


def test_the_watch_would_see_a_request_and_a_page_too_wide(report: Path, tmp_path: Path) -> None:
    intruder = '<img src="http://localhost:9/x.png"><p style="width:200rem">wide</p></main>'
    seen = watched(report.read_text(encoding="utf-8").replace("</main>", intruder), tmp_path)
    assert seen["blocked"] > 0 and seen["wide"] > 0
