"""Where `fab` finds its tasks: `fab --list` shows them, docs/deployment.rst explains them."""

from script_install.tasks import *  # noqa: F403
