"""One module per command: its arguments, its help, and where its work is done.

`add(commands)` names the work as `module:function`, which is imported only when the command runs:
`vllm-batch --help` stays fast and the client commands load no service.
"""
