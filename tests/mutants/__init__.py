"""Deliberate bugs: each is one small change to the source that named tests must catch.

`make mutants` applies them one after another in a copy of the tree. A promise whose breach no
test notices is not kept by anything.
"""
