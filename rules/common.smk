"""What jobs share: their parameters, their resources (resources.smk), and the engine of those that generate text."""

import json
from dataclasses import astuple

from snakemake.utils import min_version

from workflow_scripts.lib.confidence import methods as confidence_methods
from workflow_scripts.lib.neurons import catalogue as selections
from workflow_scripts.lib.runtime.dependencies import catalogues_of, code_without_rows, model_identity, modules, pins
from workflow_scripts.lib.search import methods as search_methods

min_version("9.19")


def canonical(data):
    """Write JSON with one spelling, because Snakemake compares parameters as text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def entry(kind, name):
    """Return an entry of the catalogue, its name as `key`; a model's size is for planning, and no job needs it."""
    return {"key": name, **{key: value for key, value in config[f"{kind}s"][name].items() if key != "size"}}


def section(keys):
    """Make a parameter: canonical JSON of what a module reads, such as `split` (whole) or `rollouts.seed,stop` (keys).

    `model` and `dataset` are the entries of the job's wildcards. A changed value reruns the job: name no more than the
    module reads. `runs` is left out; it decides which jobs there are. The `n_problems` of a shard end with the shard,
    so that more problems rerun the last shard at most."""

    def parameters(wildcards):
        picked = {}
        for key in keys.split():
            name, _, inner = key.partition(".")
            found = entry(name, wildcards[name]) if name in ("model", "dataset") else config[name]
            wanted = inner.split(",") if inner else [key for key in found if key != "runs"]
            picked[name] = {key: found[key] for key in wanted}
        for stage in [name for name in picked if "n_problems" in picked[name] and "shard" in wildcards.keys()]:
            size = (config["values"] if stage == "values" else config["datasets"][wildcards.dataset])["shard_size"]
            end = (int(wildcards.shard) + 1) * size
            picked[stage]["n_problems"] = min(end, n_problems(stage, wildcards.dataset))
        return canonical(picked)

    return parameters


# The catalogues, each with the names of the rows that this study uses.
USED_ROWS = {
    "selections": (selections.CATALOGUE, {*config["interventions"]["selections"]}),
    "search_methods": (search_methods.CATALOGUE, {*config["search"]["methods"]}),
    "confidence_methods": (confidence_methods.CATALOGUE, {*confidence_methods.CATALOGUE}),
}


def rows(rule):
    """Return the rows of the catalogues that a rule reads. They are a parameter, and no input, so that a row that is
    added reruns only what it adds."""
    picked = {}
    for name in catalogues_of(rule):
        catalogue, used = USED_ROWS[name]
        picked[name] = [
            code_without_rows(name),
            *([key, *astuple(row)] for key, row in catalogue.items() if key in used),
        ]
    return canonical(picked)


def weights(wildcards):
    """Return the identity of the model's files. They are no inputs: large ones would be compared by modification time,
    and the rules that train the reference models would be drawn into every study."""
    return model_identity(config["models"][wildcards.model]["path"])


# Where text is generated: the environment and the versions of the configured engine, and how it is started. The latter
# is a resource, whose change reruns nothing.
ENGINE = config["rollouts"]["engine"]
ENGINE_ENV = {"transformers": "../envs/cpu.yaml", "vllm": "../envs/vllm.yaml"}[ENGINE]
ENGINE_PINS = " ".join(
    [pins("torch", "transformers", "tokenizers"), *([pins("vllm", lock="envs/vllm.txt")] * (ENGINE == "vllm"))]
)
GRADER_PINS = pins("math-verify", "if-verifiable")
VLLM = canonical(config["vllm"])
