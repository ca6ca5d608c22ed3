"""Search guided by paragraph scores, beside other uses of as many tokens (paper, Section 5.2, Table 4).

Needs problems, value probes, causal dopamine probes, the model's files and those of the reference model.
Gives `results/search/{model}/{dataset}/{seed}.parquet`: the responses, with all candidates beside, and their tables.
"""

SEARCHED = expand(
    of_runs("results/search/{model}/{dataset}/{{seed}}.parquet", "search"), seed=config["search"]["seeds"]
)
SEARCH_TABLES = tables("table4", "search_contrasts")

# What a method scores with is needed only if the method is configured.
NEEDS = search_methods.needs_of(config["search"]["methods"])
REFERENCE = config["search"]["reference"] if "reference" in NEEDS and config["search"]["runs"] else None


rule guide_search:
    """Answer the validation problems of a run by every method, for one seed."""
    input:
        problems=all_shards("problems"),
        dopamine=("results/probes/{model}/{dataset}/dopamine_causal.safetensors" if "dopamine_probes" in NEEDS else []),
        value="results/probes/{model}/{dataset}/value.safetensors" if "value_probes" in NEEDS else [],
        code=modules("guide_search"),
    output:
        responses="results/search/{model}/{dataset}/{seed}.parquet",
        candidates="results/search/{model}/{dataset}/{seed}.candidates.parquet",
    log:
        "results/logs/guide_search/{model}/{dataset}/{seed}.log",
    benchmark:
        "results/benchmarks/guide_search/{model}/{dataset}/{seed}.jsonl"
    wildcard_constraints:
        seed="[0-9]+",
    priority: FIRST
    conda:
        ENGINE_ENV
    threads: 1
    resources:
        mem_mb=with_weights(2000, REFERENCE),
        runtime=more_each_attempt(240),
        gpu=1,
        batch_size=config["rollouts"]["batch_size"],
        batch_tokens=config["activations"]["batch_tokens"],
        vllm=VLLM,
    params:
        rows=rows("guide_search"),
        settings=section(
            "model dataset.key,template,instruction,response_prefix,answer grading activations.dtype"
            " rollouts.engine,max_tokens,temperature,top_p,stop search.methods,n_problems,layer,candidates"
        ),
        dopamine="--dopamine-probes" if "dopamine_probes" in NEEDS else "",
        value="--value-probes" if "value_probes" in NEEDS else "",
        reference=canonical(entry("model", REFERENCE)) if REFERENCE else "null",
        weights=weights,
        reference_weights=model_identity(config["models"][REFERENCE]["path"]) if REFERENCE else "",
        versions=f"{ENGINE_PINS} {GRADER_PINS}",
    shell:
        """
        python -m workflow_scripts.guide_search --params {params.settings:q} --seed {wildcards.seed} \
            --problems {input.problems} {params.dopamine} {input.dopamine} {params.value} {input.value} \
            --reference {params.reference:q} --workers {threads} \
            --batch-size {resources.batch_size} --gpus {resources.gpu} --vllm {resources.vllm:q} \
            --batch-tokens {resources.batch_tokens} \
            --output {output.responses} --candidates {output.candidates} \
            2> >(tee {log} >&2)
        """


rule tabulate_search:
    """Tabulate Table 4 and the contrasts between methods, over all runs."""
    input:
        responses=SEARCHED,
        code=modules("tabulate_search"),
    output:
        tables=SEARCH_TABLES,
        scores=f"{OUT}/scores/search.parquet",
    log:
        f"{OUT}/logs/tabulate_search.log",
    benchmark:
        f"{OUT}/benchmarks/tabulate_search.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        rows=rows("tabulate_search"),
        settings=section("search.methods,seeds pruning.confidence,bootstrap,seed"),
        versions=pins("scipy"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.tabulate_search --params {params.settings:q} \
            --search {input.responses} --scores {output.scores} \
            --output-dir {params.folder} \
            2> >(tee {log} >&2)
        """
