"""Convolutions for CPUs, compiled when first needed (with llvmlite, where it is installed) and called by XLA."""
