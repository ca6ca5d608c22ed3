"""The order of the tests: the longest files first, so that small ones keep every worker busy at the end."""

from pathlib import Path

import pytest

LONGEST = [
    "slurm/test_cluster_study",
    "unit/test_vllm_engine",
    "workflow/test_kill",
    "slurm/test_cluster_faults",
    "workflow/test_incremental",
    "unit/test_benchmarks",
    "workflow/test_vllm_study",
    "workflow/test_study",
    "workflow/test_newcomers",
    "unit/test_recorded_answers",
    "unit/test_write_report",
    "workflow/test_damage",
    "unit/test_finetune_reference_model",
    "unit/test_train_base_model",
    "workflow/test_readme_commands",
    "workflow/test_paper_datasets",
    "workflow/test_small_study",
    "unit/test_style",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the longest files to the front; `make test` asks the workers to take files in this order."""
    tests = Path(__file__).parent
    rank = {tests / f"{name}.py": place for place, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in rank)
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
