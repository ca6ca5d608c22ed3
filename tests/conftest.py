"""The order of the tests: the longest files first, so that small ones keep every worker busy at the end."""

from pathlib import Path

import pytest

LONGEST = [
    "slurm/test_cluster_study",
    "unit/test_vllm_engine",
    "workflow/test_kill",
    "workflow/test_incremental",
    "slurm/test_cluster_faults",
    "workflow/test_newcomers",
    "workflow/test_study",
    "workflow/test_vllm_study",
    "workflow/test_small_study",
    "workflow/test_own_study",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the longest files to the front; `make test` asks the workers to take files in this order."""
    tests = Path(__file__).parent
    rank = {tests / f"{name}.py": place for place, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in rank)
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
