"""Files of scores: what is written part by part is read back, in few bytes, by any reader of Parquet."""

import json
import weakref
from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.probes.scores import COLUMNS, NO_DRAW, POSITIONS, About, Key, entries, part_frame, read_scores
from workflow_scripts.lib.storage.row_groups import read_groups, write_groups
from workflow_scripts.lib.storage.tables import read_parquet

RUN = {"model": "m", "dataset": "d"}


def about(
    layers: int, positions: tuple[str, ...], ratios: list[float], seeds: int, shuffled: int, draws: int, again: bool
) -> About:
    """What a file of so many layers, ratios, seeds and draws says."""
    keys: list[Key] = [{"layer": layer} for layer in range(layers)]
    if positions:
        keys = [{**key, "position": position} for key in keys for position in positions]
    columns = entries(range(seeds), range(shuffled), draws, again)
    return About(keys, ratios, [9 - i for i in range(len(ratios))], columns, None)


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize(
    ("layers", "positions", "seeds", "shuffled", "draws", "again"),
    [(1, (), 1, 0, 1, False), (3, (), 3, 2, 4, True), (2, POSITIONS, 2, 3, 5, True), (2, POSITIONS, 1, 1, 2, False)],
)
def test_what_is_written_is_read(tmp_path, n, layers, positions, seeds, shuffled, draws, again):
    wanted = about(layers, positions, [0.9, 0.0, 0.5], seeds, shuffled, draws, again)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, n)
    units = pl.DataFrame(
        {"problem_id": [f"p{i}" for i in range(n)], "sample": [0] * n, "reward": truth.astype(np.int8)},
        schema={"problem_id": pl.String, "sample": pl.Int64, "reward": pl.Int8},
    )
    drawn = [
        {name: rng.normal(size=(3, len(of), n)).astype(np.float32) for name, of in wanted.entries.items()}
        for _ in wanted.parts
    ]
    frames = [part_frame(wanted, key, units, columns) for key, columns in zip(wanted.parts, drawn, strict=True)]
    path = tmp_path / "scores.parquet"
    write_groups(iter(frames), path, wanted.metadata("value", RUN))
    found, parts = read_scores(path, "value")
    assert found == wanted
    listed = list(parts)
    assert [part.key for part in listed] == wanted.parts and len(listed) == layers * max(1, len(positions))
    for part, columns in zip(listed, drawn, strict=True):
        assert part.problem_ids == units["problem_id"].to_list()
        np.testing.assert_array_equal(part.truth, truth)
        assert part.columns.keys() == columns.keys()
        for name, scores in columns.items():
            np.testing.assert_array_equal(part.columns[name], scores)
    table = read_parquet(path)
    assert table.equals(pl.concat(frames)) and len(table) == len(wanted.parts) * 3 * n
    assert table.columns == [*wanted.parts[0], "prune_ratio", "n_kept", *units.columns, *COLUMNS]
    assert table["retrained"].null_count() == (0 if again else len(table))


def test_entries_are_named_as_the_pruning_tables_name_probes():
    assert entries([3, 4], [5], 2, True) == {
        "true": [{"labels": "true", "seed": seed, "kept": "importance", "draw": NO_DRAW} for seed in (3, 4)],
        "shuffled": [{"labels": "shuffled", "seed": 5, "kept": "importance", "draw": NO_DRAW}],
        "random": [
            {"labels": "true", "seed": seed, "kept": "random", "draw": draw} for draw in (0, 1) for seed in (3, 4)
        ],
        "retrained": [{"labels": "true", "seed": seed, "kept": "retrained", "draw": NO_DRAW} for seed in (3, 4)],
    }


def many(count: int, rows: int) -> Iterator[pl.DataFrame]:
    """Parts of scores that have much in common, as those of one response have."""
    rng = np.random.default_rng(0)
    for layer in range(count):
        scores = rng.normal(size=(rows, 1)) + 0.3 * rng.normal(size=(rows, 66))
        lists = pl.Series("random", scores.astype(np.float32)).arr.to_list()
        yield pl.DataFrame({"layer": [layer] * rows, "random": lists})


def test_a_score_takes_less_than_four_bytes(tmp_path):
    path = tmp_path / "scores.parquet"
    write_groups(many(2, 3000), path, {})
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    assert "BYTE_STREAM_SPLIT" in column.encodings and column.compression == "ZSTD"
    assert path.stat().st_size < 3.6 * 2 * 3000 * 66


def test_one_part_at_a_time_is_in_memory(tmp_path):
    """The one that was just written is let go when the next is there."""
    path, made, most = tmp_path / "scores.parquet", [], 0

    def parts() -> Iterator[pl.DataFrame]:
        nonlocal most
        for part in many(6, 10):
            made.append(weakref.ref(part))
            most = max(most, sum(one() is not None for one in made))
            yield part

    write_groups(parts(), path, {})
    assert len(made) == 6 and most <= 2
    assert [len(part) for part in read_groups(path)] == [10] * 6


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    def parts() -> Iterator[pl.DataFrame]:
        yield from many(1, 3)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_groups(parts(), tmp_path / "scores.parquet", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "scores.parquet"
    write_groups(many(3, 10), path, {"kind": json.dumps("value_scores")})
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-7])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(UserError, match=r"scores\.parquet: not a readable Parquet file .*; delete it and run again"):
        list(read_groups(path))
