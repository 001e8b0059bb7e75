"""A result in a browser: a page served to this machine alone; only this package imports starlette.

::

    page (static/)  --- columns, outlines, tiles --->  app  --->  query.results, slide

The page holds a number for each nucleus of the columns it colours and filters by, so that neither
asks the server.  Outlines come by chunks of rows, for the window one looks at.
"""
