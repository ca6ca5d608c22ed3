"""Generation with neurons ablated: measures to select and match them by, the selections, the responses.

Needs problems, rollouts, activations, value probes and the model's files.
Gives `results/neurons/{model}/{dataset}.parquet`: the neurons of every layer, selection, draw and share, and
`results/masked/{model}/{dataset}/{layer}/{shard}.parquet`: responses with them ablated, with the mask checks beside;
tables and the figure of doses.
"""

MASKED_TABLES = tables("table2", "table5", "intervention_contrasts", "neuron_overlap", "dose_response")
DOSE_FIGURES = figures("dose")

MASKED = expand(
    every_shard(
        "results/masked/{model}/{dataset}/{layer}/{shard}.parquet",
        "interventions",
        lambda d: dataset_shards(d, stop=n_problems("interventions", d)),
    ),
    layer=config["interventions"]["layers"],
)

SELECTIONS = config["interventions"]["selections"]
FROM_WEIGHTS = any(selections.CATALOGUE[name].from_weights for name in SELECTIONS)


rule measure_neurons:
    """Measure what neurons are selected by besides probes, in one pass of the model over the training responses."""
    input:
        problems=all_shards("problems"),
        rollouts=all_shards("rollouts"),
        code=modules("measure_neurons"),
    output:
        measures="results/neurons/{model}/{dataset}/measures.safetensors",
    log:
        "results/logs/measure_neurons/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/measure_neurons/{model}/{dataset}.jsonl"
    priority: FIRST
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=with_weights(1500),
        runtime=more_each_attempt(60),
        gpu=1,
        batch_tokens=config["activations"]["batch_tokens"],
    params:
        settings=section("model interventions.layers"),
        skip="" if FROM_WEIGHTS else "--states-only",
        weights=weights,
        versions=pins("torch", "transformers"),
    shell:
        """
        python -m workflow_scripts.measure_neurons --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --dataset {wildcards.dataset} {params.skip} \
            --batch-tokens {resources.batch_tokens} \
            --output {output.measures} \
            2> >(tee {log} >&2)
        """


rule select_neurons:
    """Select the neurons of every layer, selection, draw and share."""
    input:
        value=selected_from("value_probes", "results/probes/{model}/{dataset}/value.safetensors"),
        final=selected_from("final_probes", "results/probes/{model}/{dataset}/value_final.safetensors"),
        ntp=selected_from("ntp_probes", "results/probes/{model}/{dataset}/ntp.safetensors"),
        measures=selected_from("measures", "results/neurons/{model}/{dataset}/measures.safetensors"),
        code=modules("select_neurons"),
    output:
        neurons="results/neurons/{model}/{dataset}.parquet",
    log:
        "results/logs/select_neurons/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/select_neurons/{model}/{dataset}.jsonl"
    priority: FIRST
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        rows=rows("select_neurons"),
        settings=section(
            "interventions.layers,share,selections,draws,dose_layers,dose_selections,dose_shares,dose_factor_share,seed"
        ),
        versions=pins("torch", "numpy"),
    shell:
        """
        python -m workflow_scripts.select_neurons --params {params.settings:q} \
            --model {wildcards.model} --dataset {wildcards.dataset} \
            --value-probes {input.value} --final-probes {input.final} \
            --ntp-probes {input.ntp} --measures {input.measures} \
            --output {output.neurons} \
            2> >(tee {log} >&2)
        """


rule mask_neurons:
    """Answer the problems of one shard again with neurons of one layer ablated, under every condition of the layer."""
    input:
        problems="results/problems/{dataset}/{shard}.parquet",
        rollouts="results/rollouts/{model}/{dataset}/{shard}.parquet",
        neurons="results/neurons/{model}/{dataset}.parquet",
        measures="results/neurons/{model}/{dataset}/measures.safetensors",
        code=modules("mask_neurons"),
    output:
        responses="results/masked/{model}/{dataset}/{layer}/{shard}.parquet",
        proofs="results/masked/{model}/{dataset}/{layer}/{shard}.proofs.parquet",
    log:
        "results/logs/mask_neurons/{model}/{dataset}/{layer}/{shard}.log",
    benchmark:
        "results/benchmarks/mask_neurons/{model}/{dataset}/{layer}/{shard}.jsonl"
    wildcard_constraints:
        layer="[0-9]+",
    priority: FIRST
    conda:
        ENGINE_ENV
    threads: 1
    resources:
        mem_mb=with_weights(1500),
        runtime=more_each_attempt(120),
        gpu=1,
        batch_size=config["rollouts"]["batch_size"],
        vllm=VLLM,
    params:
        rows=rows("mask_neurons"),
        settings=section(
            "model dataset.answer,response_prefix grading rollouts.engine,max_tokens,temperature,top_p,stop,seed"
            " interventions.n_problems,share,selections,mode,dose_layers,dose_selections,dose_shares,dose_factors,dose_factor_share"
        ),
        weights=weights,
        versions=f"{ENGINE_PINS} {GRADER_PINS}",
    shell:
        """
        python -m workflow_scripts.mask_neurons --params {params.settings:q} --layer {wildcards.layer} --shard {wildcards.shard} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --neurons {input.neurons} --measures {input.measures} --workers {threads} \
            --batch-size {resources.batch_size} --gpus {resources.gpu} --vllm {resources.vllm:q} \
            --output {output.responses} --proofs {output.proofs} \
            2> >(tee {log} >&2)
        """


rule tabulate_interventions:
    """Tabulate what ablating neurons did to accuracy, over all runs."""
    input:
        rollouts=every_shard(shard_file("rollouts"), "interventions", dataset_shards),
        masked=MASKED,
        proofs=[path.replace(".parquet", ".proofs.parquet") for path in MASKED],
        neurons=of_runs("results/neurons/{model}/{dataset}.parquet", "interventions"),
        code=modules("tabulate_interventions"),
    output:
        tables=MASKED_TABLES,
        scores=f"{OUT}/scores/masks.parquet",
    log:
        f"{OUT}/logs/tabulate_interventions.log",
    benchmark:
        f"{OUT}/benchmarks/tabulate_interventions.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        rows=rows("tabulate_interventions"),
        settings=section(
            "pruning.confidence,bootstrap,seed interventions.layers,selections,share,mode,dose_layers,dose_selections,"
            "dose_shares,dose_factors,dose_factor_share"
        ),
        versions=pins("scipy"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.tabulate_interventions --params {params.settings:q} \
            --rollouts {input.rollouts} --masked {input.masked} --proofs {input.proofs} \
            --neurons {input.neurons} --scores {output.scores} \
            --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """


rule plot_dose:
    """Draw the dose-response of interventions."""
    input:
        table=f"{OUT}/tables/dose_response.parquet",
        code=modules("plot_dose"),
    output:
        figures=DOSE_FIGURES,
    log:
        f"{OUT}/logs/plot_dose.log",
    benchmark:
        f"{OUT}/benchmarks/plot_dose.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        rows=rows("plot_dose"),
        settings=section("figures.dose"),
        versions=pins("matplotlib"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.plot_dose --params {params.settings:q} \
            --table {input.table} --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """
