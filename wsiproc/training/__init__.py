"""What methods train with; needs torch (`pip install 'wsiproc[train]'`), import the parts."""
