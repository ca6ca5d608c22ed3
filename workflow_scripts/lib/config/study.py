"""A study: configuration files merged, defaults filled in, and which runs each stage takes."""

from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.lib.config.schema import fill
from workflow_scripts.lib.errors import UserError


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one configuration over another: mappings key by key, everything else as a whole (as Snakemake does)."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


SCHEMA = Path("schemas/config.schema.yaml")
SUBSETS = {
    "values": "rollouts",
    "value_probes": "rollouts",
    "dopamine_probes": "values",
    "interventions": "value_probes",
    "transfer": "value_probes",
    "confidence": "value_probes",
    "search": "dopamine_probes",
    "trajectories": "dopamine_probes",
}
"""The stage whose runs a stage's runs are among; some stages need a second."""
ALSO = {"search": "value_probes", "trajectories": "value_probes"}
FIGURES = {
    **dict.fromkeys(("fig1", "fig5", "fig6", "fig7", "fig11"), "value_probes"),
    **dict.fromkeys(("fig2", "fig8"), "transfer"),
    **dict.fromkeys(("fig3", "fig9", "fig10"), "trajectories"),
    "fig4": "dopamine_probes",
    "reliability": "confidence",
    "dose": "interventions",
}

Config = dict[str, Any]


def pair(run: str) -> tuple[str, str]:
    """Model and data set of a run, which is written `model/dataset`."""
    model, _, dataset = run.partition("/")
    return model, dataset


def with_defaults(config: Config) -> Config:
    """`config` with its defaults filled in, unchecked; null stands for the runs of the stage before, and for layers."""
    filled = fill(config, read_yaml(SCHEMA))
    for stage, before in SUBSETS.items():
        if filled[stage]["runs"] is None:
            also = filled[ALSO.get(stage, before)]["runs"]
            filled[stage]["runs"] = [run for run in filled[before]["runs"] if run in also]
    for figure, stage in FIGURES.items():
        if filled["figures"][figure]["runs"] is None:
            filled["figures"][figure]["runs"] = list(filled[stage]["runs"])
    dumped = filled["activations"]["layers"]
    for stage, key, stands_for in (
        ("confidence", "layers", sorted),
        ("search", "layer", max),
        ("trajectories", "layer", max),
    ):
        if filled[stage][key] is None:
            filled[stage][key] = stands_for(dumped)
    return filled


def read_yaml(path: str | Path) -> Any:
    """Parse a YAML file.

    Raises:
        UserError: it does not exist, is not YAML, or wants to be executed.
    """
    try:
        data = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{path}: {line}not YAML ({getattr(error, 'problem', error)}); mend the line") from error
    if isinstance(data, dict) and "__use_yte__" in data:  # Snakemake would evaluate expressions in it as Python
        raise UserError(f"{path}: __use_yte__: a configuration is data and may not compute; write its values out")
    return data
