"""The verdict cache: facts about bodies, kept by content and ruleset, never decisions and never failures.

`tiers.VerdictCache` is the door. Behind it stand a memory tier for each front and, if configured, a database on disk
that all fronts share (`disk`, over `store` and `directory`), and memcached servers shared by all nodes (`memcached`).
What comes back from those two is trusted only after its signature was checked (`record`).
`flight.SingleFlight` lets identical bodies that are in flight at the same time share one scan.
"""
