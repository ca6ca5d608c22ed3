"""The study's settings beside the paper's: what is the same, what is not, and that every printed setting is found."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from workflow_scripts.lib.config.printed_settings import COLUMNS, setting_rows, text
from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.report.settings_page import settings_section
from workflow_scripts.tabulate_settings import main

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "resources/published/settings.yaml"
PRINTED = yaml.safe_load(PUBLISHED.read_text())["settings"]


def table(folder: Path, config: dict[str, Any], prompts: list[str]) -> pl.DataFrame:
    """The table of a study."""
    arguments = ["--params", json.dumps(config), "--prompts", json.dumps(prompts), "--published", str(PUBLISHED)]
    main([*arguments, "--output-dir", str(folder)])
    found = pl.read_parquet(folder / "settings.parquet")
    assert pl.read_csv(folder / "settings.csv", schema=found.schema).equals(found)
    return found


def passed() -> dict[str, list[str]]:
    """The keys that the rule passes, by section."""
    rule = (ROOT / "rules/report.smk").read_text().partition("rule tabulate_settings:")[2].partition("shell:")[0]
    words = " ".join(re.findall(r'"([^"]*)"', rule.partition("section(")[2].partition(")")[0])).split()
    return {name: keys.split(",") for name, _, keys in (word.partition(".") for word in words)}


def sections(names: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """The default study's configuration, or these keys of it."""
    config = read_study(checked=False)
    return {name: {key: config[name][key] for key in keys} for name, keys in names.items()} if names else config


def test_every_printed_setting_is_found_and_no_other_key_is_passed(tmp_path: Path) -> None:
    found = table(tmp_path, sections(passed()), ["chat"])
    assert found.columns == COLUMNS and len(found) == len(PRINTED) and found["study"].null_count() == 0
    named = {key for key in found["key"].drop_nulls() if not key.startswith("models.")}
    assert named == {f"{name}.{key}" for name, keys in passed().items() for key in keys}
    assert found["table"].unique(maintain_order=True).to_list() == ["Table 6", "Table 7", "Table 8"]


def test_the_default_study_differs_where_its_configuration_says(tmp_path: Path) -> None:
    rows = {row["key"]: row for row in table(tmp_path, sections(passed()), ["chat"]).to_dicts()}
    for key, paper, study, same in (
        ("rollouts.max_tokens", "16000", "256", False),
        ("rollouts.temperature", "1", "1", True),
        ("models.prompt", "qwen-boxed", "chat", False),
        ("value_probes.learning_rate", "0.0001", "0.001", False),
        ("values.gamma", "0.99999", "0.99999", True),
        ("value_probes.seeds", "0", "0, 1, 2", False),
        ("dopamine_probes.hidden", "32", "32", True),
    ):
        assert (rows[key]["paper"], rows[key]["study"], rows[key]["same"]) == (paper, study, same), key
    assert rows["pruning.ratios"]["same"] and rows["pruning.ratios"]["paper"].endswith("0.96, 0.98, 0.99")


def test_a_setting_by_hand_and_one_without_a_key() -> None:
    printed = [
        {"table": "Table 7", "setting": "Epochs", "key": "probes.epochs", "paper": 100},
        {"table": "Table 7", "setting": "Optimiser", "paper": "AdamW", "study": "SGD", "same": False},
    ]
    first, second = setting_rows(printed, {"probes": {"epochs": 100}})
    assert (first["paper"], first["study"], first["same"]) == ("100", "100", True)
    assert (second["key"], second["study"], second["same"]) == (None, "SGD", False)
    with pytest.raises(UserError, match=r"settings\.yaml: probes\.epochs: no such key"):
        setting_rows(printed, {"probes": {"hidden": 1}})


def test_numbers_are_written_exactly() -> None:
    written = [text(one) for one in (1e-4, 0.99999, 1.0, 16000, [0.92, 1], "vllm")]
    assert written == ["0.0001", "0.99999", "1", "16000", "0.92, 1", "vllm"]


def test_the_report_has_the_papers_settings_first(tmp_path: Path) -> None:
    config = sections()
    found = table(tmp_path, sections(passed()), ["chat"])
    first = settings_section(config, {"settings": found}).tables[0]
    row = ["Table 6", "Tokens of a response, at most", "rollouts.max_tokens", "16000", "256", "no"]
    assert [cell.text for cell in first.rows[0].cells] == row
    assert settings_section(config).tables[0].caption == "Models"
