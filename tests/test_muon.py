"""Muon: what it does to a matrix, by hand where it can be, and against torch's own."""

from __future__ import annotations

import torch
from torch import nn

from training.muon import Muon, orthogonalise, shares


def test_directions_are_nearly_orthogonal_whatever_the_gradient() -> None:
    torch.manual_seed(0)
    for shape in ((8, 8), (16, 4), (4, 16)):
        matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -2, shape[1]))
        several = orthogonalise(torch.stack([matrix, torch.randn(shape)]))
        singular = torch.linalg.svdvals(several[0])
        assert singular.max() < 1.3 and singular.median() > 0.6, singular
        torch.testing.assert_close(several[:1], orthogonalise(matrix[None]))


def test_a_matrix_of_one_by_one_by_hand() -> None:
    """x = 1 after scaling; five times x <- 3.4445 x - 4.775 x^3 + 2.0315 x^5, so 1 -> 0.701 -> 1.1137 -> ..."""
    x = 1.0
    for _ in range(5):
        x = 3.4445 * x - 4.775 * x**3 + 2.0315 * x**5
    torch.testing.assert_close(orthogonalise(torch.tensor([[[7.0]]])), torch.tensor([[[x]]]))


def test_agrees_with_torch_but_for_bfloat16() -> None:
    torch.manual_seed(1)
    start = torch.randn(12, 6)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    a = Muon([ours], lr=0.1)
    b = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, adjust_lr_fn="original")
    for _ in range(3):
        gradient = torch.randn(12, 6)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        a.step()
        b.step()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.0)
    assert (ours - start).abs().max() > 0.05


def test_work_is_shared_evenly() -> None:
    sizes = [(512, 512), (128, 512), (128, 512), (128, 128), (256, 128)]
    owner = shares([torch.zeros(size) for size in sizes], 2)
    # The largest matrix costs 512^2 * 3 * 512, more than all the others together: it has a rank to itself.
    assert owner[0] not in owner[1:]
    assert set(shares([torch.zeros(4, 4)] * 4, 2)) == {0, 1}
