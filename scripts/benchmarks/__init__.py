"""What benchmark.py measures.

`common` measures two sides in turn and builds the runs they need. `loops`, `models`, `updates`, `costs`, `memory`,
`rows`, `scaling`, `kernels` and `serve` hold the benchmarks; `cluster` calculates what many GPUs would cost.
`peers/` has other libraries train a model like ours.
"""
