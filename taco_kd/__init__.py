"""taco-kd: from raw images to a distilled, benchmarked detector, with an honest verdict.

Importing the package costs nothing: torch is loaded by the stage that needs it.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when ONNX Runtime is first imported

__version__ = "0.1.0"
