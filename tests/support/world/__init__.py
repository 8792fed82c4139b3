"""A whole system in one task: real schedulers, database and blobs; runners and streams as data.

Every step is a call, so a test orders them as it likes, and lets a step die at any point.
"""
