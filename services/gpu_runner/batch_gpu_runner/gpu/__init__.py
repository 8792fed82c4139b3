"""The health of this machine's GPUs: what NVML says of them, and what follows for the runner."""
