"""A study registered before it runs: its claims, tests, configuration and versions in one file with a hash.

Who commits or posts the file can show later that no margin, test or setting followed the data; the report lists every
deviation from it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.lib.claims.paper_claims import TESTS
from workflow_scripts.lib.errors import UserError, clip

FOLDER = Path("registrations")
PACKAGES = ("claims", "statistics")
"""Packages whose code decides verdicts."""
LOCK = Path("envs/run.txt")
SEEN = "results_seen"
"""The entry that lists results which were there when a study was registered."""


def registration(
    config: Mapping[str, Any], claims: Sequence[Mapping[str, Any]], seen: Sequence[Path] = ()
) -> dict[str, Any]:
    """Collect what a registration freezes.

    Args:
        config: the study, complete; sizes of models are for planning and left out.
        claims: the entries of `resources/published/claims.yaml`.
        seen: results of the study that are there already (`results_of`), after which nothing is registered beforehand.
    """
    models = {name: {k: v for k, v in entry.items() if k != "size"} for name, entry in config["models"].items()}
    content = {
        "study": config["study"],
        "claims": {entry["key"]: dict(entry) for entry in claims},
        "tests": {key: test.words for key, test in TESTS.items()},
        "code": code(),
        "configuration": {name: value for name, value in config.items() if name != "left_out"} | {"models": models},
        "versions": dict(pinned(LOCK.read_text(encoding="utf-8"))),
        SEEN: [str(path) for path in seen],
    }
    content = json.loads(json.dumps(content))
    return {"hash": hash_of(content), **content}


def results_of(config: Mapping[str, Any]) -> list[Path]:
    """List what is there already of the results that verdicts follow from: claims, and scores of the study's runs."""
    folder = Path("results") if config["study"] == "default" else Path("results/studies", config["study"])
    scores = [Path("results/scores", run, "value.parquet") for run in config["value_probes"]["runs"]]
    return [path for path in (folder / "tables" / "claims.csv", *scores) if path.exists()]


def code() -> dict[str, str]:
    """Return the hash of every module that decides verdicts."""
    package = Path(__file__).parents[1]
    files = sorted(path for name in PACKAGES for path in (package / name).glob("*.py"))
    return {str(path.relative_to(package)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pinned(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and version of each library that a lock file pins."""
    for line in text.splitlines():
        name, pinned, version = line.split("#")[0].split(";")[0].partition("==")
        if pinned:
            yield name.strip(), version.strip().removesuffix("\\").strip()


def hash_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of a registration without its hash."""
    stated = {name: value for name, value in content.items() if name != "hash"}
    return hashlib.sha256(json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read(path: Path) -> dict[str, Any]:
    """Read a registration.

    Raises:
        UserError: it is damaged or was changed after it was made.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a registration; restore the file that was registered") from error
    if not isinstance(content, dict) or content.get("hash") != hash_of(content):
        raise UserError(f"{path}: was changed after it was made; restore the file that was registered")
    return content


def deviations(registered: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List every value that differs from the registered one, as `place: registered, now`.

    That results were there when the study was registered stands first: then they may have been seen.
    """
    seen, aside = registered.get(SEEN), ("hash", SEEN)
    before, after = ({k: v for k, v in one.items() if k not in aside} for one in (registered, now))
    known = [f"registered when results were there: {', '.join(seen)}"] if seen else []
    return [*known, *_differences("", before, after)]


def _differences(place: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *(name for name in now if name != "hash" or place)]):
            yield from _differences(f"{place}.{key}" if place else key, before.get(key, ...), now.get(key, ...))
    elif before != now:
        yield f"{place}: {_shown(before)}, now {_shown(now)}"


def _shown(value: Any) -> str:
    return "nothing" if value is ... else clip(json.dumps(value, ensure_ascii=False))
