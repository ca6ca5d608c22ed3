"""Tables, verdicts and the report of the whole study.

Needs the results of all configured runs.
Gives, in the study's folder, `tables/*.{csv,parquet}` and `report.html`; after everything else `provenance.html` and
`provenance/costs.{csv,parquet}`, which differ from run to run as durations do.
"""

from workflow_scripts.lib.config.study import figure_stages, left_out

PROBE_TABLES = tables("rollouts", "values", "pruning_value", "pruning_dopamine")
CLAIM_TABLES = tables("claims", "claim_cells", "claim_cases", "selectivity", "table1")
CASE_TABLES = tables("cases")
JUDGED_ROLLOUTS = every_shard(shard_file("rollouts"), "value_probes", dataset_shards)  # claims are on runs with probes
SETTING_TABLES = tables("settings")
MEASURED = [*PROBE_TABLES, *MASKED_TABLES, *TRANSFER_TABLES, *CONFIDENCE_TABLES, *SEARCH_TABLES, *TRAJECTORY_TABLES]
TABLES = [*MEASURED, *CLAIM_TABLES, *CASE_TABLES, *SETTING_TABLES]
FIGURES = figures(*figure_stages())
RECORDS = [*ROLLOUTS, *CONTINUATIONS, *ACTIVATIONS, *MASKED, *NEURON_LISTS, *ASKED, *SEARCHED]
PROVENANCE = [f"{OUT}/provenance.html", *expand(f"{OUT}/provenance/costs.{{kind}}", kind=["csv", "parquet"])]
PROBLEMS = list(dict.fromkeys(every_shard(shard_file("problems"), "rollouts", dataset_shards)))

# The whole configuration, except what only plans read: the sizes of models, which therefore rerun nothing.
WHOLE = {**config, "models": {name: {**model} for name, model in config["models"].items()}}
SIZES = {name: model.pop("size") for name, model in WHOLE["models"].items()}


rule tabulate_results:
    """Tabulate the numbers behind the figures, over all runs."""
    input:
        problems=PROBLEMS,
        rollouts=ROLLOUTS,
        values=of_runs("results/values/{model}/{dataset}.parquet", "values"),
        value_pruning=of_runs("results/pruning/{model}/{dataset}/value.parquet", "value_probes"),
        dopamine_pruning=of_runs("results/pruning/{model}/{dataset}/dopamine.parquet", "dopamine_probes"),
        code=modules("tabulate_results"),
    output:
        tables=PROBE_TABLES,
    log:
        f"{OUT}/logs/tabulate_results.log",
    benchmark:
        f"{OUT}/benchmarks/tabulate_results.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("pruning.confidence,bootstrap,seed values.gamma,min_abs_delta,n_continuations,adaptive"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.tabulate_results --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --values {input.values} --value-pruning {input.value_pruning} \
            --dopamine-pruning {input.dopamine_pruning} \
            --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """


rule judge_claims:
    """Judge every claim of the paper by the scores per problem, with its test and its verdict."""
    input:
        value=of_runs("results/scores/{model}/{dataset}/value.parquet", "value_probes"),
        dopamine=of_runs("results/scores/{model}/{dataset}/dopamine.parquet", "dopamine_probes"),
        masks=f"{OUT}/scores/masks.parquet",
        confidence=f"{OUT}/scores/confidence.parquet",
        search=f"{OUT}/scores/search.parquet",
        trajectories=f"{OUT}/scores/trajectories.parquet",
        ablated=f"{OUT}/scores/ablated.parquet",
        overlap=f"{OUT}/scores/overlap.parquet",
        neurons=NEURON_LISTS,
        selected=of_runs("results/neurons/{model}/{dataset}.parquet", "interventions"),
        published="resources/published/claims.yaml",
        code=modules("judge_claims"),
    output:
        tables=CLAIM_TABLES,
    log:
        f"{OUT}/logs/judge_claims.log",
    benchmark:
        f"{OUT}/benchmarks/judge_claims.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(10),
        gpu=0,
    params:
        rows=rows("judge_claims"),
        settings=section("pruning.confidence,bootstrap,seed interventions.share,mode"),
        versions=pins("scipy"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.judge_claims --params {params.settings:q} \
            --value {input.value} --dopamine {input.dopamine} --masks {input.masks} \
            --confidence {input.confidence} --search {input.search} --trajectories {input.trajectories} \
            --ablated {input.ablated} --overlap {input.overlap} --neurons {input.neurons} \
            --selected {input.selected} --published {input.published} \
            --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """


rule quote_cases:
    """Find question and response of the typical and the worst case behind each claim."""
    input:
        cases=f"{OUT}/tables/claim_cases.parquet",
        problems=PROBLEMS,
        rollouts=JUDGED_ROLLOUTS,
        masked=MASKED,
        search=SEARCHED,
        code=modules("quote_cases"),
    output:
        tables=CASE_TABLES,
    log:
        f"{OUT}/logs/quote_cases.log",
    benchmark:
        f"{OUT}/benchmarks/quote_cases.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("interventions.share,mode"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.quote_cases --params {params.settings:q} --cases {input.cases} \
            --problems {input.problems} --rollouts {input.rollouts} --masked {input.masked} --search {input.search} \
            --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """


rule tabulate_settings:
    """Tabulate the study's settings beside those that the paper prints."""
    input:
        published="resources/published/settings.yaml",
        code=modules("tabulate_settings"),
    output:
        tables=SETTING_TABLES,
    log:
        f"{OUT}/logs/tabulate_settings.log",
    benchmark:
        f"{OUT}/benchmarks/tabulate_settings.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(10),
        gpu=0,
    params:
        settings=section(
            "split.train_ratio,seed rollouts.max_tokens,temperature,top_p,n_samples,engine vllm.gpu_memory_utilization"
            " values.gamma pruning.ratios value_probes.hidden,epochs,batch_size,learning_rate,weight_decay,gamma,seeds"
            " dopamine_probes.hidden,epochs,batch_size,learning_rate,weight_decay,seeds"
        ),
        prompts=canonical(sorted({config["models"][model]["prompt"] for model, _ in runs("rollouts")})),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.tabulate_settings --params {params.settings:q} --prompts {params.prompts:q} \
            --published {input.published} --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """


rule write_report:
    """Write one self-contained page: question, figures, settings, and what the data show and do not show."""
    input:
        tables=[path for path in TABLES if path.endswith(".parquet")],
        figures=[path for path in FIGURES if path.endswith(".svg")],
        trajectories=TRACED,
        captions=expand("report/captions/{name}.md", name=figure_stages()),
        template="report/template.html",
        parts=expand(
            "report/{part}",
            part=[
                "style.css",
                "tables.html",
                "question.html",
                "claims.html",
                "runs.html",
                "figures.html",
                "interventions.html",
                "applications.html",
                "paper.html",
                "excerpt.html",
                "settings.html",
                "limits.html",
                "trajectories.html",
                "trajectories.css",
                "trajectories.js",
            ],
        ),
        published=expand("resources/published/{name}.yaml", name=["figures", "interventions", "applications", "claims"]),
        registration=[path for path in [f"registrations/{config['study']}.json"] if os.path.exists(path)],
        code=modules("write_report"),
    output:
        report=report(REPORT, category="Report"),  # what `snakemake --report` shows
    log:
        f"{OUT}/logs/write_report.log",
    benchmark:
        f"{OUT}/benchmarks/write_report.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(10),
        gpu=0,
    params:
        rows=rows("write_report"),
        settings=lambda w: canonical({**WHOLE, "left_out": left_out(config)}),
    shell:
        """
        python -m workflow_scripts.write_report --params {params.settings:q} \
            --tables {input.tables} --figures {input.figures} \
            --captions {input.captions} --template {input.template} --published {input.published} \
            --trajectories {input.trajectories} --registration {input.registration} \
            --output {output.report} \
            2> >(tee {log} >&2)
        """


rule write_provenance:
    """Write a page on what the results come from, and the costs of every rule beside the planned ones."""
    input:
        report=REPORT,
        tables=[path for path in TABLES if path.endswith(".parquet")],
        probes=[
            *of_runs("results/probes/{model}/{dataset}/value.safetensors", "value_probes"),
            *of_runs("results/probes/{model}/{dataset}/dopamine.safetensors", "dopamine_probes"),
        ],
        problems=PROBLEMS,
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
        f"{OUT}/logs/write_provenance.log",
    benchmark:
        f"{OUT}/benchmarks/write_provenance.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
        sizes=canonical(SIZES),
    params:
        rows=rows("write_provenance"),
        settings=lambda w: canonical(WHOLE),
    shell:
        """
        python -m workflow_scripts.write_provenance --params {params.settings:q} --sizes {resources.sizes:q} \
            --report {input.report} --tables {input.tables} --probes {input.probes} \
            --problems {input.problems} --template {input.template} \
            --output {output.page} --csv {output.csv} --parquet {output.parquet} \
            2> >(tee {log} >&2)
        """
