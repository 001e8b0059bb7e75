"""The example is a package of its own: its tests run where it is installed."""

collect_ignore = ["example_method"]
