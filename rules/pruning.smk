"""How well pruned probes still predict.

Needs probes, what they were trained on, and problems.
Gives `results/pruning/{model}/{dataset}/{value,dopamine}.parquet`: curves by importance, at random and with shuffled
labels; figures 1, 4 to 7 and 11.
"""

PRUNING_FIGURES = figures("fig1", "fig4", "fig5", "fig6", "fig7", "fig11")


rule evaluate_value_pruning:
    """Compute the area under the ROC curve of pruned value probes at the start and the end of the response."""
    input:
        problems=all_shards("problems"),
        rollouts=all_shards("rollouts"),
        activations=all_shards("activations"),
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
        mem_mb=with_inputs(1000),
        runtime=more_each_attempt(60),
        gpu=0,
    params:
        rows=rows("evaluate_value_pruning", targets=[config["value_probes"]["target"]]),
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
    """Compute the Spearman correlation of pruned dopamine probes with Monte-Carlo TD errors."""
    input:
        features="results/features/{model}/{dataset}.safetensors",
        problems=valued_shards("problems"),
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
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(60),
        gpu=0,
    params:
        rows=rows("evaluate_dopamine_pruning"),
        settings=section("pruning"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.evaluate_dopamine_pruning --params {params.settings:q} \
            --features {input.features} --problems {input.problems} --probes {input.probes} \
            --output {output.pruning} \
            2> >(tee {log} >&2)
        """


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
