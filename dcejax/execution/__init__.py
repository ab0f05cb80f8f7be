"""How work is executed: sizes of calls, threads, sharding, compiler options, choice of kernels."""
