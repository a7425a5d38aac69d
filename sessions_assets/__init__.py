"""Dagster assets that turn raw product events into exact user sessions, however late the events arrive.

Each module is a room with one charter, its docstring. Arrows go one way, and nothing below `resources` knows Dagster.
"""
