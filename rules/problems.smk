"""Problems of a data set, one file per data set.

Needs the `datasets` entries of the configuration and the files they name.
Gives `results/problems/{dataset}.parquet`: id, position, question, right answer, part of the split.
"""


rule prepare_problems:
    """Read or make the problems of a data set and divide them into training and validation part."""
    input:
        records=lambda w: config["datasets"][w.dataset]["path"] or [],
        code=modules("prepare_problems"),
    output:
        problems="results/problems/{dataset}.parquet",
    log:
        "results/logs/prepare_problems/{dataset}.log",
    benchmark:
        "results/benchmarks/prepare_problems/{dataset}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        settings=section("dataset.key,source,task,path,fields,n_problems split"),
    shell:
        """
        python -m workflow_scripts.prepare_problems --params {params.settings:q} \
            --output {output.problems} \
            2> >(tee {log} >&2)
        """
