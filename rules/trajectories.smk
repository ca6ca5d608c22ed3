"""Dopamine neurons over the tokens of responses, and what ablating value neurons of earlier layers does to them.

Needs problems, rollouts, paragraphs, values, activations, value and dopamine probes and the model's files.
Gives `results/trajectories/{model}/{dataset}.parquet` (trajectories),
`results/trajectories/{model}/{dataset}/ablated.parquet`, four tables and figures 3, 9 and 10.
"""

TRACED = of_runs("results/trajectories/{model}/{dataset}.parquet", "trajectories")
ABLATED = of_runs("results/trajectories/{model}/{dataset}/ablated.parquet", "trajectories")
TRAJECTORY_TABLES = tables("trajectories", "peaks", "trajectory_ablation", "ablation_contrasts")
TRAJECTORY_FIGURES = figures("fig3", "fig9", "fig10")


rule trace_neurons:
    """Follow dopamine neurons, and as many random ones, over the tokens of every valued response."""
    input:
        problems=valued_shards("problems"),
        rollouts=valued_shards("rollouts"),
        paragraphs=valued_shards("paragraphs"),
        values="results/values/{model}/{dataset}.parquet",
        activations=valued_shards("activations"),
        probes="results/probes/{model}/{dataset}/dopamine.safetensors",
        code=modules("trace_neurons"),
    output:
        traced="results/trajectories/{model}/{dataset}.parquet",
    log:
        "results/logs/trace_neurons/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/trace_neurons/{model}/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=with_inputs(1000),
        runtime=more_each_attempt(30),
        gpu=0,
    params:
        settings=section("model trajectories.layer,n_neurons,seed dopamine_probes.normalization"),
        weights=weights,
        versions=pins("torch", "scipy", "transformers", "tokenizers"),
    shell:
        """
        python -m workflow_scripts.trace_neurons --params {params.settings:q} \
            --problems {input.problems} --probes {input.probes} --values {input.values} \
            --rollouts {input.rollouts} --paragraphs {input.paragraphs} \
            --activations {input.activations} \
            --output {output.traced} \
            2> >(tee {log} >&2)
        """


rule ablate_value_neurons:
    """Follow the dopamine neurons again while value neurons, or random ones, of earlier layers are ablated."""
    input:
        traced="results/trajectories/{model}/{dataset}.parquet",
        rollouts=valued_shards("rollouts"),
        activations=valued_shards("activations"),
        probes="results/probes/{model}/{dataset}/value.safetensors",
        code=modules("ablate_value_neurons"),
    output:
        ablated="results/trajectories/{model}/{dataset}/ablated.parquet",
    log:
        "results/logs/ablate_value_neurons/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/ablate_value_neurons/{model}/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=with_weights(1500),
        runtime=more_each_attempt(120),
        gpu=1,
        batch_tokens=config["activations"]["batch_tokens"],
    params:
        settings=section("model activations.dtype trajectories.ablated_layers,ablated_share,draws,seed"),
        weights=weights,
        versions=pins("torch", "transformers"),
    shell:
        """
        python -m workflow_scripts.ablate_value_neurons --params {params.settings:q} \
            --traced {input.traced} --probes {input.probes} --rollouts {input.rollouts} \
            --activations {input.activations} --batch-tokens {resources.batch_tokens} \
            --output {output.ablated} \
            2> >(tee {log} >&2)
        """


rule tabulate_trajectories:
    """Tabulate how the followed neurons track TD errors, and what ablation does to them, over all runs."""
    input:
        traced=TRACED,
        ablated=ABLATED,
        code=modules("tabulate_trajectories"),
    output:
        tables=TRAJECTORY_TABLES,
        scores=f"{OUT}/scores/trajectories.parquet",
        ablated=f"{OUT}/scores/ablated.parquet",
    log:
        f"{OUT}/logs/tabulate_trajectories.log",
    benchmark:
        f"{OUT}/benchmarks/tabulate_trajectories.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("pruning.confidence,bootstrap,seed"),
        versions=pins("scipy", "numpy"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.tabulate_trajectories --params {params.settings:q} \
            --traced {input.traced} --ablated {input.ablated} \
            --scores {output.scores} --ablated-scores {output.ablated} \
            --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """


rule plot_trajectories:
    """Draw figures 3, 9 and 10."""
    input:
        traced=TRACED,
        ablated=ABLATED,
        code=modules("plot_trajectories"),
    output:
        figures=TRAJECTORY_FIGURES,
    log:
        f"{OUT}/logs/plot_trajectories.log",
    benchmark:
        f"{OUT}/benchmarks/plot_trajectories.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("figures.fig3,fig9,fig10"),
        versions=pins("matplotlib"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.plot_trajectories --params {params.settings:q} \
            --traced {input.traced} --ablated {input.ablated} \
            --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """
