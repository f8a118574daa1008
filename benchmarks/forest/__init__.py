"""The submission that the benchmarks train. datarun gets the file, the others import it."""
