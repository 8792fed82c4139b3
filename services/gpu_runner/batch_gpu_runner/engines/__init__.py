"""Model servers behind one interface: start with `base.Engine` and `registry.create_engine`.

Nothing is imported here: the simulated server is a process of its own and must start in
milliseconds.
"""
