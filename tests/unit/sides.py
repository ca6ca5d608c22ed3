"""On which side of zero the intervals of a table of differences lie."""

from typing import Any

import polars as pl


def side(row: dict[str, Any]) -> str:
    """`below`, `above`, `both` where the interval holds zero, `none` without one."""
    if row["ci_low"] is None:
        return "none"
    return "below" if row["ci_high"] < 0 else "above" if row["ci_low"] > 0 else "both"


def sides(table: pl.DataFrame) -> list[str]:
    """The side of each row."""
    return [side(row) for row in table.to_dicts()]
