"""Measurements that anyone can repeat; each file is a subject and runs as ``python -m fsrcache.benchmarks.NAME``."""
