"""icapd beside c-icap: the same machine, the same bodies, the same connections, in turn.

    python -m bench             every case, three rounds
    python -m bench --help      fewer cases, longer rounds, the results into docs/performance.md

In file order: `programs` finds or installs what is needed and builds the load generator (icapload.c); `corpus` writes
the bodies that `content` makes, `signatures` the rules; `servers` starts both servers and ends them; `measure` runs
the cases in turn; `report` makes medians, ratios and tables of the runs. docs/performance.md says what they mean.
"""
