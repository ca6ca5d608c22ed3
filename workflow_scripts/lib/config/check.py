"""Check a configuration before any work starts: against its schema, against itself, and against the files it names.

Every fault is one line: file, key, what is wrong, what to do. Only light modules are imported, because every start of
Snakemake comes through here.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.lib.config.schema import Path as KeyPath
from workflow_scripts.lib.config.schema import did_you_mean, dotted, faults
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
from workflow_scripts.lib.models.load import read_architecture
from workflow_scripts.lib.problems.records import ENDINGS, file_records, url_ending


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
    """The error for a fault at a key, naming the last file that holds it (or most of its path)."""
    depths = [(depth(data, path), number) for number, (_, data) in enumerate(sources)]
    name = sources[max(depths)[1]][0] if depths else "configuration"
    return UserError(f"{name}: {dotted(path) or 'the file'}: {fault}")


def depth(data: Any, path: KeyPath) -> int:
    """How many steps of `path` exist in `data`."""
    for number, part in enumerate(path):
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return number
    return len(path)


def cross_faults(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Faults that a schema cannot see; `config` is filled."""
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
    """Addresses with a password or a token inside: what is configured stands in results and logs."""
    for kind in ("models", "datasets"):
        for name, entry in config[kind].items():
            for key in ("path", "url"):
                if redact(entry.get(key) or "") != (entry.get(key) or ""):
                    advice = "set HF_TOKEN for the hub, or fetch the file yourself and give its path"
                    fault = f"holds a password or a token, which would get into results and logs; {advice}"
                    yield (kind, name, key), fault


def run_faults(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Runs of unknown models or data sets, runs without the stage before, figures of what nobody computes."""
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
    """A first round of continuations that is above the budget of a boundary."""
    how = config["values"]["adaptive"]
    if how and how["first"] > how["budget"]:
        fault = f"{how['first']} is above values.adaptive.budget, {how['budget']}; lower it, or raise the budget"
        yield ("values", "adaptive", "first"), fault


def intervention_faults(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Layers without stored states, layer 0, doses of what is not masked at all."""
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
    """What confidence, search, trajectories and transfer name and cannot have."""
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
    """A search that scores against a model that is not named, not known, or the searching model itself."""
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
    """Runs that the stage they build on does not have."""
    for number, run in enumerate(runs):
        if run not in config[before]["runs"]:
            yield (*key, "runs", number), f"{run} is not in {before}.runs; add it there or take it away here"


def folder_faults(name: str, model: Config) -> Iterable[tuple[KeyPath, str]]:
    """A local model folder that is missing or incomplete."""
    key, folder = ("models", name, "path"), Path(model["path"])
    if not folder.is_dir():
        owner = folder.parts[0]
        if model["path"].count("/") != 1 or owner in (".", "..", "/", "~") or Path(owner).is_dir():
            yield key, f"{folder}: no such folder; correct the path, or write owner/name for a model of the hub"
        return
    wanted = ("config.json", "*.safetensors", "tokenizer*.json")
    if missing := [pattern for pattern in wanted if not any(folder.glob(pattern))]:
        yield key, f"{folder} holds no {' and no '.join(missing)}; a model folder has config, safetensors and tokenizer"


def layer_faults(name: str, model: Config, config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Layers that a local model does not have."""
    if not Path(model["path"]).is_dir():
        return
    count = read_architecture(model["path"]).n_layers
    for number, layer in enumerate(config["activations"]["layers"]):
        if layer > count:
            fault = f"model {name} has no layer {layer}; its layers are 1 to {count}, and 0 for the embedding"
            yield ("activations", "layers", number), fault


def dataset_faults(name: str, dataset: Config) -> Iterable[tuple[KeyPath, str]]:
    """A data set without what its source wants, a missing file, a malformed record, fewer records than wanted."""
    key: KeyPath = ("datasets", name)
    wanted = {"reference": "task", "hub": "path", "file": "path"}[dataset["source"]]
    if dataset["source"] == "reference" and dataset["content"] is not None:
        yield (*key, "content"), "the problems of a task have no end, and no hash; remove it"
    if dataset["source"] == "file" and dataset["url"] is not None:
        if dataset["path"] is not None:
            yield (*key, "path"), "has a url beside it; remove one of the two"
        if url_ending(dataset["url"]) is None:
            yield (*key, "url"), f"ends with none of {', '.join(ENDINGS)}; name a file of one of these kinds"
        if dataset["sha256"] is None and dataset["content"] is None:
            yield (*key, "url"), "needs sha256, the hash of the file, or content, that of its problems; add one of them"
    elif dataset[wanted] is None:
        yield (*key, "source"), f"{dataset['source']} needs `{wanted}`; add it"
    elif dataset["source"] == "file" and not Path(dataset["path"]).is_file():
        fault = f"{dataset['path']}: no such file; correct the path (it is relative to the project's folder)"
        yield (*key, "path"), fault
    elif dataset["source"] == "file":
        yield from record_faults(key, dataset)


def record_faults(key: KeyPath, dataset: Config) -> Iterable[tuple[KeyPath, str]]:
    """Fewer records than wanted.

    Raises:
        UserError: a malformed record (from the reader that the workflow itself uses; it names file and line).
    """
    from workflow_scripts.lib.problems.readers import adapt

    count = len(adapt(file_records(dataset["path"], dataset["sha256"]), {"key": key[1], **dataset}))
    if count < dataset["n_problems"]:
        fault = f"{dataset['n_problems']} wanted but {dataset['path']} has {count}; set it to at most {count}"
        yield (*key, "n_problems"), fault
