"""Check a configuration before any work starts: against its schema, against itself, and against the files it names.

Every fault is one line: file, key, what is wrong, what to do. Only light modules are imported, because every start of
Snakemake comes through here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from workflow_scripts.lib.config.schema import Path as KeyPath
from workflow_scripts.lib.config.schema import did_you_mean, dotted, faults
from workflow_scripts.lib.config.sources import dataset_faults, folder_faults, layer_faults, shard_faults
from workflow_scripts.lib.config.study import (
    ALSO,
    SUBSETS,
    Config,
    figure_stages,
    pair,
    schema,
    with_defaults,
)
from workflow_scripts.lib.errors import UserError, redact


def check(config: Config, sources: Sequence[tuple[str, Any]] = ()) -> None:
    """Look for anything wrong in `config`.

    `sources` are the files it was merged from, the lowest first, each with its content; an error names the file that
    has the key.

    Raises:
        UserError: the first thing that is wrong.
    """
    for path, fault in faults(config, schema()):
        raise fault_at(path, fault, sources)
    for path, fault in cross_faults(with_defaults(config)):
        raise fault_at(path, fault, sources)


def fault_at(path: KeyPath, fault: str, sources: Sequence[tuple[str, Any]]) -> UserError:
    """Return the error for a fault at a key, naming the last file that holds it (or most of its path)."""
    depths = [(depth(data, path), number) for number, (_, data) in enumerate(sources)]
    name = sources[max(depths)[1]][0] if depths else "configuration"
    return UserError(f"{name}: {dotted(path) or 'the file'}: {fault}")


def depth(data: Any, path: KeyPath) -> int:
    """Count the steps of `path` that exist in `data`."""
    for number, part in enumerate(path):
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return number
    return len(path)


def cross_faults(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield faults that a schema cannot see; `config` is filled."""
    yield from secret_faults(config)
    yield from run_faults(config)
    yield from value_faults(config)
    yield from intervention_faults(config)
    yield from application_faults(config)
    used = {pair(run) for run in config["rollouts"]["runs"]}
    for name in sorted({model for model, _ in used}):
        found = list(folder_faults(name, config["models"][name]))
        yield from found or layer_faults(name, config["models"][name], config)
    for name in sorted({dataset for _, dataset in used}):
        yield from dataset_faults(name, config["datasets"][name])


def secret_faults(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield addresses with a password or a token inside: what is configured stands in results and logs."""
    for kind in ("models", "datasets"):
        for name, entry in config[kind].items():
            for key in ("path", "url"):
                if redact(entry.get(key) or "") != (entry.get(key) or ""):
                    advice = "set HF_TOKEN for the hub, or fetch the file yourself and give its path"
                    fault = f"holds a password or a token, which would get into results and logs; {advice}"
                    yield (kind, name, key), fault


def run_faults(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield runs of unknown models or data sets, runs without the stage before, figures of what nobody computes."""
    for number, run in enumerate(config["rollouts"]["runs"]):
        for kind, name in zip(("models", "datasets"), pair(run), strict=True):
            if name not in config[kind]:
                advice = did_you_mean(name, list(config[kind]))
                yield ("rollouts", "runs", number), f"{run}: {kind} has no entry {name}; {advice}"
    for stage, before in [*SUBSETS.items(), *ALSO.items()]:
        yield from missing_runs((stage,), config[stage]["runs"], before, config)
    for figure, stage in figure_stages().items():
        yield from missing_runs(("figures", figure), config["figures"][figure]["runs"], stage, config)
        dumped = config["activations"]["layers"]
        for number, layer in enumerate(config["figures"][figure]["layers"] or []):
            if layer not in dumped:
                yield ("figures", figure, "layers", number), f"layer {layer} is not in activations.layers; add it there"


def value_faults(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield a first round of continuations above the budget of a boundary, and shards that are too many."""
    how = config["values"]["adaptive"]
    if how and how["first"] > how["budget"]:
        fault = f"{how['first']} is above values.adaptive.budget, {how['budget']}; lower it, or raise the budget"
        yield ("values", "adaptive", "first"), fault
    datasets = {pair(run)[1] for run in config["values"]["runs"]} & set(config["datasets"])
    largest = max((config["datasets"][name]["n_problems"] for name in datasets), default=0)
    n_problems, shard_size = min(largest, config["values"]["n_problems"]), config["values"]["shard_size"]
    yield from shard_faults(("values",), n_problems, shard_size)


def intervention_faults(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield layers without stored states, layer 0, doses of what is not masked at all."""
    section = config["interventions"]
    if not section["runs"]:
        return
    for number, layer in enumerate(section["layers"]):
        if layer == 0 or layer not in config["activations"]["layers"]:
            absent = f"layer {layer} is not in activations.layers; add it there"
            fault = "layer 0 cannot be ablated" if layer == 0 else absent
            yield ("interventions", "layers", number), fault
    for key, whole in (("dose_layers", "layers"), ("dose_selections", "selections")):
        for number, item in enumerate(section[key] if section["dose_layers"] else []):
            if item not in section[whole]:
                yield ("interventions", key, number), f"{item} is not in interventions.{whole}; add it there"


def application_faults(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield what confidence, search, trajectories and transfer name and cannot have."""
    dumped = config["activations"]["layers"]
    wanted: list[tuple[KeyPath, int]] = []
    if config["confidence"]["runs"]:
        wanted += [(("confidence", "layers", n), layer) for n, layer in enumerate(config["confidence"]["layers"])]
    if config["search"]["runs"]:
        wanted.append((("search", "layer"), config["search"]["layer"]))
        yield from reference_faults(config)
    if config["trajectories"]["runs"]:
        layer, ablated = config["trajectories"]["layer"], config["trajectories"]["ablated_layers"]
        wanted += [(("trajectories", "layer"), layer)]
        wanted += [(("trajectories", "ablated_layers", n), earlier) for n, earlier in enumerate(ablated)]
        for number, earlier in enumerate(ablated):
            if earlier >= layer:
                fault = f"layer {earlier} is not before trajectories.layer, {layer}; name earlier layers"
                yield ("trajectories", "ablated_layers", number), fault
    for key, layer in wanted:
        if layer not in dumped:
            yield key, f"layer {layer} is not in activations.layers; add it there"
    for number, family in enumerate(config["transfer"]["families"]):
        for place, name in enumerate(family):
            if name not in config["models"]:
                advice = did_you_mean(name, list(config["models"]))
                yield ("transfer", "families", number, place), f"models has no entry {name}; {advice}"


def reference_faults(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield a search that scores against a model that is not named, not known, or the searching model itself."""
    name, models = config["search"]["reference"], config["models"]
    if "implicit_prm" not in config["search"]["methods"]:
        return
    if name is None:
        yield ("search", "reference"), "implicit_prm needs the model to score against; name it, or drop the method"
    elif name not in models:
        yield ("search", "reference"), f"models has no entry {name}; {did_you_mean(name, list(models))}"
    elif name in {pair(run)[0] for run in config["search"]["runs"]}:
        yield ("search", "reference"), f"{name} would be scored against itself; name the model it was made from"
    else:
        yield from folder_faults(name, models[name])


def missing_runs(key: KeyPath, runs: list[str], before: str, config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield runs that the stage they build on does not have."""
    for number, run in enumerate(runs):
        if run not in config[before]["runs"]:
            yield (*key, "runs", number), f"{run} is not in {before}.runs; add it there or take it away here"
