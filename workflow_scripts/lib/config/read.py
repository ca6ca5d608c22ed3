"""Read a study: the one way from configuration files to a checked configuration, for the workflow and every command."""

import copy
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snakemake.utils import update_config

from workflow_scripts.lib.config.check import check
from workflow_scripts.lib.config.plain import read_yaml
from workflow_scripts.lib.config.study import SUBSETS, Config, with_defaults
from workflow_scripts.lib.errors import UserError, clip, shown

LOWEST, DEFAULT = "config.yaml", "default"
"""The file of the default study, which every other overlays, and its name."""
OVERRIDES = "--config"
CHOICES = {
    "activations": {"layers"},
    "interventions": {"layers", "dose_layers"},
    "transfer": {"families"},
    "confidence": {"layers"},
    "search": {"layer", "reference"},
    "trajectories": {"layer", "ablated_layers"},
    "figures": None,
}
"""What belongs to the runs of a study, besides the runs of its stages; of the figures, everything."""


def read_study(
    files: Sequence[str | Path] = (), overrides: Mapping[str, Any] | None = None, checked: bool = True
) -> Config:
    """Lay files over `config.yaml`, later ones on top, then `overrides`; check the result and fill in its defaults.

    A file that names `rollouts.runs` is a study of its own: no choice of runs, layers or reference of those below it
    remains. All else of them holds.

    Raises:
        UserError: the first thing that is wrong.
    """
    names = [LOWEST, *(name for name in dict.fromkeys(map(relative, files)) if name != LOWEST)]
    sources: list[tuple[str, Config]] = []
    for name in names:
        sources = lay(sources, name, read_mapping(name))
    if overrides:
        sources = lay(sources, OVERRIDES, dict(overrides))
    config: Config = {}
    for _, data in sources:
        update_config(config, copy.deepcopy(data))
    config |= named(sources)
    if checked:
        check(config, sources)
    return with_defaults(config)


def named(sources: Sequence[tuple[str, Config]]) -> Config:
    """Return the name of a study that files lay over the default one: what they call it, else the last file's own name.

    Without a name of its own it would overwrite the results of the default study.

    Raises:
        UserError: it has the name of the default study, or a file's name that cannot be that of a folder.
    """
    own = [(name, data) for name, data in sources[1:] if name != OVERRIDES]
    stated = [(name, data["study"]) for name, data in sources[1:] if "study" in data]
    if not own or (stated and (stated[-1][1] != DEFAULT or stated[-1][0] == OVERRIDES)):
        return {}
    file, study = stated[-1] if stated else (own[-1][0], folder_name(own[-1][0]))
    if study == DEFAULT:
        raise UserError(f"{file}: study: {DEFAULT} is the study of {LOWEST}; give this one another name")
    if not study:
        raise UserError(f"{file}: study: is missing, and the file's name is no name for a folder; add `study: NAME`")
    return {"study": study}


def folder_name(file: str) -> str:
    """Return a file's name without its ending as a name for a folder, as far as its letters allow."""
    return re.sub(r"[^a-z0-9_.-]+", "-", Path(file).stem.lower()).strip("-_.")[:100]


def relative(path: str | Path) -> str:
    """Return a path as a person in the project's folder would write it.

    Raises:
        UserError: it is empty, or holds a zero byte.
    """
    if not str(path).strip() or "\0" in str(path):
        raise UserError(f"{shown(str(path))} is no name of a file; name a study, or none for {LOWEST} alone")
    return os.path.relpath(path)


def read_mapping(path: str) -> Config:
    """Read one configuration file.

    Raises:
        UserError: it cannot be read, is empty, or is anything but keys with values.
    """
    data, path = read_yaml(path), clip(path)
    if data is None:
        raise UserError(f"{path}: is empty; write the keys of the study into it, or leave the file out")
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise UserError(f"{path}: is {kind}, not a mapping; write `key: value`, as in {LOWEST}")
    return data


def lay(below: list[tuple[str, Config]], name: str, data: Config) -> list[tuple[str, Config]]:
    """Add a file on top of others, which lose what belongs to their runs if it names its own."""
    rollouts = data.get("rollouts")
    if isinstance(rollouts, dict) and "runs" in rollouts:
        below = [(lower, without_choices(config)) for lower, config in below]
    return [*below, (name, data)]


def without_choices(config: Config) -> Config:
    """Return a configuration without its choices of runs, layers and reference."""
    kept = {}
    for stage, section in config.items():
        dropped = CHOICES.get(stage, set())
        if dropped is not None and isinstance(section, dict):
            dropped = dropped | ({"runs"} if stage in {"rollouts", *SUBSETS} else set())
            kept[stage] = {key: value for key, value in section.items() if key not in dropped}
        elif dropped is not None:
            kept[stage] = section
    return kept
