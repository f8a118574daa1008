"""The same as `benchmarks.forest`, for some eight seconds."""
