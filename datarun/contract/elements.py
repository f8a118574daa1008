"""Workflow elements: the files that a submission must bring, and what each must define."""

#: Element name (its file is ``<name>.py``) → the class that the file defines.
ELEMENT_CLASSES = {
    "feature_extractor": "FeatureExtractor",
    "classifier": "Classifier",
    "regressor": "Regressor",
    "calibrator": "Calibrator",
}


def parse_elements(text: str) -> tuple[str, ...]:
    """``"feature_extractor, classifier"`` → ``("feature_extractor", "classifier")``."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def elements_problem(elements: tuple[str, ...], custom: bool) -> str | None:
    """What is wrong with these workflow elements, or None.

    A custom module runs its own workflow, so it may name any elements; the built-in workflow
    knows the four of `ELEMENT_CLASSES` and needs exactly one predictor.
    """
    if not elements:
        return "Name at least one workflow element, for example 'classifier'."
    if len(set(elements)) < len(elements):
        return "A workflow element is named twice."
    if unfit := [e for e in elements if not e.isidentifier()]:
        return f"{unfit[0]!r} can't name a Python module."
    if custom:
        return None
    if unknown := [e for e in elements if e not in ELEMENT_CLASSES]:
        return f"Unknown workflow element {unknown[0]!r}: choose from {', '.join(ELEMENT_CLASSES)}."
    if ("classifier" in elements) == ("regressor" in elements):
        return "Name one predictor: either 'classifier' or 'regressor'."
    if "calibrator" in elements and "classifier" not in elements:
        return "A calibrator calibrates the probabilities of a classifier: name 'classifier' too."
    return None
