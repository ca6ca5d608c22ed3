"""What jobs share: their parameters, their resources (resources.smk), and the engine of those that generate text."""

import json
from functools import cache

from snakemake.utils import min_version

from workflow_scripts.lib.config.study import pair
from workflow_scripts.lib.neurons import catalogue as selections
from workflow_scripts.lib.runtime import dependencies
from workflow_scripts.lib.runtime.dependencies import catalogues_of, model_identity, pins, used_code
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


@cache
def used_rows(dataset):
    """Collect the rows of each catalogue that this study uses; of answer types, that of a job's data set, if it has one."""
    datasets = [dataset] if dataset else [pair(run)[1] for run in config["rollouts"]["runs"]]
    answers, methods = {config["datasets"][name]["answer"] for name in datasets}, config["search"]["methods"]
    return {
        "selections": frozenset(config["interventions"]["selections"]),
        **dict.fromkeys(["search_methods", "scorers"], frozenset(methods)),
        **dict.fromkeys(["answer_types", "record_readers"], frozenset(answers)),
        "targets": frozenset(),
    }


def used_by(wildcards, fixed):
    """Collect the rows that a job uses; `fixed` are those that its rule names itself."""
    named = {name: frozenset(rows) for name, rows in fixed.items()}
    return tuple(sorted((used_rows(wildcards.get("dataset")) | named).items()))


def modules(rule, **fixed):
    """Make an input function: the project's code that a job depends on, except catalogues."""
    return lambda wildcards: dependencies.modules(rule, used_by(wildcards, fixed))


def rows(rule, **fixed):
    """Make a parameter: the code of the catalogues that a rule reads, with the rows that the job uses. They are no
    input, so that a row that is added reruns only what it adds."""
    read = catalogues_of(rule)
    return lambda wildcards: canonical({name: used_code(name, used_by(wildcards, fixed)) for name in read})


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
