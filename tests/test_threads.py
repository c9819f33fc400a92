"""What importing the package sets for libraries that read it once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "passive"}, "None"),
    ],
    ids=["nothing given", "a count of the user's", "a policy of the user's"],
)
def test_how_long_threads_spin_is_set_unless_the_user_did(given, expected):
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import taco_kd, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected


def test_the_command_line_sets_it_before_torch_is_loaded():
    code = (
        "import sys, os; import taco_kd.cli.app; assert 'torch' not in sys.modules; "
        "assert 'GOMP_SPINCOUNT' in os.environ or 'OMP_WAIT_POLICY' in os.environ"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
