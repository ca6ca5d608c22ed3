"""The inputs of a study: the project's commit, models, data sets, seeds and hashes of results."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import redact
from workflow_scripts.lib.problems.readers import Problem, content
from workflow_scripts.lib.storage.files import sha256
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.storage.tensors import read_metadata


def commit(folder: Path) -> str | None:
    """Return the commit of a checkout, and whether files that it tracks were changed; None outside a checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    root = git("rev-parse", "--show-toplevel")
    if root is None or Path(root).resolve() != folder.resolve():  # a study's folder may be inside an unrelated checkout
        return None
    head, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    return head and f"{head}, with changes" if changed else head


def without_secrets(value: Any) -> Any:
    """Remove secrets from the texts of the configuration, by `errors.redact`."""
    if isinstance(value, dict):
        return {key: without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def model_facts(models: dict[str, Any], probes: Iterable[Path]) -> list[dict[str, str]]:
    """List path, revision and number format of the used `models`, with the fingerprint stored in their probes."""
    fingerprints: dict[str, str] = {}
    for path in probes:
        metadata = read_metadata(path)
        fingerprints.setdefault(str(metadata.get("model")), str(metadata.get("fingerprint")))
    return [
        {
            "name": name,
            "path": entry["path"],
            "revision": entry.get("revision") or "",
            "dtype": entry["dtype"],
            "fingerprint": fingerprints.get(name, ""),
        }
        for name, entry in models.items()
    ]


def dataset_facts(datasets: dict[str, Any], problems: Iterable[Path]) -> list[dict[str, Any]]:
    """List source and revision of the used data sets, with the SHA-256 of their problems, from all shards."""
    facts = []
    shards: dict[str, list[Path]] = {}
    for path in problems:
        shards.setdefault(path.parent.name, []).append(path)
    for name, paths in shards.items():
        entry, table = datasets[name], read_parquet(paths)
        used = table.select("problem_id", "question", "gold", "spec", "place").iter_rows()
        facts.append(
            {
                "name": name,
                "source": entry["source"],
                "place": entry["path"] or entry["url"] or entry["task"] or "",
                "revision": entry["revision"] or "",
                "n_problems": entry["n_problems"],
                "content": content(Problem(*row) for row in used),
            }
        )
    return facts


def seeds(config: dict[str, Any]) -> list[tuple[str, str]]:
    """List every seed of the configuration, by its dotted name; no recipe of a reference model is part of a study."""
    return [
        (f"{section}.{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for section, entries in config.items()
        if isinstance(entries, dict) and section != "reference_models"
        for key, value in entries.items()
        if "seed" in key
    ]


def hashes(paths: Iterable[Path]) -> list[tuple[str, int, str]]:
    """List path, bytes and SHA-256 of files."""
    return [(str(path), path.stat().st_size, sha256(path)) for path in paths]
