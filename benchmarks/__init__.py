"""What evaluation costs, and what the benchmarks share."""
