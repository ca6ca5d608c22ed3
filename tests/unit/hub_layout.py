"""The six benchmarks of the paper, from real copies, laid out as `studies/paper.yaml` expects to find them."""

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from workflow_scripts.lib.problems.records import file_records

DATA = Path("../shared/data")
STUDY = yaml.safe_load(Path("studies/paper.yaml").read_text())
COPIES = {
    "gsm8k": "gsm8k_test",
    "math500": "math500",
    "arc": "arc_challenge_test",
    "minerva_math": "minerva_math",
    "mbpp_plus": "mbppplus",
    "ifeval": "ifeval",
}


def records(copy: str) -> list[dict[str, Any]]:
    """All records of one of the copies."""
    return [record for _, record in file_records(DATA / f"{copy}.jsonl.gz")]


def hub_records(name: str) -> list[dict[str, Any]]:
    """The records of a benchmark in the form in which the hub keeps it; only ARC's differs from its authors'."""
    if name != "arc":
        return records(COPIES[name])
    found = []
    for record in records(COPIES[name]):
        choices = record["question"]["choices"]
        lists = {key: [choice[key] for choice in choices] for key in ("text", "label")}
        found.append({"id": record["id"], "question": record["question"]["stem"], "choices": lists})
        found[-1]["answerKey"] = record["answerKey"]
    return found


def local_entry(name: str, folder: Path) -> dict[str, Any]:
    """The study's entry of a benchmark, with the hub's data set laid out in `folder`, or the address of the copy."""
    entry = dict(STUDY["datasets"][name])
    if entry["source"] == "file":
        return entry | {"url": (DATA / f"{COPIES[name]}.jsonl.gz").resolve().as_uri()}
    subset, part = entry.get("subset", "default"), entry.get("hub_split", "test")
    (folder / subset).mkdir(parents=True)
    frame = pl.DataFrame(hub_records(name), infer_schema_length=None)
    frame.write_parquet(folder / subset / f"{part}-00000-of-00001.parquet")
    files = {"config_name": subset, "data_files": [{"split": part, "path": f"{subset}/{part}-*"}]}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': [files]})}---\n")
    return entry | {"path": str(folder), "revision": None}
