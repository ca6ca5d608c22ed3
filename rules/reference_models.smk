"""The reference models: trained from seeds, measured on held-out problems, shipped under `resources/models`.

Needs nothing but the configuration.
Gives `results/reference_models/{model}/` (target `train_reference_models`); `make ship-models` puts them in place. The
rule `write_model_card` makes their card from the tables of `studies/model_card.yaml`; `make model-card` puts it beside
them. No study asks for either.
"""

WEIGHTS = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
]


rule train_reference_models:
    """Train all three models from scratch."""
    input:
        expand("results/reference_models/{name}/{file}", name=["base", "grpo", "ppo"], file=WEIGHTS),


rule train_base_model:
    """Train the supervised model, with its tokenizer."""
    input:
        code=modules("train_base_model"),
    output:
        weights=expand("results/reference_models/base/{file}", file=WEIGHTS),
    log:
        "results/logs/train_base_model.log",
    benchmark:
        "results/benchmarks/train_base_model.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(5000),
        runtime=more_each_attempt(120),
        gpu=0,
    params:
        recipe=lambda w: canonical(config["reference_models"]["base"]),
    shell:
        """
        python -m workflow_scripts.train_base_model --params {params.recipe:q} \
            --output results/reference_models/base \
            2> >(tee {log} >&2)
        """


rule finetune_reference_model:
    """Fine-tune a model from `base` by reinforcement learning with verifiable rewards."""
    input:
        base=expand("results/reference_models/base/{file}", file=WEIGHTS),
        code=modules("finetune_reference_model", answer_types=["boxed_integer"]),
    output:
        weights=expand("results/reference_models/{{recipe}}/{file}", file=WEIGHTS),
    log:
        "results/logs/finetune_reference_model/{recipe}.log",
    benchmark:
        "results/benchmarks/finetune_reference_model/{recipe}.jsonl"
    wildcard_constraints:
        recipe="grpo|ppo",
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(5000),
        runtime=more_each_attempt(120),
        gpu=0,
    params:
        rows=rows("finetune_reference_model", answer_types=["boxed_integer"]),
        recipe=lambda w: canonical(config["reference_models"][w.recipe]),
    shell:
        """
        python -m workflow_scripts.finetune_reference_model --params {params.recipe:q} \
            --base results/reference_models/base --output results/reference_models/{wildcards.recipe} \
            2> >(tee {log} >&2)
        """


rule write_model_card:
    """Write the card of the reference models, from the tables of `studies/model_card.yaml`."""
    input:
        tables=TABLES,
        rollouts=ROLLOUTS,
        values=of_runs("results/values/{model}/{dataset}.parquet", "values"),
        code=modules("write_model_card"),
    output:
        card="results/reference_models/README.md",
    log:
        "results/logs/write_model_card.log",
    benchmark:
        "results/benchmarks/write_model_card.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("reference_models rollouts values activations value_probes dopamine_probes"),
        folder=lambda w, input: os.path.dirname(input.tables[0]),
    shell:
        """
        python -m workflow_scripts.write_model_card --params {params.settings:q} \
            --rollouts {input.rollouts} --values {input.values} --tables {params.folder} --output {output.card} \
            2> >(tee {log} >&2)
        """
