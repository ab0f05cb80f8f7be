"""How work is given to the devices: sizes of calls, threads, sharding, compiler options, CPU kernels."""
