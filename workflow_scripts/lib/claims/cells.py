"""Cells of claims: those of `statistics.cells`, which tables average too."""

from workflow_scripts.lib.statistics.cells import Cell, Draws, Members, Run, average

__all__ = ["Cell", "Draws", "Members", "Run", "average"]
