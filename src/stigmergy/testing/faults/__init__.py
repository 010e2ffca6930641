"""The board's promises, tested by breaking things: a workload, a checker and injections.

`python -m stigmergy.testing.faults` prints the fault table; the tests run the same faults in their
short form. Real processes on a real board; nothing in the board knows that it is tested.
"""
