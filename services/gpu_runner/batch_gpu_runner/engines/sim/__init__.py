"""The simulated model server, for load and fault tests. `server.serve_sim` runs it in-process.

Nothing is imported here: its process must start in milliseconds.
"""
