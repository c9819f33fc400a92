"""What an evaluation was made with: written beside its metrics, so that two kinds are never compared."""

from __future__ import annotations

from importlib.metadata import version

EVALUATOR = f"faster-coco-eval {version('faster-coco-eval')}"
"""Name and version of the COCO evaluator behind every figure of this package."""
