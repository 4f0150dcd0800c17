"""``doctor``: what is wrong here, and how to mend it. Facts are gathered, judged, then shown.

``facts`` and the programs in children (``*_probe``) look at the machine; what is named ``*_checks``
is pure and makes findings of facts; ``examination`` puts them together, alone or as a job.
"""
