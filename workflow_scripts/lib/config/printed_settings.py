"""The study's settings beside those that the paper prints (Tables 6 to 8)."""

from collections.abc import Mapping, Sequence
from typing import Any

from workflow_scripts.lib.errors import UserError

COLUMNS = ["table", "setting", "key", "paper", "study", "same"]


def setting_rows(printed: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> list[dict[str, object]]:
    """Return a row for each setting that the paper prints, in its order.

    Args:
        printed: `settings` of `resources/published/settings.yaml`.
        config: the sections of the configuration that it names.

    Raises:
        UserError: a key that the configuration does not have.
    """
    return [setting_row(entry, config) for entry in printed]


def setting_row(entry: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, object]:
    """Return one setting of the paper, the study's, and whether they are the same."""
    row = {"table": entry["table"], "setting": entry["setting"], "key": entry.get("key")}
    row["paper"] = text(entry["paper"])
    if "key" not in entry:
        return row | {"study": text(entry["study"]), "same": entry["same"]}
    section, key = entry["key"].split(".")
    if key not in config.get(section, {}):
        raise UserError(f"resources/published/settings.yaml: {entry['key']}: no such key; name one of the schema's")
    value = config[section][key]
    return row | {"study": text(value), "same": value == entry["paper"]}


def text(value: Any) -> str:
    """Write a setting, numbers as short as they are exact."""
    if isinstance(value, list):
        return ", ".join(map(text, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)
