"""Real parts that tests run against: processes, an origin, Squid, icapd itself, an ICAP client."""
