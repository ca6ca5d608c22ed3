"""Every probe: value probes on token states, next-token probes, dopamine probes on paragraphs.

Needs problems, rollouts, activations and, for dopamine probes, paragraphs and values.
Gives `results/probes/{model}/{dataset}/{value,value_final,ntp,dopamine,dopamine_causal}.safetensors`: the probes of all
layers and seeds in one file each. Which of them a study makes depends on its interventions and its search.
"""

# A step is scored before the rest of the response is there, so its probe must be trained on features of what was there.
CAUSAL = {key: value for key, value in config["dopamine_probes"].items() if key != "runs"}
CAUSAL |= {"normalization": "causal", "shuffled_seeds": []}


rule train_value_probes:
    """Train the value probes of all layers and seeds at once."""
    input:
        problems=all_shards("problems"),
        rollouts=all_shards("rollouts"),
        activations=all_shards("activations"),
        code=modules("train_value_probes"),
    output:
        probes="results/probes/{model}/{dataset}/value.safetensors",
    log:
        "results/logs/train_value_probes/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/train_value_probes/{model}/{dataset}.jsonl"
    priority: FIRST
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=with_inputs(1000),
        runtime=more_each_attempt(120),
        gpu=1,
    params:
        rows=rows("train_value_probes", targets=[config["value_probes"]["target"]]),
        settings=section("value_probes"),
        options="",
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.train_value_probes --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --activations {input.activations} {params.options} \
            --output {output.probes} \
            2> >(tee {log} >&2)
        """


# Value probes on the last state of each response alone (paper, Appendix A), true labels alone: the same module.
use rule train_value_probes as train_final_probes with:
    output:
        probes="results/probes/{model}/{dataset}/value_final.safetensors",
    log:
        "results/logs/train_final_probes/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/train_final_probes/{model}/{dataset}.jsonl"
    params:
        settings=section(
            "value_probes.td_gradient,td_lambda,gamma,input_scaling,hidden,epochs,batch_size,learning_rate,weight_decay,seeds"
        ),
        rows=rows("train_value_probes", targets=["final"]),
        options=f"--target final --true-labels-only --layers {' '.join(map(str, config['interventions']['layers']))}",


rule train_ntp_probes:
    """Train the probes of next tokens, one a layer."""
    input:
        problems=all_shards("problems"),
        rollouts=all_shards("rollouts"),
        activations=all_shards("activations"),
        code=modules("train_ntp_probes"),
    output:
        probes="results/probes/{model}/{dataset}/ntp.safetensors",
    log:
        "results/logs/train_ntp_probes/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/train_ntp_probes/{model}/{dataset}.jsonl"
    priority: FIRST
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=with_inputs(1000),
        runtime=more_each_attempt(120),
        gpu=1,
    params:
        settings=section("model.key,path,revision,trust_remote_code interventions.layers ntp_probes"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.train_ntp_probes --params {params.settings:q} \
            --problems {input.problems} --rollouts {input.rollouts} \
            --activations {input.activations} \
            --output {output.probes} \
            2> >(tee {log} >&2)
        """


rule average_paragraphs:
    """Normalise hidden states within each response and average them over each paragraph."""
    input:
        activations=valued_shards("activations"),
        paragraphs=valued_shards("paragraphs"),
        values="results/values/{model}/{dataset}.parquet",
        problems=valued_shards("problems"),
        code=modules("average_paragraphs"),
    output:
        features="results/features/{model}/{dataset}.safetensors",
    log:
        "results/logs/average_paragraphs/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/average_paragraphs/{model}/{dataset}.jsonl"
    priority: FIRST
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=with_inputs(1000),
        runtime=more_each_attempt(60),
        gpu=0,
    params:
        settings=section("dopamine_probes.normalization"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.average_paragraphs --params {params.settings:q} \
            --activations {input.activations} --paragraphs {input.paragraphs} \
            --values {input.values} --problems {input.problems} \
            --output {output.features} \
            2> >(tee {log} >&2)
        """


# Averages of causally normalised states, for scores of steps whose future is not there yet: the same module.
use rule average_paragraphs as average_causal_paragraphs with:
    output:
        features="results/features/{model}/{dataset}/causal.safetensors",
    log:
        "results/logs/average_causal_paragraphs/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/average_causal_paragraphs/{model}/{dataset}.jsonl"
    params:
        settings=canonical({"dopamine_probes": {"normalization": "causal"}}),


rule train_dopamine_probes:
    """Train the dopamine probes of all layers and seeds at once."""
    input:
        features="results/features/{model}/{dataset}.safetensors",
        problems=valued_shards("problems"),
        code=modules("train_dopamine_probes"),
    output:
        probes="results/probes/{model}/{dataset}/dopamine.safetensors",
    log:
        "results/logs/train_dopamine_probes/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/train_dopamine_probes/{model}/{dataset}.jsonl"
    priority: FIRST
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(120),
        gpu=1,
    params:
        rows=rows("train_dopamine_probes"),
        settings=section("dopamine_probes"),
        versions=pins("torch"),
    shell:
        """
        python -m workflow_scripts.train_dopamine_probes --params {params.settings:q} \
            --features {input.features} --problems {input.problems} \
            --output {output.probes} \
            2> >(tee {log} >&2)
        """


# Dopamine probes on causal features, true labels alone: the same module.
use rule train_dopamine_probes as train_causal_probes with:
    input:
        features="results/features/{model}/{dataset}/causal.safetensors",
        problems=valued_shards("problems"),
        code=modules("train_dopamine_probes"),
    output:
        probes="results/probes/{model}/{dataset}/dopamine_causal.safetensors",
    log:
        "results/logs/train_causal_probes/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/train_causal_probes/{model}/{dataset}.jsonl"
    params:
        settings=canonical({"dopamine_probes": CAUSAL}),
