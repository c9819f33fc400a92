"""Two processes that train one model, and two that do not: the fault of the released loop, rebuilt."""

import multiprocessing

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from taco_kd.errors import TacoKDError
from taco_kd.train.agreement import fingerprint, ranks, require_agreement


def test_one_process_has_nothing_to_compare():
    assert ranks() == 1
    assert require_agreement([], step=1) is False


def test_a_fingerprint_tells_places_apart():
    one, other = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    assert torch.equal(fingerprint([one]), torch.zeros(1, 3, dtype=torch.float64))
    one.grad, other.grad = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, 2.0, 1.0])
    assert torch.equal(fingerprint([one])[:, :2], fingerprint([other])[:, :2])
    assert not torch.equal(fingerprint([one]), fingerprint([other]))


def _rank(rank, address, said):
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    try:
        torch.manual_seed(0)
        model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)))
        images = torch.randn(5, 4, generator=torch.Generator().manual_seed(rank))  # each rank its own share
        for forward in (model, model.module):  # the loop of the released code called .module
            model.zero_grad()
            forward(images).square().mean().backward()
            compared, error = False, ""
            try:
                compared = require_agreement(model.named_parameters(), step=7)
            except TacoKDError as found:
                error = str(found)
            said.put((forward is not model, compared, error))
        dist.barrier()
    finally:
        dist.destroy_process_group()


def test_gradients_that_agree_and_gradients_that_do_not(tmp_path):
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    both = [context.Process(target=_rank, args=(r, f"file://{tmp_path}/meet", said)) for r in range(2)]
    for process in both:
        process.start()
    answers = sorted(said.get(timeout=400) for _ in range(4))
    for process in both:
        process.join(100)
        assert process.exitcode == 0
    assert answers[:2] == [(False, True, ""), (False, True, "")]
    for past_the_wrapper, compared, error in answers[2:]:
        assert past_the_wrapper
        assert not compared
        assert "gradients differ between the 2 ranks at step 7, first in module.0.weight" in error
