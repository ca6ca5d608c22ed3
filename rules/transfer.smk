"""Which neurons probes find, and whether other data sets and related models have the same.

Needs value probes, and dopamine probes where there are any.
Gives `results/neurons/{model}.parquet`: every neuron with its importance and rank in every probe of the model,
`results/tables/{transfer,importance_correlation}.{csv,parquet}`: the agreement of each pair of runs, and Figures 2 and 8.
"""

PROBED = list(dict.fromkeys([*runs("value_probes"), *runs("dopamine_probes")]))
NEURON_LISTS = expand("results/neurons/{model}.parquet", model=dict.fromkeys(model for model, _ in PROBED))
TRANSFER_TABLES = expand(
    "results/tables/{name}.{kind}", name=["transfer", "importance_correlation"], kind=["csv", "parquet"]
)
TRANSFER_FIGURES = expand("results/figures/{name}.{kind}", name=["fig2", "fig8"], kind=["pdf", "svg", "png"])


rule list_neurons:
    """Every neuron of a model with its importance, rank and stability, by run, kind of probe, layer and seed."""
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
        neurons="results/neurons/{model}.parquet",
    log:
        "results/logs/list_neurons/{model}.log",
    benchmark:
        "results/benchmarks/list_neurons/{model}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(3000),
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
    """Overlap of kept inputs and rank correlation of importances, for every pair of runs that can share neurons."""
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
    log:
        "results/logs/compare_neurons.log",
    benchmark:
        "results/benchmarks/compare_neurons.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(3000),
        runtime=more_each_attempt(30),
        gpu=0,
    params:
        settings=section("transfer.families pruning.ratios,confidence,bootstrap,seed"),
        versions=pins("torch", "numpy", "scipy"),
    shell:
        """
        python -m workflow_scripts.compare_neurons --params {params.settings:q} \
            --value {input.value} --dopamine {input.dopamine} \
            --output-dir results/tables \
            2> >(tee {log} >&2)
        """


rule plot_transfer:
    """Figures 2 and 8."""
    input:
        table="results/tables/transfer.parquet",
        code=modules("plot_transfer"),
    output:
        figures=TRANSFER_FIGURES,
    log:
        "results/logs/plot_transfer.log",
    benchmark:
        "results/benchmarks/plot_transfer.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("figures.fig2,fig8"),
        versions=pins("matplotlib"),
    shell:
        """
        python -m workflow_scripts.plot_transfer --params {params.settings:q} \
            --table {input.table} --output-dir results/figures \
            2> >(tee {log} >&2)
        """
