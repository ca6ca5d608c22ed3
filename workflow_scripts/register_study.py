"""Freeze a study before it runs: `make register STUDY=studies/mine.yaml` writes `registrations/<study>.json`.

The file holds claims with margins, tests, configuration with all seeds, versions, and a hash over them. Commit or post
it; the report then lists every deviation from it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.claims.registration import FOLDER, deviations, read, registration, results_of
from workflow_scripts.lib.config.plain import read_yaml
from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.storage.files import atomic_path


def main(argv: Sequence[str] | None = None) -> None:
    """Write the registration.

    Raises:
        UserError: the configuration is refused, or the study is registered otherwise already.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="studies to lay over config.yaml, later ones on top")
    parser.add_argument("--claims", type=Path, default=Path("resources/published/claims.yaml"))
    arguments = parser.parse_args(argv)
    config = read_study(arguments.files)
    seen = results_of(config)
    frozen = registration(config, read_yaml(arguments.claims)["claims"], seen)
    path = FOLDER / f"{config['study']}.json"
    if path.exists():
        before = read(path)
        if deviations(before, frozen) != deviations(before, before):
            raise UserError(f"{path}: the study is registered with other content; delete the file to register it anew")
        frozen, seen = before, []
    for there in seen:
        print(f"warning: {there} is there already; the report will say so", file=sys.stderr)
    with atomic_path(path) as file:
        file.write_text(json.dumps(frozen, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path}: {frozen['hash']}\nCommit or post it before the study runs.")


if __name__ == "__main__":
    run_main(main)
