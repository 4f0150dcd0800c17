"""Batch scripts: a scheduler is a template in ``templates/``, whose blanks are filled here.

Comes in: a checked configuration and what the user asks of the cluster. Comes out: the text of one
complete script. Nothing here runs a search; ``submit.py`` alone starts a program.
"""
