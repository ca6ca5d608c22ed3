"""Tables, figures and the report of the whole study.

Needs the results of all configured runs.
Gives `results/tables/*.{csv,parquet}`, `results/figures/*.{pdf,svg,png}` and `results/report.html`; after everything else
`results/provenance.html` and `results/provenance/costs.{csv,parquet}`, which differ from run to run as durations do.
"""

PRUNED = ["fig1", "fig4", "fig5", "fig6", "fig7", "fig11"]
CAPTIONED = [*PRUNED, "fig2", "fig3", "fig8", "fig9", "fig10", "reliability", "dose"]
TABLE_FILES, FIGURE_FILES = "results/tables/{name}.{kind}", "results/figures/{name}.{kind}"
TABLE_KINDS, FIGURE_KINDS = ["csv", "parquet"], ["pdf", "svg", "png"]
PROBE_NAMES = ["rollouts", "values", "pruning_value", "pruning_dopamine"]
MASKED_NAMES = ["table2", "table5", "intervention_contrasts", "neuron_overlap", "dose_response"]
PROBE_TABLES = expand(TABLE_FILES, name=PROBE_NAMES, kind=TABLE_KINDS)
MASKED_TABLES = expand(TABLE_FILES, name=MASKED_NAMES, kind=TABLE_KINDS)
CLAIM_TABLES = expand(TABLE_FILES, name="claims", kind=TABLE_KINDS)
PRUNING_FIGURES = expand(FIGURE_FILES, name=PRUNED, kind=FIGURE_KINDS)
DOSE_FIGURES = expand(FIGURE_FILES, name="dose", kind=FIGURE_KINDS)
MEASURED = [*PROBE_TABLES, *MASKED_TABLES, *TRANSFER_TABLES, *CONFIDENCE_TABLES, *SEARCH_TABLES, *TRAJECTORY_TABLES]
TABLES = [*MEASURED, *CLAIM_TABLES]
FIGURES = [*PRUNING_FIGURES, *DOSE_FIGURES, *TRANSFER_FIGURES, *CONFIDENCE_FIGURES, *TRAJECTORY_FIGURES]
RECORDS = [*ROLLOUTS, *CONTINUATIONS, *ACTIVATIONS, *MASKED, *NEURON_LISTS, *ASKED, *SEARCHED]
PROVENANCE = ["results/provenance.html", *expand("results/provenance/costs.{kind}", kind=TABLE_KINDS)]

# The whole configuration, but for what only plans read: the sizes of models, which therefore rerun nothing.
SIZES = {name: model["size"] for name, model in config["models"].items()}
WHOLE = canonical(
    {
        **config,
        "models": {
            name: {key: model[key] for key in model if key != "size"} for name, model in config["models"].items()
        },
    }
)


rule tabulate_results:
    """The tables behind the figures, over all runs."""
    input:
        problems=list(
            dict.fromkeys(every_shard("results/problems/{dataset}/{shard}.parquet", "rollouts", dataset_shards))
        ),
        rollouts=ROLLOUTS,
        values=of_runs("results/values/{model}/{dataset}.parquet", "values"),
        value_pruning=of_runs("results/pruning/{model}/{dataset}/value.parquet", "value_probes"),
        dopamine_pruning=of_runs("results/pruning/{model}/{dataset}/dopamine.parquet", "dopamine_probes"),
        code=modules("tabulate_results"),
    output:
        tables=PROBE_TABLES,
    log:
        "results/logs/tabulate_results.log",
    benchmark:
        "results/benchmarks/tabulate_results.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("pruning.confidence,bootstrap,seed values.gamma,min_abs_delta,n_continuations,adaptive"),
    shell:
        """
        python -m workflow_scripts.tabulate_results --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --values {input.values} --value-pruning {input.value_pruning} \
            --dopamine-pruning {input.dopamine_pruning} \
            --output-dir results/tables \
            2> >(tee {log} >&2)
        """


rule tabulate_interventions:
    """What holding neurons did to accuracy, over all runs."""
    input:
        rollouts=every_shard("results/rollouts/{model}/{dataset}/{shard}.parquet", "interventions", dataset_shards),
        masked=MASKED,
        proofs=[path.replace(".parquet", ".proofs.parquet") for path in MASKED],
        neurons=of_runs("results/neurons/{model}/{dataset}.parquet", "interventions"),
        code=modules("tabulate_interventions"),
    output:
        tables=MASKED_TABLES,
    log:
        "results/logs/tabulate_interventions.log",
    benchmark:
        "results/benchmarks/tabulate_interventions.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section(
            "pruning.confidence,bootstrap,seed interventions.layers,selections,share,mode,dose_layers,dose_selections,"
            "dose_shares,dose_factors,dose_factor_share"
        ),
        versions=pins("scipy"),
    shell:
        """
        python -m workflow_scripts.tabulate_interventions --params {params.settings:q} \
            --rollouts {input.rollouts} --masked {input.masked} --proofs {input.proofs} \
            --neurons {input.neurons} \
            --output-dir results/tables \
            2> >(tee {log} >&2)
        """


rule plot_pruning:
    """Figures 1, 4 to 7 and 11."""
    input:
        tables=[
            "results/tables/pruning_value.parquet",
            "results/tables/pruning_dopamine.parquet",
        ],
        code=modules("plot_pruning"),
    output:
        figures=PRUNING_FIGURES,
    log:
        "results/logs/plot_pruning.log",
    benchmark:
        "results/benchmarks/plot_pruning.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("figures.fig1,fig4,fig5,fig6,fig7,fig11"),
        versions=pins("matplotlib"),
    shell:
        """
        python -m workflow_scripts.plot_pruning --params {params.settings:q} \
            --tables {input.tables} --output-dir results/figures \
            2> >(tee {log} >&2)
        """


rule plot_dose:
    """The dose-response of interventions."""
    input:
        table="results/tables/dose_response.parquet",
        code=modules("plot_dose"),
    output:
        figures=DOSE_FIGURES,
    log:
        "results/logs/plot_dose.log",
    benchmark:
        "results/benchmarks/plot_dose.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("figures.dose"),
        versions=pins("matplotlib"),
    shell:
        """
        python -m workflow_scripts.plot_dose --params {params.settings:q} \
            --table {input.table} --output-dir results/figures \
            2> >(tee {log} >&2)
        """


rule judge_claims:
    """Every claim of the paper against the tables, with its test and its verdict."""
    input:
        tables=[path for path in MEASURED if path.endswith(".parquet")],
        published="resources/published/claims.yaml",
        code=modules("judge_claims"),
    output:
        tables=CLAIM_TABLES,
    log:
        "results/logs/judge_claims.log",
    benchmark:
        "results/benchmarks/judge_claims.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(10),
        gpu=0,
    params:
        settings=section("pruning.confidence"),
        versions=pins("scipy"),
    shell:
        """
        python -m workflow_scripts.judge_claims --params {params.settings:q} \
            --tables {input.tables} --published {input.published} \
            --output-dir results/tables \
            2> >(tee {log} >&2)
        """


rule write_report:
    """One self-contained page: question, figures, settings, and what the data show and do not show."""
    input:
        tables=[path for path in TABLES if path.endswith(".parquet")],
        figures=[path for path in FIGURES if path.endswith(".svg")],
        trajectories=TRACED,
        captions=expand("report/captions/{name}.md", name=CAPTIONED),
        template="report/template.html",
        parts=expand(
            "report/{part}",
            part=[
                "style.css",
                "tables.html",
                "question.html",
                "claims.html",
                "summary.html",
                "runs.html",
                "figures.html",
                "interventions.html",
                "applications.html",
                "paper.html",
                "verdicts.html",
                "excerpt.html",
                "settings.html",
                "limits.html",
                "trajectories.html",
                "trajectories.css",
                "trajectories.js",
            ],
        ),
        published=expand("resources/published/{name}.yaml", name=["figures", "interventions", "applications"]),
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
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(10),
        gpu=0,
    params:
        settings=lambda w: WHOLE,
    shell:
        """
        python -m workflow_scripts.write_report --params {params.settings:q} \
            --tables {input.tables} --figures {input.figures} \
            --captions {input.captions} --template {input.template} --published {input.published} \
            --trajectories {input.trajectories} \
            --output {output.report} \
            2> >(tee {log} >&2)
        """


rule write_provenance:
    """A page on what the results come from, and the costs of every rule beside the planned ones."""
    input:
        report=REPORT,
        tables=[path for path in TABLES if path.endswith(".parquet")],
        probes=[
            *of_runs("results/probes/{model}/{dataset}/value.safetensors", "value_probes"),
            *of_runs("results/probes/{model}/{dataset}/dopamine.safetensors", "dopamine_probes"),
        ],
        problems=list(
            dict.fromkeys(every_shard("results/problems/{dataset}/{shard}.parquet", "rollouts", dataset_shards))
        ),
        records=[*RECORDS, *FIGURES],
        template="report/provenance.html",
        parts=["report/style.css", "report/tables.html"],
        assumptions="resources/plan/assumptions.yaml",
        code=modules("write_provenance"),
    output:
        page=PROVENANCE[0],
        csv=PROVENANCE[1],
        parquet=PROVENANCE[2],
    log:
        "results/logs/write_provenance.log",
    benchmark:
        "results/benchmarks/write_provenance.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(20),
        gpu=0,
        sizes=canonical(SIZES),
    params:
        settings=lambda w: WHOLE,
    shell:
        """
        python -m workflow_scripts.write_provenance --params {params.settings:q} --sizes {resources.sizes:q} \
            --report {input.report} --tables {input.tables} --probes {input.probes} \
            --problems {input.problems} --template {input.template} \
            --output {output.page} --csv {output.csv} --parquet {output.parquet} \
            2> >(tee {log} >&2)
        """
