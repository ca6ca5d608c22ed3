"""Problems of a data set, one file per shard.

Needs the `datasets` entries of the configuration and the files, addresses or data sets of the hub that they name.
Gives `results/problems/{dataset}/{shard}.parquet`: id, position, question, correct answer, part of the split.
"""

from workflow_scripts.lib.problems.records import record_files, shard_identity


rule fetch_records:
    """Fetch the file of a data set that names an address."""
    input:
        code=modules("fetch_records"),
    output:
        records="results/fetched/{dataset}/records.{ending}",
    log:
        "results/logs/fetch_records/{dataset}.{ending}.log",
    benchmark:
        "results/benchmarks/fetch_records/{dataset}.{ending}.jsonl"
    wildcard_constraints:
        ending="jsonl|jsonl[.]gz|parquet",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(30),
        gpu=0,
    params:
        settings=section("dataset.url,sha256"),
    shell:
        """
        python -m workflow_scripts.fetch_records --params {params.settings:q} \
            --output {output.records} \
            2> >(tee {log} >&2)
        """


rule prepare_problems:
    """Read or make the problems of a data set, and divide those of one shard into training and validation part."""
    input:
        records=lambda w: [
            # what a shard reads of a file of one's own is a parameter below: a file that grows adds shards
            ancient(file) if file == config["datasets"][w.dataset]["path"] else file
            for file in record_files(w.dataset, config["datasets"][w.dataset])
        ],
        code=modules("prepare_problems"),
    output:
        problems="results/problems/{dataset}/{shard}.parquet",
    log:
        "results/logs/prepare_problems/{dataset}/{shard}.log",
    benchmark:
        "results/benchmarks/prepare_problems/{dataset}/{shard}.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(1000),
        runtime=more_each_attempt(10),
        gpu=0,
    params:
        rows=rows("prepare_problems"),
        settings=section(
            "dataset.key,source,task,path,sha256,revision,subset,hub_split,fields,gold_in,n_problems,shard_size,content,answer split"
        ),
        content=lambda w: shard_identity(config["datasets"][w.dataset], int(w.shard)),
        records=lambda w, input: [f"--records={file}" for file in input.records],
    shell:
        """
        python -m workflow_scripts.prepare_problems --params {params.settings:q} \
            {params.records:q} --shard {wildcards.shard} --output {output.problems} \
            2> >(tee {log} >&2)
        """
