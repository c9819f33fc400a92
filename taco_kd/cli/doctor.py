"""``taco-kd doctor``."""

from __future__ import annotations

from taco_kd.cli.common import AsJson, print_json, print_table


def doctor(as_json: AsJson = False) -> None:
    """What this machine can do: versions, devices, memory, packaged weights.

    [bold]Example[/bold]

    taco-kd doctor --json
    """
    import shutil

    import psutil

    from taco_kd.environment import describe
    from taco_kd.models.zoo import MODELS, packaged_file

    found = describe()
    memory_gib = psutil.virtual_memory().total / 2**30
    disk_gib = shutil.disk_usage(".").free / 2**30
    weights = {
        entry.name: packaged_file(entry).is_file() for entry in MODELS.values() if entry.packaged is not None
    }
    if as_json:
        print_json(
            {**found, "memory_gib": memory_gib, "disk_free_gib": disk_gib, "packaged_weights": weights}
        )
        return
    packages = found["packages"]
    assert isinstance(packages, dict)
    gpus = found["gpus"]
    assert isinstance(gpus, list)
    rows = [
        ["Python", str(found["python"])],
        ["Processor", f"{found['cpu']} ({found['cpu_count']} cores, torch uses {found['torch_threads']})"],
        ["GPU", ", ".join(gpus) or "none: everything runs on the processor, T4 figures are projections"],
        ["Memory", f"{memory_gib:.0f} GiB"],
        ["Free disk here", f"{disk_gib:.0f} GiB"],
        *[[name, version] for name, version in packages.items()],
        *[
            [f"{name} weights", "packaged" if there else "MISSING: reinstall"]
            for name, there in weights.items()
        ],
    ]
    print_table(["what", "found"], rows)
