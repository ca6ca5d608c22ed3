"""What rules share: the parameters of a job, the shards of a run, the files of the study."""

import json

from workflow_scripts.lib.config.study import pair
from workflow_scripts.lib.runtime.dependencies import model_identity, modules, pins


def canonical(data):
    """JSON with one spelling, because Snakemake compares parameters as text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def more_each_attempt(amount):
    """A resource (MB, minutes) that doubles at the second attempt: what was too little once is too little again."""
    return lambda wildcards, attempt: amount * attempt


def entry(kind, name):
    """An entry of the catalogue, with its name as `key`; a model's size is for planning, and no job's business."""
    return {"key": name, **{key: value for key, value in config[f"{kind}s"][name].items() if key != "size"}}


def section(keys):
    """Canonical JSON of what a module reads: whole sections (`split`) or some of their keys (`rollouts.seed,stop`).

    `model` and `dataset` are the entries of the job's wildcards. A changed value reruns the job: name no more than the module
    reads. `runs` is left out; it decides which jobs there are. The `n_problems` of a shard end with the shard, so that more
    problems rerun the last shard at most.
    """

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


def weights(wildcards):
    """The identity of the model's files. They are no inputs: large ones would be compared by modification time, and the rules
    that train the reference models would be drawn into every study."""
    return model_identity(config["models"][wildcards.model]["path"])


def runs(stage):
    """The (model, data set) pairs of a stage."""
    return [pair(run) for run in config[stage]["runs"]]


def of_runs(pattern, stage):
    """One file for each run of a stage."""
    return [pattern.format(model=model, dataset=dataset) for model, dataset in runs(stage)]


def shards(pattern, numbers):
    """An input function: the files of those shards of the job's run that `numbers(wildcards)` lists."""
    return lambda w: expand(pattern, model=w.model, dataset=w.dataset, shard=numbers(w))


def dataset_shards(dataset, start=0, stop=None):
    """Numbers of the shards that hold a data set's problems from position `start` to before `stop`; by default, all."""
    total, size = config["datasets"][dataset]["n_problems"], config["datasets"][dataset]["shard_size"]
    return range(start // size, (min(total, stop or total) - 1) // size + 1)


def n_problems(stage, dataset):
    """How many problems of a data set there are (`dataset`), get values (`values`) or masked responses (`interventions`)."""
    total = config["datasets"][dataset]["n_problems"]
    return min(config.get(stage, {}).get("n_problems") or total, total)


def value_shards(dataset):
    """Numbers of the shards of the valued problems. They are cut finer, for a response has many continuations."""
    return range((n_problems("values", dataset) - 1) // config["values"]["shard_size"] + 1)


def source_shards(wildcards):
    """Numbers of the data set's shards that one shard of the valued problems draws from."""
    start = int(wildcards.shard) * config["values"]["shard_size"]
    stop = min(start + config["values"]["shard_size"], n_problems("values", wildcards.dataset))
    return dataset_shards(wildcards.dataset, start, stop)


def every_shard(pattern, stage, numbers):
    """The shards of all runs of a stage; `numbers(dataset)` lists those of one."""
    found = [expand(pattern, model=m, dataset=d, shard=numbers(d), allow_missing=True) for m, d in runs(stage)]
    return sum(found, [])


# Records are targets beside the report: a deleted shard is then missed, and made again with all that is below it.
ROLLOUTS = every_shard("results/rollouts/{model}/{dataset}/{shard}.parquet", "rollouts", dataset_shards)
CONTINUATIONS = every_shard("results/continuations/{model}/{dataset}/{shard}.parquet", "values", value_shards)
ACTIVATIONS = every_shard("results/activations/{model}/{dataset}/{shard}.safetensors", "value_probes", dataset_shards)
REPORT = "results/report.html"
