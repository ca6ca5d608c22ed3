"""Check a study and start nothing: `python -m workflow_scripts.check_config studies/x.yaml`."""

import argparse

from workflow_scripts.lib.config.read import LOWEST, read_study
from workflow_scripts.lib.errors import run_main


def main(argv: list[str] | None = None) -> None:
    """Read the study that the files make up, and say that it is in order.

    Raises:
        UserError: the first thing that is wrong.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="studies to lay over config.yaml, later ones on top")
    files = parser.parse_args(argv).files
    read_study(files)
    print(f"{' + '.join(dict.fromkeys([LOWEST, *files]))}: in order")


if __name__ == "__main__":
    run_main(main)
