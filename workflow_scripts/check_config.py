"""Check configuration files and start nothing: `python -m workflow_scripts.check_config config.yaml studies/x.yaml`."""

import argparse
from typing import Any

from workflow_scripts.lib.config.check import check
from workflow_scripts.lib.config.study import merge, read_yaml
from workflow_scripts.lib.errors import run_main


def main(argv: list[str] | None = None) -> None:
    """Merge the files, check the result, and say that it is in order.

    Raises:
        UserError: the first thing that is wrong.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", default=["config.yaml"], help="configuration files, later ones on top")
    files = parser.parse_args(argv).files
    config: dict[str, Any] = {}
    for path in files:
        config = merge(config, read_yaml(path) or {})
    check(config, files)
    print(f"{' + '.join(files)}: in order")


if __name__ == "__main__":
    run_main(main)
