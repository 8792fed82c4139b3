"""The whole system on one machine: what runs, in which order it starts and leaves."""
