"""`vllm-batch doctor`: what a first-time user gets wrong, found before it costs an hour."""
