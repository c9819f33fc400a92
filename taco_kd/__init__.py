"""taco-kd: from raw images to a distilled, benchmarked detector, with an honest verdict.

Importing the package costs nothing: torch is loaded by the stage that needs it.
"""

__version__ = "0.1.0"
