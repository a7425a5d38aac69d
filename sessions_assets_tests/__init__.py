"""Tests of sessions_assets: named cases, a plain reference of the rule, random histories, real Delta and Dagster."""
