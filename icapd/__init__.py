"""icapd: an ICAP (RFC 3507) server that scans what passes through a gateway, inline.

Read ARCHITECTURE.md for the shape; the way of one request goes down the tree once:
`net` → `icap` → `scan` → `worker` → `policy` → `net` → `observe`.
"""

__version__ = "0.1.0"
PRODUCT = f"icapd/{__version__}"
