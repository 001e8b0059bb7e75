"""Scheduled batches: a folder of slides every night, and in the morning each is done, or waits
with a reason."""
