"""How well pruned probes still predict.

Needs probes, what they were trained on, and problems.
Gives `results/scores/{model}/{dataset}/{value,dopamine}.parquet`: what every pruned probe says of each held-out
response or paragraph, with its controls; `results/pruning/{model}/{dataset}/{value,dopamine}.parquet`: the curves that
follow, by importance, at random and with shuffled labels; figures 1, 4 to 7 and 11.
"""

PRUNING_FIGURES = figures("fig1", "fig4", "fig5", "fig6", "fig7", "fig11")


rule score_value_probes:
    """Score the start and the end of each held-out response with pruned value probes."""
    input:
        problems=all_shards("problems"),
        rollouts=all_shards("rollouts"),
        activations=all_shards("activations"),
        probes="results/probes/{model}/{dataset}/value.safetensors",
        code=modules("score_value_probes"),
    output:
        scores="results/scores/{model}/{dataset}/value.parquet",
    log:
        "results/logs/score_value_probes/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/score_value_probes/{model}/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=with_inputs(1000),
        runtime=more_each_attempt(60),
        gpu=0,
    params:
        rows=rows("score_value_probes", targets=[config["value_probes"]["target"]]),
        settings=section("pruning.ratios,random_draws,seed,retrain_pruned"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.score_value_probes --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --activations {input.activations} --probes {input.probes} \
            --output {output.scores} \
            2> >(tee {log} >&2)
        """


rule score_dopamine_probes:
    """Score each kept paragraph of the held-out responses with pruned dopamine probes."""
    input:
        features="results/features/{model}/{dataset}.safetensors",
        problems=valued_shards("problems"),
        probes="results/probes/{model}/{dataset}/dopamine.safetensors",
        code=modules("score_dopamine_probes"),
    output:
        scores="results/scores/{model}/{dataset}/dopamine.parquet",
    log:
        "results/logs/score_dopamine_probes/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/score_dopamine_probes/{model}/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(60),
        gpu=0,
    params:
        rows=rows("score_dopamine_probes"),
        settings=section("pruning.ratios,random_draws,seed,retrain_pruned"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.score_dopamine_probes --params {params.settings:q} \
            --features {input.features} --problems {input.problems} --probes {input.probes} \
            --output {output.scores} \
            2> >(tee {log} >&2)
        """


rule evaluate_value_pruning:
    """Compute the area under the ROC curve of pruned value probes at the start and the end of the response."""
    input:
        scores="results/scores/{model}/{dataset}/value.parquet",
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
        mem_mb=with_inputs(1000),
        runtime=more_each_attempt(60),
        gpu=0,
    params:
        kind="value",
        settings=section("pruning.bootstrap,confidence,seed"),
        versions=pins("numpy", "scipy"),
    shell:
        """
        python -m workflow_scripts.evaluate_value_pruning --params {params.settings:q} \
            --kind {params.kind} --scores {input.scores} \
            --output {output.pruning} \
            2> >(tee {log} >&2)
        """


# Spearman's correlation of pruned dopamine probes with Monte-Carlo TD errors: the same module.
use rule evaluate_value_pruning as evaluate_dopamine_pruning with:
    input:
        scores="results/scores/{model}/{dataset}/dopamine.parquet",
        code=modules("evaluate_value_pruning"),
    output:
        pruning="results/pruning/{model}/{dataset}/dopamine.parquet",
    log:
        "results/logs/evaluate_dopamine_pruning/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/evaluate_dopamine_pruning/{model}/{dataset}.jsonl"
    params:
        kind="dopamine",
        settings=section("pruning.bootstrap,confidence,seed"),


rule plot_pruning:
    """Draw figures 1, 4 to 7 and 11."""
    input:
        tables=[
            f"{OUT}/tables/pruning_value.parquet",
            f"{OUT}/tables/pruning_dopamine.parquet",
        ],
        code=modules("plot_pruning"),
    output:
        figures=PRUNING_FIGURES,
    log:
        f"{OUT}/logs/plot_pruning.log",
    benchmark:
        f"{OUT}/benchmarks/plot_pruning.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("figures.fig1,fig4,fig5,fig6,fig7,fig11"),
        versions=pins("matplotlib"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.plot_pruning --params {params.settings:q} \
            --tables {input.tables} --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """
