"""Random histories: runs of the tap against a made-up account, with kills, faults and changes.

account   what the account holds, and how it changes      (no tap, no faults)
faults    what goes wrong, at the wire                    (no tap)
scenes    what a seed makes of a history                  (random choices)
states    what is done to a state by hand                 (no tap)
rules     what holds for every run, whatever is due       (no tap)
oracle    what a run must have emitted                    (the account and the faults alone)
play      the runs, and what a target keeps of them       (the tap, in this process)
mutants   ways to break the tap that histories must notice
"""
