"""Dask: the pipeline's three functions as tasks, for one slide or many interleaved.

============  =====================================================================
`_run`        how far one slide has come, and what follows; knows no Dask
`_sources`    where slides come from while others are at work; knows no Dask
`_driver`     what goes out next, of all slides
`_orders`     what a worker is asked for, and the doing of it: the pipeline's functions
`_tasks`      that on a worker, and the watchdog beside it
`_alone`      that in a process of its own, for what is under suspicion
`_crews`      the workers: a thread, processes of this machine, a scheduler elsewhere
============  =====================================================================

The driver sends a job and two numbers and gets a receipt back; it never opens a slide.  A few
tiles a worker are in flight, the rest wait here, so the scheduler holds nothing that grows with
the slide, and nothing of it is needed to go on later: that is in the fragments.
"""

from wsiproc.cluster._alone import where
from wsiproc.cluster._driver import run_slides
from wsiproc.cluster._run import Done, Failed, Identified, Outcome
from wsiproc.cluster._sources import Begin, Source

__all__ = ["Begin", "Done", "Failed", "Identified", "Outcome", "Source", "run_slides", "where"]
