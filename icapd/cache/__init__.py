"""The verdict cache: facts about bodies, kept by content and ruleset, never decisions and never failures.

`tiers.VerdictCache` is the door. Behind it stand a memory tier for each front and, if configured, memcached servers
shared by all nodes; what comes back from those is trusted only after its signature was checked (`record`).
`flight.SingleFlight` lets identical bodies that are in flight at the same time share one scan.
"""
