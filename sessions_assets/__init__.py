"""Dagster assets that turn raw product events into exact user sessions, however late the events arrive.

Rooms, from the ground up; arrows go one way and nothing below `resources` knows Dagster:
`events` (what a valid event is), `landing` (where batches lie), `formats` (how files become rows), `sessions` (the
rule), `tables` (names and columns), `ledger` (what was delivered), `lake` (what Spark reads and writes), `numbers`
(what a run did), `deliveries` (how a batch is landed and applied), `resources` (settings), `assets` and `definitions`
(Dagster).
"""
