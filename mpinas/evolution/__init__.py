"""Genetics without policy: genomes, their graphs, innovation numbers, operators, species.

Nothing here knows fitness, generations or results; ``tuners`` decides who breeds.
"""
