"""Published results, opened and asked; only this package imports duckdb."""
