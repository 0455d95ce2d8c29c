"""The server as its clients and operators see it: a real process over loopback."""
