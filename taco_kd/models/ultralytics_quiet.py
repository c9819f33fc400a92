"""The one way in which this program imports Ultralytics: silent, offline, and leaving other libraries alone.

Ultralytics is AGPL-3.0; it is imported when a model that needs it is asked for, and never before.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from PIL import Image

from taco_kd.errors import MissingResourceError

LICENCE = "AGPL-3.0"
"""of Ultralytics, and so of what is built with it: its source must be offered to whoever gets or uses it"""


@contextmanager
def quiet_ultralytics() -> Iterator[None]:
    """Import from ``ultralytics`` inside this block, so that it keeps to itself.

    By default Ultralytics asks the network whether it is online, sends usage events, installs packages it
    misses, logs to stdout, and replaces ``PIL.Image.open`` by one that installs a plugin for unknown formats
    and ``torch.save`` by one that tries again. ONNX Runtime, with which it runs exported files, sends
    telemetry on Linux too since 1.31. The switches are environment variables, read once at import: use this
    before anything else imports the two. Ultralytics still writes its settings file, below ``~/.config`` or
    in ``YOLO_CONFIG_DIR``.

    Raises:
        MissingResourceError: Ultralytics is not installed.
    """
    os.environ["YOLO_OFFLINE"] = "true"  # no look-up, no usage events, no downloads
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_VERBOSE"] = "false"  # else its logger writes to stdout, which is for results
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    image_open, torch_save = Image.open, torch.save
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of packages that it imports
            yield
    except ImportError as error:
        raise MissingResourceError(
            f"Ultralytics cannot be used here ({error}): pip install taco-kd"
        ) from None
    finally:
        Image.open, torch.save = image_open, torch_save
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
