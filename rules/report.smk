"""Tables, figures and the report of the whole study.

Needs the results of all configured runs.
Gives `results/tables/*.{csv,parquet}`, `results/figures/*.{pdf,svg,png}` and `results/report.html`.
"""


rule tabulate_results:
    """The tables behind the figures, over all runs."""
    input:
        problems=expand(
            "results/problems/{dataset}.parquet",
            dataset=dict.fromkeys(dataset for _, dataset in runs("rollouts")),
        ),
        rollouts=ROLLOUTS,
        values=of_runs("results/values/{model}/{dataset}.parquet", "values"),
        value_pruning=of_runs("results/pruning/{model}/{dataset}/value.parquet", "value_probes"),
        dopamine_pruning=of_runs("results/pruning/{model}/{dataset}/dopamine.parquet", "dopamine_probes"),
        code=modules("tabulate_results"),
    output:
        tables=TABLES,
    log:
        "results/logs/tabulate_results.log",
    benchmark:
        "results/benchmarks/tabulate_results.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
        gpu=0,
    params:
        settings=section("pruning.confidence,bootstrap,seed values.gamma,min_abs_delta"),
    shell:
        """
        python -m workflow_scripts.tabulate_results --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --values {input.values} --value-pruning {input.value_pruning} \
            --dopamine-pruning {input.dopamine_pruning} \
            --output-dir results/tables \
            2> >(tee {log} >&2)
        """


rule plot_pruning:
    """Figures 1, 4, 7 and 11."""
    input:
        tables=[
            "results/tables/pruning_value.parquet",
            "results/tables/pruning_dopamine.parquet",
        ],
        code=modules("plot_pruning"),
    output:
        figures=FIGURES,
    log:
        "results/logs/plot_pruning.log",
    benchmark:
        "results/benchmarks/plot_pruning.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
        gpu=0,
    params:
        settings=section("figures"),
        versions=pins("matplotlib"),
    shell:
        """
        python -m workflow_scripts.plot_pruning --params {params.settings:q} \
            --tables {input.tables} --output-dir results/figures \
            2> >(tee {log} >&2)
        """


rule write_report:
    """One self-contained page: question, figures, settings, and what the data show and do not show."""
    input:
        tables=[path for path in TABLES if path.endswith(".parquet")],
        figures=[path for path in FIGURES if path.endswith(".svg")],
        captions=expand("report/captions/{name}.md", name=list(config["figures"])),
        template="report/template.html",
        published="resources/published/figures.yaml",
        code=modules("write_report"),
    output:
        report=REPORT,
    log:
        "results/logs/write_report.log",
    benchmark:
        "results/benchmarks/write_report.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        settings=lambda w: canonical(config),
    shell:
        """
        python -m workflow_scripts.write_report --params {params.settings:q} \
            --tables {input.tables} --figures {input.figures} \
            --captions {input.captions} --template {input.template} --published {input.published} \
            --output {output.report} \
            2> >(tee {log} >&2)
        """
