"""`vllm-batch run`: a private system for one file."""
