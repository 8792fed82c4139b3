"""Model servers behind one interface: start with `base.Engine` and `registry.create_engine`.

Nothing is imported here: the guard and the simulated server are processes of their own and must
start in milliseconds.
"""
