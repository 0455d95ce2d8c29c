"""Tests of icapd; the tree mirrors the source."""
