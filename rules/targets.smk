"""The files of a study: shards of records, which studies share, and what is made of all its runs."""

import os.path

# Tables, figures and pages of one study do not overwrite those of another; records of equal settings are shared.
OUT = "results" if config["study"] == "default" else f"results/studies/{config['study']}"
REPORT = f"{OUT}/report.html"
FINER = ("paragraphs", "continuations")


def tables(*names):
    """List the files of the study's tables."""
    return expand(f"{OUT}/tables/{{name}}.{{kind}}", name=names, kind=["csv", "parquet"])


def figures(*names):
    """List the files of the study's figures."""
    return expand(f"{OUT}/figures/{{name}}.{{kind}}", name=names, kind=["pdf", "svg", "png"])


def output_folder(wildcards, output):
    """Return, as a parameter, the folder of all that a job writes."""
    return os.path.dirname(output[0])


def runs(stage):
    """List the (model, data set) pairs of a stage."""
    return [pair(run) for run in config[stage]["runs"]]


def of_runs(pattern, stage):
    """List one file for each run of a stage."""
    return [pattern.format(model=model, dataset=dataset) for model, dataset in runs(stage)]


def dataset_shards(dataset, start=0, stop=None):
    """List the numbers of the shards of a data set's problems from `start` to before `stop`; by default, all."""
    total, size = config["datasets"][dataset]["n_problems"], config["datasets"][dataset]["shard_size"]
    return range(start // size, (min(total, stop or total) - 1) // size + 1)


def n_problems(stage, dataset):
    """Count the problems of a data set (`dataset`), or those that a stage has (`values`, `interventions`)."""
    total = config["datasets"][dataset]["n_problems"]
    return min(config.get(stage, {}).get("n_problems") or total, total)


def value_shards(dataset):
    """List the shards of the valued problems, which are cut finer because a response has many continuations."""
    return range((n_problems("values", dataset) - 1) // config["values"]["shard_size"] + 1)


def source_shards(wildcards):
    """List the data set's shards that one shard of the valued problems draws from."""
    start = int(wildcards.shard) * config["values"]["shard_size"]
    stop = min(start + config["values"]["shard_size"], n_problems("values", wildcards.dataset))
    return dataset_shards(wildcards.dataset, start, stop)


def shard_file(kind):
    """Name the file of one shard of a record, such as `rollouts`."""
    folder = "{dataset}" if kind == "problems" else "{model}/{dataset}"
    return f"results/{kind}/{folder}/{{shard}}.{'safetensors' if kind == 'activations' else 'parquet'}"


def shards(kind, numbers):
    """Make an input function: the shards of a record of the job's run that `numbers(wildcards)` lists."""
    return lambda w: expand(shard_file(kind), model=w.model, dataset=w.dataset, shard=numbers(w))


def all_shards(kind):
    """Make an input function: a record of the job's run, whole."""
    return shards(kind, lambda w: dataset_shards(w.dataset))


def valued_shards(kind):
    """Make an input function: a record of the job's run, as far as its problems are valued."""
    if kind in FINER:
        return shards(kind, lambda w: value_shards(w.dataset))
    return shards(kind, lambda w: dataset_shards(w.dataset, stop=n_problems("values", w.dataset)))


def every_shard(pattern, stage, numbers):
    """List the shards of all runs of a stage; `numbers(dataset)` lists those of one."""
    found = [expand(pattern, model=m, dataset=d, shard=numbers(d), allow_missing=True) for m, d in runs(stage)]
    return sum(found, [])


def selected_from(need, path):
    """Return what selections are made from (`needs` in lib/neurons/catalogue.py), if a configured one is."""
    return path if selections.users_of(need, config["interventions"]["selections"]) else []


# Records are targets beside the report: a deleted shard is then missed, and made again with all that is below it.
ROLLOUTS = every_shard(shard_file("rollouts"), "rollouts", dataset_shards)
CONTINUATIONS = every_shard(shard_file("continuations"), "values", value_shards)
ACTIVATIONS = every_shard(shard_file("activations"), "value_probes", dataset_shards)
