"""What the benchmark makes of its runs."""
