"""Dagster assets that turn raw product events into exact user sessions, however late the events arrive.

Each module states its purpose in its docstring. Imports go down the layers listed in `pyproject.toml`; only `dagster/`,
`definitions` and `deploy/run_launcher` know Dagster.
"""
