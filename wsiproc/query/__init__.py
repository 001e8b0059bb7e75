"""Questions to published results; only this package imports duckdb."""
