"""Rule `fetch_records`: fetch the file of a data set from its address; refuse it if its SHA-256 differs."""

import argparse
import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.problems.records import content_sha256
from workflow_scripts.lib.storage.files import atomic_path

SECONDS = 60


def fetch(url: str, sha256: str | None, output: str | Path) -> None:
    """Copy the file at `url` to `output`, whole or not at all.

    Raises:
        UserError: it cannot be fetched, or its content (unpacked, if it is a .gz) has another SHA-256 than given.
    """
    with atomic_path(output) as temporary:
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target)
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(f"{url}: cannot be fetched ({reason}); check the address and the network") from error
        if sha256 is not None and (actual := content_sha256(temporary)) != sha256:
            raise UserError(
                f"{url}: its content has SHA-256 {actual}, not {sha256}; it has changed: check it before use"
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: dataset (url, sha256)")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    dataset = load(arguments.params).dataset
    fetch(str(dataset.url), dataset.sha256, arguments.output)


if __name__ == "__main__":
    run_main(main)
