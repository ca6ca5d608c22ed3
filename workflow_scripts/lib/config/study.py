"""A study: its files read, its defaults filled in, and which runs and layers each stage takes."""

import os.path
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.lib.config.schema import fill
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import read_architecture

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
PAPER = (2, 3, 4, 5)
"""The paper's layers: 2 to 5 are ablated, 2 to 4 drawn, 5 has its dopamine neuron."""

DOSED = ("value", "random_matched")
"""The selections whose dose-response is measured where none are named, as far as they are selected."""

Config = dict[str, Any]


def pair(run: str) -> tuple[str, str]:
    """Return model and data set of a run, which is written `model/dataset`."""
    model, _, dataset = run.partition("/")
    return model, dataset


def with_defaults(config: Config) -> Config:
    """Return `config`, unchecked, with everything filled in that is left out or null."""
    filled: Config = fill({"models": {}, "rollouts": {"runs": []}, **config}, schema())
    fill_layers(filled)
    if filled["search"]["methods"] is None:
        methods = schema()["properties"]["search"]["properties"]["methods"]["items"]["enum"]
        filled["search"]["methods"] = [m for m in methods if m != "implicit_prm" or filled["search"]["reference"]]
    for stage, before in SUBSETS.items():
        if filled[stage]["runs"] is None:
            also = filled[ALSO.get(stage, before)]["runs"]
            possible = [run for run in filled[before]["runs"] if run in also]
            filled[stage]["runs"] = [run for run in possible if obstacle(stage, run, filled) is None]
    section = filled["interventions"]
    if section["dose_selections"] is None:
        section["dose_selections"] = [name for name in DOSED if name in section["selections"]]
    for figure, stage in figure_stages().items():
        if filled["figures"][figure]["runs"] is None:
            filled["figures"][figure]["runs"] = list(filled[stage]["runs"])
    return filled


@cache
def schema() -> Config:
    """Return the schema of the configuration, parsed once and in C: every start of Snakemake waits for it."""
    parsed: Config = yaml.load(SCHEMA.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return parsed


def figure_stages() -> dict[str, str]:
    """Map every figure of the schema to the stage whose runs it draws (`runs_of`)."""
    figures = schema()["properties"]["figures"]["properties"]
    return {name: figure["runs_of"] for name, figure in figures.items()}


def fill_layers(filled: Config) -> None:
    """Choose the layers that are left open: the paper's, as far as there are such states."""
    dumped = filled["activations"]["layers"] or default_layers(filled)
    ablated = among(PAPER, dumped) or [layer for layer in dumped if layer] or dumped
    following = filled["trajectories"]["layer"]
    following = max(ablated) if following is None else following
    earlier = [layer for layer in dumped if 0 < layer < following]
    for stage, key, value in (
        ("activations", "layers", dumped),
        ("interventions", "layers", ablated),
        ("confidence", "layers", among(PAPER[:3], dumped) or sorted(dumped)),
        ("search", "layer", max(ablated)),
        ("trajectories", "layer", following),
        ("trajectories", "ablated_layers", among(PAPER, earlier) or earlier),
    ):
        if filled[stage][key] is None:
            filled[stage][key] = value


def among(wanted: Iterable[int], there: Iterable[int]) -> list[int]:
    """Return those of the wanted layers that there are."""
    return [layer for layer in wanted if layer in there]


def default_layers(filled: Config) -> list[int]:
    """Choose the paper's layers that every model has, and four spread over the shallowest one if depths are known."""
    depths = [depth(filled["models"].get(name)) for name in {pair(run)[0] for run in filled["rollouts"]["runs"]}]
    deepest = min((number for number in depths if number), default=max(PAPER))
    spread = {max(1, round(deepest * part / 4)) for part in (1, 2, 3, 4)} if depths and all(depths) else set()
    return sorted({*(layer for layer in PAPER if layer <= deepest), *spread}) or [deepest]


def depth(model: Config | None) -> int | None:
    """Return how many layers a model has, as far as that is known without a network."""
    if model is not None and os.path.isdir(model["path"]):
        try:
            return read_architecture(model["path"]).n_layers
        except UserError:  # the check names what is wrong with the folder
            return None
    return ((model or {}).get("size") or {}).get("n_layers")


def obstacle(stage: str, run: str, config: Config) -> str | None:
    """Say why a run cannot have a stage; None if it can."""
    if stage == "interventions" and not any(config["activations"]["layers"]):
        return "activations.layers has no layer whose neurons can be ablated"
    search = config["search"]
    if stage == "search" and "implicit_prm" in search["methods"] and pair(run)[0] == search["reference"]:
        return f"implicit_prm would score {search['reference']} against itself"
    return None


def left_out(config: Config) -> dict[str, str]:
    """Say what a filled configuration leaves out, stage by stage or `stage: part`, and why."""
    reasons = {}
    for stage, before in SUBSETS.items():
        if not config[stage]["runs"]:
            needed = [name for name in dict.fromkeys((before, ALSO.get(stage, before))) if not config[name]["runs"]]
            obstacles = sorted(why for run in config[before]["runs"] if (why := obstacle(stage, run, config)))
            none = f"there are no runs of {' and '.join(needed)}" if needed else f"{stage}.runs names none"
            reasons[stage] = obstacles[0] if obstacles and not needed else none
        else:
            left = [run for run in config[before]["runs"] if run not in config[stage]["runs"]]
            reasons |= {f"{stage}: {run}": why for run in left if (why := obstacle(stage, run, config))}
    if config["interventions"]["runs"] and not config["interventions"]["dose_layers"]:
        reasons["interventions: dose-response"] = "interventions.dose_layers names no layer"
    if config["transfer"]["runs"] and not comparable(config):
        reasons["transfer: pairs"] = "no two runs are of one model, or of one family of transfer.families"
    if config["search"]["runs"] and "implicit_prm" not in config["search"]["methods"]:
        lacking = (
            "search.reference names no model" if config["search"]["reference"] is None else "not in search.methods"
        )
        reasons["search: implicit_prm"] = lacking
    if config["trajectories"]["runs"] and not config["trajectories"]["ablated_layers"]:
        reasons["trajectories: ablation"] = "no layer before trajectories.layer is named or dumped"
    return reasons


def comparable(config: Config) -> bool:
    """Return whether any two runs of the transfer can share neurons: of one model, or of one family."""
    models = [pair(run)[0] for run in config["transfer"]["runs"]]
    families = [set(family) for family in config["transfer"]["families"]]
    return len(set(models)) < len(models) or any(len(family & set(models)) > 1 for family in families)
