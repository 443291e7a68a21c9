"""Measure what a run costs, side by side: `python -m benchmarks`.

Everything but `nightly` runs against `python -m fake_listrak`, a process of its own. Figures of two
machines cannot be compared, nor those of a busy and an idle one, so that ratios between things that
ran in turns are what the table shows first.

    processes   a child's CPU, wall time and peak memory; the service; the tap's command line
    table       the lines of the one table
    rows        CPU a row: the tap, zeep's own deserialization, a bare loop
    latency     wall time and calls by concurrency
    memory      peak memory by rows
    startup     discovery and imports
    nightly     calls, lateness and CPU night by night, on an account of many old messages
    clocked     that account, which shows what there is on one night

`bare_loop.py` and `zeep_loop.py` are run as processes, to compare the tap with.
"""
