"""Results in the formats of other tools, a file a format; streamed, whatever their size."""
