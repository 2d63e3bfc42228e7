"""Every row, in the order of the report: the goals first, then the general matrix."""

from __future__ import annotations

from harness.row import Row

from . import building, cask, collector, iteration, lookup, matrix, memory, native, shared, shared_processes, small, structural, writing

ROWS: tuple[Row, ...] = tuple(
    row()
    for module in (
        lookup,
        writing,
        building,
        iteration,
        memory,
        structural,
        collector,
        small,
        native,
        shared,
        shared_processes,
        cask,
        matrix,
    )
    for row in module.ROWS
)
BY_NAME: dict[str, Row] = {row.name: row for row in ROWS}
