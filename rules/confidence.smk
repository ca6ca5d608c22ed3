"""Predict from the question alone whether the answer will be correct.

Needs problems, rollouts, activations, value probes and the model's files.
Gives `results/confidence/{model}/{dataset}/{shard}.parquet` (what the model says of its confidence),
`results/confidence/{model}/{dataset}.parquet` with `{dataset}/choices.parquet` (scores of every method and what was
chosen), tables and the reliability diagram.
"""

ASKED = every_shard(shard_file("confidence"), "confidence", dataset_shards)
CONFIDENCE_TABLES = tables("table3", "confidence_contrasts", "reliability")
CONFIDENCE_FIGURES = figures("reliability")
PILOT = config["confidence"]["verbal_pilot"]


rule ask_confidence:
    """Ask the model for its confidence in the problems of one shard, and read that of its first token."""
    input:
        problems="results/problems/{dataset}/{shard}.parquet",
        rollouts="results/rollouts/{model}/{dataset}/{shard}.parquet",
        pilot=shards("problems", lambda w: dataset_shards(w.dataset, stop=PILOT) if PILOT else []),
        code=modules("ask_confidence"),
    output:
        asked="results/confidence/{model}/{dataset}/{shard}.parquet",
    log:
        "results/logs/ask_confidence/{model}/{dataset}/{shard}.log",
    benchmark:
        "results/benchmarks/ask_confidence/{model}/{dataset}/{shard}.jsonl"
    conda:
        ENGINE_ENV
    threads: 1
    resources:
        mem_mb=with_weights(1500),
        runtime=more_each_attempt(60),
        gpu=1,
        batch_size=config["rollouts"]["batch_size"],
        vllm=VLLM,
    params:
        settings=section(
            "model dataset.template rollouts.engine,temperature,top_p,stop"
            " confidence.verbal_tries,verbal_tokens,verbal_pilot,seed"
        ),
        weights=weights,
        versions=ENGINE_PINS,
    shell:
        """
        python -m workflow_scripts.ask_confidence --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} --shard {wildcards.shard} \
            --pilot {input.pilot} \
            --batch-size {resources.batch_size} --gpus {resources.gpu} --vllm {resources.vllm:q} \
            --output {output.asked} \
            2> >(tee {log} >&2)
        """


rule predict_confidence:
    """Score every response by every method, all choices and fits but one made on the training part."""
    input:
        problems=all_shards("problems"),
        rollouts=all_shards("rollouts"),
        activations=all_shards("activations"),
        probes="results/probes/{model}/{dataset}/value.safetensors",
        asked=all_shards("confidence"),
        code=modules("predict_confidence"),
    output:
        predictions="results/confidence/{model}/{dataset}.parquet",
        choices="results/confidence/{model}/{dataset}/choices.parquet",
    log:
        "results/logs/predict_confidence/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/predict_confidence/{model}/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=with_inputs(1000),
        runtime=more_each_attempt(120),
        gpu=1,
    params:
        rows=rows("predict_confidence", targets=[config["value_probes"]["target"]]),
        settings=section("confidence.layers,folds,seed pruning.ratios"),
        versions=pins("torch", "scikit-learn"),
    shell:
        """
        python -m workflow_scripts.predict_confidence --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --activations {input.activations} --probes {input.probes} --asked {input.asked} \
            --output {output.predictions} --choices {output.choices} \
            2> >(tee {log} >&2)
        """


rule tabulate_confidence:
    """Tabulate how well each method separates correct from wrong answers, over all runs."""
    input:
        predictions=of_runs("results/confidence/{model}/{dataset}.parquet", "confidence"),
        choices=of_runs("results/confidence/{model}/{dataset}/choices.parquet", "confidence"),
        code=modules("tabulate_confidence"),
    output:
        tables=CONFIDENCE_TABLES,
        scores=f"{OUT}/scores/confidence.parquet",
    log:
        f"{OUT}/logs/tabulate_confidence.log",
    benchmark:
        f"{OUT}/benchmarks/tabulate_confidence.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        rows=rows("tabulate_confidence"),
        settings=section("confidence.bins,strata pruning.confidence,bootstrap,seed"),
        versions=pins("scipy"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.tabulate_confidence --params {params.settings:q} \
            --predictions {input.predictions} --choices {input.choices} --scores {output.scores} \
            --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """


rule plot_reliability:
    """Draw the share of correct answers against the calibrated probability of one."""
    input:
        table=f"{OUT}/tables/reliability.parquet",
        code=modules("plot_reliability"),
    output:
        figures=CONFIDENCE_FIGURES,
    log:
        f"{OUT}/logs/plot_reliability.log",
    benchmark:
        f"{OUT}/benchmarks/plot_reliability.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        rows=rows("plot_reliability"),
        settings=section("figures.reliability"),
        versions=pins("matplotlib"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.plot_reliability --params {params.settings:q} \
            --table {input.table} --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """
