"""A result, or a whole batch, on a page that people read, mail and print."""
