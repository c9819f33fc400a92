"""taco-kd: from raw images to a distilled, benchmarked detector, with an honest verdict.

Importing the package costs nothing: torch is loaded by the stage that needs it.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when ONNX Runtime is first imported
if "OMP_WAIT_POLICY" not in os.environ:
    # Read once, when torch is first imported. Threads of GNU's OpenMP spin this often while they wait for
    # each other, then sleep; by its default they take a busy machine's time from those they wait for.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"
