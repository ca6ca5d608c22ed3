"""Monte-Carlo values of the states at paragraph boundaries, and their TD errors.

Needs problems, rollouts and the model's files.
Gives `results/values/{model}/{dataset}.parquet`: values and TD errors with intervals, one row per boundary.
"""


rule segment_paragraphs:
    """Find the paragraphs of the responses of one shard as spans of tokens."""
    input:
        rollouts=shards("rollouts", source_shards),
        problems=shards("problems", source_shards),
        code=modules("segment_paragraphs"),
    output:
        paragraphs="results/paragraphs/{model}/{dataset}/{shard}.parquet",
    log:
        "results/logs/segment_paragraphs/{model}/{dataset}/{shard}.log",
    benchmark:
        "results/benchmarks/segment_paragraphs/{model}/{dataset}/{shard}.jsonl"
    priority: FIRST
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("model values.n_problems,shard_size"),
        weights=weights,
        versions=pins("transformers", "tokenizers"),
    shell:
        """
        python -m workflow_scripts.segment_paragraphs --params {params.settings:q} \
            --shard {wildcards.shard} --problems {input.problems} --rollouts {input.rollouts} \
            --output {output.paragraphs} \
            2> >(tee {log} >&2)
        """


rule continue_paragraphs:
    """Sample continuations from every paragraph boundary of one shard and grade them."""
    input:
        problems=shards("problems", source_shards),
        rollouts=shards("rollouts", source_shards),
        paragraphs="results/paragraphs/{model}/{dataset}/{shard}.parquet",
        code=modules("continue_paragraphs"),
    output:
        continuations="results/continuations/{model}/{dataset}/{shard}.parquet",
    log:
        "results/logs/continue_paragraphs/{model}/{dataset}/{shard}.log",
    benchmark:
        "results/benchmarks/continue_paragraphs/{model}/{dataset}/{shard}.jsonl"
    priority: FIRST
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
        rows=rows("continue_paragraphs"),
        settings=section(
            "model dataset.answer,response_prefix grading rollouts.engine,max_tokens,temperature,top_p,stop"
            " values.n_problems,shard_size,n_continuations,adaptive,seed"
        ),
        weights=weights,
        versions=f"{ENGINE_PINS} {GRADER_PINS}",
    shell:
        """
        python -m workflow_scripts.continue_paragraphs --params {params.settings:q} \
            --shard {wildcards.shard} --problems {input.problems} --rollouts {input.rollouts} \
            --paragraphs {input.paragraphs} --workers {threads} \
            --batch-size {resources.batch_size} --gpus {resources.gpu} --vllm {resources.vllm:q} \
            --output {output.continuations} \
            2> >(tee {log} >&2)
        """


rule estimate_values:
    """Estimate the value of every boundary and the TD error of every paragraph."""
    input:
        rollouts=valued_shards("rollouts"),
        paragraphs=valued_shards("paragraphs"),
        continuations=valued_shards("continuations"),
        code=modules("estimate_values"),
    output:
        values="results/values/{model}/{dataset}.parquet",
    log:
        "results/logs/estimate_values/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/estimate_values/{model}/{dataset}.jsonl"
    priority: FIRST
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("values.gamma,min_abs_delta,n_continuations,adaptive"),
    shell:
        """
        python -m workflow_scripts.estimate_values --params {params.settings:q} \
            --rollouts {input.rollouts} --paragraphs {input.paragraphs} \
            --continuations {input.continuations} \
            --output {output.values} \
            2> >(tee {log} >&2)
        """
