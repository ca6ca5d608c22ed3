"""Hidden states of the model while it reads its own responses.

Needs rollouts and the model's files.
Gives `results/activations/{model}/{dataset}/{shard}.safetensors`: every configured layer at every state of every
response.
"""


rule dump_activations:
    """Dump the hidden states of the responses of one shard."""
    input:
        rollouts="results/rollouts/{model}/{dataset}/{shard}.parquet",
        code=modules("dump_activations"),
    output:
        activations="results/activations/{model}/{dataset}/{shard}.safetensors",
    log:
        "results/logs/dump_activations/{model}/{dataset}/{shard}.log",
    benchmark:
        "results/benchmarks/dump_activations/{model}/{dataset}/{shard}.jsonl"
    priority: FIRST
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=with_weights(1500),
        runtime=more_each_attempt(60),
        gpu=1,
        batch_tokens=config["activations"]["batch_tokens"],
    params:
        settings=section("model activations.layers,dtype"),
        weights=weights,
        versions=pins("torch", "transformers"),
    shell:
        """
        python -m workflow_scripts.dump_activations --params {params.settings:q} \
            --rollouts {input.rollouts} --dataset {wildcards.dataset} --shard {wildcards.shard} \
            --batch-tokens {resources.batch_tokens} \
            --output {output.activations} \
            2> >(tee {log} >&2)
        """
