"""Several processes: how they start, and how they share an update and a model.

`launch` connects the processes that a launcher started and refuses a launch that would not train as asked. `fsdp`
shards a model, `deepspeed` the optimiser. `backend` synchronises the gradients of an update and steps the optimiser;
`deepspeed.ShardedOptimizer` is the backend for DeepSpeed.
"""
