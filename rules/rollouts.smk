"""Responses of a model to the problems of a data set, and whether they are right.

Needs problems and the model's files.
Gives `results/rollouts/{model}/{dataset}/{shard}.parquet`: token ids, log-probabilities, text, answer, reward.
"""


rule sample_rollouts:
    """Sample responses to the problems of one shard."""
    input:
        problems="results/problems/{dataset}/{shard}.parquet",
        code=modules("sample_rollouts"),
    output:
        samples="results/samples/{model}/{dataset}/{shard}.parquet",
    log:
        "results/logs/sample_rollouts/{model}/{dataset}/{shard}.log",
    benchmark:
        "results/benchmarks/sample_rollouts/{model}/{dataset}/{shard}.jsonl"
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
            "model dataset.shard_size,template,instruction,response_prefix rollouts.engine,max_tokens,temperature,top_p,n_samples,stop,seed"
        ),
        weights=weights,
        versions=ENGINE_PINS,
    shell:
        """
        python -m workflow_scripts.sample_rollouts --params {params.settings:q} \
            --problems {input.problems} --shard {wildcards.shard} \
            --batch-size {resources.batch_size} --gpus {resources.gpu} --vllm {resources.vllm:q} \
            --output {output.samples} \
            2> >(tee {log} >&2)
        """


rule grade_rollouts:
    """Grade the responses of one shard."""
    input:
        problems="results/problems/{dataset}/{shard}.parquet",
        samples="results/samples/{model}/{dataset}/{shard}.parquet",
        code=modules("grade_rollouts"),
    output:
        rollouts="results/rollouts/{model}/{dataset}/{shard}.parquet",
    log:
        "results/logs/grade_rollouts/{model}/{dataset}/{shard}.log",
    benchmark:
        "results/benchmarks/grade_rollouts/{model}/{dataset}/{shard}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(30),
        gpu=0,
    params:
        rows=rows("grade_rollouts"),
        settings=section("dataset.answer,response_prefix grading"),
        versions=GRADER_PINS,
    shell:
        """
        python -m workflow_scripts.grade_rollouts --params {params.settings:q} \
            --problems {input.problems} --samples {input.samples} --shard {wildcards.shard} --workers {threads} \
            --output {output.rollouts} \
            2> >(tee {log} >&2)
        """
