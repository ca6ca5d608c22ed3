"""Which neurons probes find, and whether other data sets and related models have the same.

Needs value probes, and dopamine probes where there are any.
Gives, in the study's folder, `neurons/{model}.parquet`: every neuron with its importance and rank in every probe of the
model, `tables/{transfer,transfer_rise,importance_correlation}.{csv,parquet}`: the agreement of each pair of runs, and
Figures 2 and 8.
"""

PROBED = list(dict.fromkeys([*runs("value_probes"), *runs("dopamine_probes")]))
NEURON_LISTS = expand(f"{OUT}/neurons/{{model}}.parquet", model=dict.fromkeys(model for model, _ in PROBED))
TRANSFER_TABLES = tables("transfer", "transfer_rise", "importance_correlation")
TRANSFER_FIGURES = figures("fig2", "fig8")


rule list_neurons:
    """List every neuron of a model with its importance, rank and stability, by run, kind of probe, layer and seed."""
    input:
        value=lambda w: expand(
            "results/probes/{model}/{dataset}/value.safetensors",
            model=w.model,
            dataset=[dataset for model, dataset in runs("value_probes") if model == w.model],
        ),
        dopamine=lambda w: expand(
            "results/probes/{model}/{dataset}/dopamine.safetensors",
            model=w.model,
            dataset=[dataset for model, dataset in runs("dopamine_probes") if model == w.model],
        ),
        code=modules("list_neurons"),
    output:
        neurons=f"{OUT}/neurons/{{model}}.parquet",
    log:
        f"{OUT}/logs/list_neurons/{{model}}.log",
    benchmark:
        f"{OUT}/benchmarks/list_neurons/{{model}}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("interventions.share"),
        versions=pins("torch", "numpy"),
    shell:
        """
        python -m workflow_scripts.list_neurons --params {params.settings:q} --model {wildcards.model} \
            --value {input.value} --dopamine {input.dopamine} \
            --output {output.neurons} \
            2> >(tee {log} >&2)
        """


rule compare_neurons:
    """Compare kept inputs and the ranks of importances, for every pair of runs that can share neurons."""
    input:
        value=of_runs("results/probes/{model}/{dataset}/value.safetensors", "transfer"),
        dopamine=[
            path
            for path in of_runs("results/probes/{model}/{dataset}/dopamine.safetensors", "transfer")
            if path in of_runs("results/probes/{model}/{dataset}/dopamine.safetensors", "dopamine_probes")
        ],
        code=modules("compare_neurons"),
    output:
        tables=TRANSFER_TABLES,
        scores=f"{OUT}/scores/overlap.parquet",
    log:
        f"{OUT}/logs/compare_neurons.log",
    benchmark:
        f"{OUT}/benchmarks/compare_neurons.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(30),
        gpu=0,
    params:
        settings=section("transfer.families pruning.ratios,confidence,bootstrap,seed"),
        versions=pins("torch", "numpy", "scipy"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.compare_neurons --params {params.settings:q} \
            --value {input.value} --dopamine {input.dopamine} --scores {output.scores} \
            --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """


rule plot_transfer:
    """Draw figures 2 and 8."""
    input:
        table=f"{OUT}/tables/transfer.parquet",
        code=modules("plot_transfer"),
    output:
        figures=TRANSFER_FIGURES,
    log:
        f"{OUT}/logs/plot_transfer.log",
    benchmark:
        f"{OUT}/benchmarks/plot_transfer.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("figures.fig2,fig8"),
        versions=pins("matplotlib"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.plot_transfer --params {params.settings:q} \
            --table {input.table} --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """
