"""How well pruned probes still predict.

Needs probes, what they were trained on, and problems.
Gives `results/pruning/{model}/{dataset}/{value,dopamine}.parquet`: curves by importance, at random and with shuffled labels.
"""


rule evaluate_value_pruning:
    """Area under the ROC curve of pruned value probes at the start and the end of the response."""
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
        probes="results/probes/{model}/{dataset}/value.safetensors",
        code=modules("evaluate_value_pruning"),
    output:
        pruning="results/pruning/{model}/{dataset}/value.parquet",
    log:
        "results/logs/evaluate_value_pruning/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/evaluate_value_pruning/{model}/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(4000),
        runtime=more_each_attempt(60),
        gpu=0,
    params:
        settings=section("pruning"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.evaluate_value_pruning --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --activations {input.activations} --probes {input.probes} \
            --output {output.pruning} \
            2> >(tee {log} >&2)
        """


rule evaluate_dopamine_pruning:
    """Spearman correlation of pruned dopamine probes with Monte-Carlo TD errors."""
    input:
        features="results/features/{model}/{dataset}.safetensors",
        problems=shards(
            "results/problems/{dataset}/{shard}.parquet",
            lambda w: dataset_shards(w.dataset, stop=n_problems("values", w.dataset)),
        ),
        probes="results/probes/{model}/{dataset}/dopamine.safetensors",
        code=modules("evaluate_dopamine_pruning"),
    output:
        pruning="results/pruning/{model}/{dataset}/dopamine.parquet",
    log:
        "results/logs/evaluate_dopamine_pruning/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/evaluate_dopamine_pruning/{model}/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(60),
        gpu=0,
    params:
        settings=section("pruning"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.evaluate_dopamine_pruning --params {params.settings:q} \
            --features {input.features} --problems {input.problems} --probes {input.probes} \
            --output {output.pruning} \
            2> >(tee {log} >&2)
        """
