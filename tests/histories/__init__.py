"""Random histories: runs of the tap against a made-up account, with kills, faults and changes.

    account   what the account holds, and how it changes      (no tap, no faults)
    faults    what goes wrong, at the wire                    (no tap)
    states    what is read of a state, and done to it           (no tap)
    oracle    what a run must have emitted                    (the account and the faults alone)
    scenes    what a seed makes of a history                  (random choices)
    play      the runs, and how a target keeps their states   (the tap, in this process)
    many      many histories, in several processes
    mutants   ways to break the tap that histories must see

`python -m tests.histories` plays them.
"""
