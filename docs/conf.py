"""Settings of the manual's site: `make docs` builds it with Sphinx."""

project = "Seat Sync"
author = "The Seat Sync authors"
copyright = "2026, the Seat Sync authors"

extensions = ["myst_parser"]
exclude_patterns = ["_build"]

myst_heading_anchors = 4
html_theme = "furo"
html_title = "Seat Sync"
html_copy_source = False
html_show_sourcelink = False
