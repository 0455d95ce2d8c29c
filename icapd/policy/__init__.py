"""Policy: from what is known about a transaction to what is done with it.

`facts` is what a decision may look at, `conditions` are what a rule asks of it, `rules` compiles the operator's
rules, `decide` walks them in order, `page` draws the page a blocked user sees. Pure: nothing here reads a clock, a
disk, the network or the environment, and nothing logs; `icapd.config` reads the files.
"""
