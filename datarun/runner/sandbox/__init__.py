"""Where submissions run: a process tree of its own for each job, limited, watched and killed as a whole.

    supervisor (the runner) ──starts──► keeper ──forks──► child: imports and runs the submission

The supervisor side is `sandbox.run`; `keeper` and `child` run inside. Nothing outside `child` ever imports,
unpickles or executes what a submission wrote.
"""
