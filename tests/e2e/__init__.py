"""icapd as its users meet it: behind a real Squid, and on the command line."""
