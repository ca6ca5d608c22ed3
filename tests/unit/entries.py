"""Entries of the configuration with their defaults, as a rule passes them."""

from typing import Any

from workflow_scripts.lib.config.study import with_defaults


def dataset_entry(key: str = "mine", **settings: Any) -> dict[str, Any]:
    """An entry of `datasets` with its name; by default a file of one problem."""
    entry = {"source": "file", "path": "p.jsonl", "n_problems": 1} | settings
    return {"key": key, **with_defaults({"datasets": {key: entry}})["datasets"][key]}
