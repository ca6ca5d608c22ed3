"""Value probes on token states and dopamine probes on paragraphs.

Needs problems, rollouts, activations and, for dopamine probes, paragraphs and values.
Gives `results/probes/{model}/{dataset}/{value,dopamine}.safetensors`: the probes of all layers and seeds in one file each.
"""


rule train_value_probes:
    """Train the value probes of all layers and seeds at once."""
    input:
        problems=shards("results/problems/{dataset}/{shard}.parquet", lambda w: dataset_shards(w.dataset)),
        rollouts=shards(
            "results/rollouts/{model}/{dataset}/{shard}.parquet",
            lambda w: dataset_shards(w.dataset),
        ),
        activations=shards(
            "results/activations/{model}/{dataset}/{shard}.safetensors",
            lambda w: dataset_shards(w.dataset),
        ),
        code=modules("train_value_probes"),
    output:
        probes="results/probes/{model}/{dataset}/value.safetensors",
    log:
        "results/logs/train_value_probes/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/train_value_probes/{model}/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(4000),
        runtime=more_each_attempt(120),
        gpu=1,
    params:
        settings=section("value_probes"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.train_value_probes --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --activations {input.activations} \
            --output {output.probes} \
            2> >(tee {log} >&2)
        """


rule average_paragraphs:
    """Normalise hidden states within each response and average them over each paragraph."""
    input:
        activations=shards(
            "results/activations/{model}/{dataset}/{shard}.safetensors",
            lambda w: dataset_shards(w.dataset, stop=n_problems("values", w.dataset)),
        ),
        paragraphs=shards("results/paragraphs/{model}/{dataset}/{shard}.parquet", lambda w: value_shards(w.dataset)),
        values="results/values/{model}/{dataset}.parquet",
        problems=shards(
            "results/problems/{dataset}/{shard}.parquet",
            lambda w: dataset_shards(w.dataset, stop=n_problems("values", w.dataset)),
        ),
        code=modules("average_paragraphs"),
    output:
        features="results/features/{model}/{dataset}.safetensors",
    log:
        "results/logs/average_paragraphs/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/average_paragraphs/{model}/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(3000),
        runtime=more_each_attempt(60),
        gpu=0,
    params:
        settings=section("dopamine_probes.normalization"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.average_paragraphs --params {params.settings:q} \
            --activations {input.activations} --paragraphs {input.paragraphs} \
            --values {input.values} --problems {input.problems} \
            --output {output.features} \
            2> >(tee {log} >&2)
        """


rule train_dopamine_probes:
    """Train the dopamine probes of all layers and seeds at once."""
    input:
        features="results/features/{model}/{dataset}.safetensors",
        problems=shards(
            "results/problems/{dataset}/{shard}.parquet",
            lambda w: dataset_shards(w.dataset, stop=n_problems("values", w.dataset)),
        ),
        code=modules("train_dopamine_probes"),
    output:
        probes="results/probes/{model}/{dataset}/dopamine.safetensors",
    log:
        "results/logs/train_dopamine_probes/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/train_dopamine_probes/{model}/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(120),
        gpu=1,
    params:
        settings=section("dopamine_probes"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.train_dopamine_probes --params {params.settings:q} \
            --features {input.features} --problems {input.problems} \
            --output {output.probes} \
            2> >(tee {log} >&2)
        """
