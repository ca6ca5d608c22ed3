"""Rule `tabulate_settings`: the study's settings beside those of the paper's Tables 6 to 8, as csv and parquet."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from workflow_scripts.lib.config.printed_settings import COLUMNS, setting_rows
from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.storage.result_tables import with_columns, write_table


def main(argv: Sequence[str] | None = None) -> None:
    """Read what the paper prints and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON: the keys that the paper's settings name")
    parser.add_argument("--prompts", required=True, type=json.loads, help="JSON: the prompts of the models that answer")
    parser.add_argument("--published", required=True, type=Path, help="the paper's settings (yaml)")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    config = load(arguments.params).raw | {"models": {"prompt": arguments.prompts}}
    printed = yaml.safe_load(arguments.published.read_text(encoding="utf-8"))["settings"]
    write_table(with_columns(setting_rows(printed, config), COLUMNS), "settings", arguments.output_dir)


if __name__ == "__main__":
    run_main(main)
