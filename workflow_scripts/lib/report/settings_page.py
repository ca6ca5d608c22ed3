"""The section on settings: models, data sets, the sections of the configuration, versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workflow_scripts.lib.report.application_section import Tables, rows_of
from workflow_scripts.lib.report.tables import Column, Row, TableView, code, exact, pairs, view, whole, words
from workflow_scripts.lib.runtime.machine import versions

SECTIONS = [
    *("split", "rollouts", "values", "activations", "value_probes", "dopamine_probes", "ntp_probes", "interventions"),
    *("transfer", "confidence", "search", "trajectories", "pruning"),
]
"""The sections of the configuration that the report prints key by key, in this order."""


@dataclass(frozen=True)
class SettingsSection:
    """Tables of settings, and the versions where the page was written."""

    tables: list[TableView]
    versions: list[tuple[str, str]]


def settings_section(config: dict[str, Any], tables: Tables | None = None) -> SettingsSection:
    """Build the section on the settings of a study; `tables` has the paper's beside them."""
    sections = [section_table(name, config[name]) for name in SECTIONS if config.get(name)]
    printed = rows_of(tables or {}, "settings")
    beside = [printed_table(printed)] if printed else []
    listed = [*beside, model_table(config["models"]), dataset_table(config["datasets"]), *sections]
    return SettingsSection(listed, versions())


def printed_table(rows: Sequence[Row]) -> TableView:
    """Tabulate the paper's settings and the study's."""
    same = Column("Same", lambda row: "yes" if row["same"] else "no", "text")
    columns = [words("Table", "table"), words("Setting", "setting"), code("Key", "key")]
    columns += [exact("Paper", "paper"), exact("Here", "study"), same]
    return view("Settings that the paper prints in its Tables 6 to 8", columns, rows)


def model_table(models: dict[str, Any]) -> TableView:
    """Tabulate the models as configured."""
    empty = {"revision": None, "dtype": None, "prompt": None}
    rows = [empty | entry | {"name": name} for name, entry in models.items()]
    columns = [exact("Name", "name"), code("Path", "path"), exact("Revision", "revision")]
    columns += [exact("Number format", "dtype"), exact("Prompt", "prompt")]
    return view("Models", columns, rows)


def dataset_table(datasets: dict[str, Any]) -> TableView:
    """Tabulate the data sets as configured."""
    rows = [
        entry | {"name": name, "place": entry.get("path") or entry.get("task"), "answer": entry.get("answer")}
        for name, entry in datasets.items()
    ]
    columns = [exact("Name", "name"), exact("Source", "source"), code("Path or task", "place")]
    columns += [whole("Problems requested", "n_problems"), exact("Grading", "answer")]
    return view("Data sets", columns, rows)


def section_table(name: str, section: dict[str, Any]) -> TableView:
    """Tabulate a section of the configuration, key by key."""
    rows = [(key, ", ".join(map(str, v)) if isinstance(v, list) else str(v)) for key, v in section.items()]
    return pairs(f"Section `{name}`", ("Setting", "Value"), rows)
