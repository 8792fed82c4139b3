"""The whole system under a seeded hail of faults, and a checker that sees what a user sees."""
