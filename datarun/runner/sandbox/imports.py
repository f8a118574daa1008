"""What of the scientific stack a submission is about to import: a zygote does it once for all folds.

Found by looking at the text: nothing of a submission is parsed or executed here.
"""

import re
from functools import lru_cache

_IMPORT = re.compile(
    r"^[ \t]*(?:from|import)[ \t]+((?:numpy|scipy|pandas|sklearn|joblib)\b(?:\.\w+)*)"
    r"(?:[ \t]+import[ \t(]+([\w, \t]+))?",
    re.M,
)
#: Packages and classes that users are meant to import, and what changes nothing else.
_PUBLIC = re.compile(r"\w+(?:\.(?!conftest|distutils|experimental|f2py|test)[a-z]\w*)?(?:\.[A-Z]\w*)?")
#: Names of one file: other folds wait while they are imported. What is named beyond that, its own folds import.
_MOST = 200


@lru_cache
def named_in(source: str) -> frozenset[str]:
    """Modules (``sklearn.ensemble``) and classes (``sklearn.ensemble.Class``) that the Python file `source` imports."""
    named = set()
    for module, names in _IMPORT.findall(source):
        named |= {module, *(f"{module}.{name}" for name in re.findall(r"\w+", names))}
    public = {match.group() for name in named if (match := _PUBLIC.match(name))}
    return frozenset(sorted(public)[:_MOST])
