"""The asymmetric critic: what it sees, and that the policy's gradient knows nothing of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from policy.families import ModelError
from policy.packing import Row
from policy.tiny import SMALLEST, build_tiny
from policy.value import ValueHead
from policy.vlm import VLM
from tests.fake_worlds import Strip
from training.critic import Layout
from training.losses import clipped_surrogate, masked


class Other(Strip):
    def privileged_layout(self) -> tuple[str, ...]:
        return "speed", "cell"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_tiny(folder, ["go left"], seed=0, shape=SMALLEST)
    return folder


def ones(head: ValueHead) -> None:
    """Let the privileged state matter."""
    assert head.mixed is not None
    last = head.mixed[2]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.ones_(last.weight)


def test_one_layout_over_tasks_by_hand() -> None:
    # Places: which of two tasks, then `cell` (both have it), then `speed`.
    layout = Layout.of({"a": Strip(), "b": Other()})
    assert layout.size == 4
    assert layout.vector("a", np.array([3], np.float32)).tolist() == [1, 0, 3, 0]
    assert layout.vector("b", np.array([7, 5], np.float32)).tolist() == [0, 1, 5, 7]


def test_values_start_at_zero_and_then_differ_by_the_privileged_state() -> None:
    head, hidden = ValueHead(3, privileged=2), torch.ones(2, 5, 3)
    state = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert head(hidden, state).shape == (2, 5) and not head(hidden, state).any()
    assert torch.equal(head.state_dict()["mixed.0.weight"], ValueHead(3, privileged=2).state_dict()["mixed.0.weight"])
    ones(head)
    assert not torch.equal(*head(hidden, state))
    # V(o) = w·h + b: with w = 2 and b = 1 for h = (1, 1, 1) it is 7.
    plain = ValueHead(3)
    torch.nn.init.constant_(plain.weight, 2.0)
    torch.nn.init.constant_(plain.bias, 1.0)
    assert plain(hidden).tolist() == [[7.0] * 5] * 2


def test_the_policys_gradient_does_not_know_the_privileged_state(model: Path) -> None:
    """Bit for bit the same whatever c is, and none reaches the critic."""
    vlm = VLM.load(model, value_head=True, privileged=2)
    assert vlm.value_head is not None
    ones(vlm.value_head)
    ids = np.array([20, 21, 22], np.int32)
    gradients, values = [], []
    for c in (0.0, 9.0):
        vlm.zero_grad()
        scores = vlm(vlm.collate([Row(ids, ids, (), privileged=np.full(2, c, np.float32))]))
        assert scores.values is not None and scores.values.shape == scores.logps.shape
        values.append(scores.values.detach()[0, 0].item())
        logp = masked(scores.logps, scores.mask)
        loss, _ = clipped_surrogate(logp, logp.detach(), torch.ones_like(logp), 0.2, 0.28)
        loss.sum().backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad.clone() for p in vlm.model.parameters() if p.grad is not None])
        assert all(p.grad is None or not p.grad.any() for p in vlm.value_head.parameters())
    assert values[0] != values[1]
    assert gradients[0] and all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_rows_that_share_a_prompt_and_a_reply_keep_their_own_privileged_states(model: Path) -> None:
    """Log-probs and gradients of rows packed behind one prompt are those of each row by itself, with its own state."""
    vlm = VLM.load(model).eval()
    prompt, short, long = (np.arange(20, 20 + n, dtype=np.int32) for n in (18, 2, 4))
    # The same reply in two states, another in a third, and a row of another prompt.
    said = [(prompt, long, 0.0), (prompt, short, 2.0), (prompt, long, 5.0), (short, long, 1.0)]
    rows = [Row(asked, reply, (), privileged=np.full(2, c, np.float32)) for asked, reply, c in said]
    plain = vlm(vlm.collate(rows)).logps
    vlm.see_privileged(2)
    batch = vlm.collate(rows)
    # The short reply is how the long one begins.
    assert batch.tree.ids.shape[0] == 2 and len(batch.tree.targets) == 8 < len(batch.order) == 14
    assert torch.equal(vlm(batch).logps, plain)  # f = 0 at first
    assert vlm.adapter is not None
    last = vlm.adapter[2]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight, generator=torch.Generator().manual_seed(0))

    def learned() -> dict[str, torch.Tensor]:
        found = {name: p.grad.clone() for name, p in vlm.named_parameters() if p.grad is not None}
        vlm.zero_grad()
        return found

    weight = torch.arange(1.0, 5.0)  # of each row, so that what belongs to whom matters
    together = vlm(batch).logps
    (weight[:, None] * together).sum().backward()
    packed = learned()
    for i, row in enumerate(rows):
        alone = vlm(vlm.collate([row])).logps[0]
        torch.testing.assert_close(together[i, : len(alone)], alone, atol=1e-5, rtol=1e-5)
        (weight[i] * alone.sum()).backward()
    for name, gradient in learned().items():
        torch.testing.assert_close(packed[name], gradient, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[0], together[2], atol=1e-2)
    # By hand: the LM head reads h + f(h, c).
    tree = vlm.collate([rows[2]]).tree
    hidden = vlm.answers(tree)[0]
    logits = vlm.head(hidden + vlm.adapter(torch.cat([hidden, torch.full((4, 2), 5.0)], -1)))
    wanted = vlm.distribution(logits, torch.ones(4)).gather(1, tree.targets[:, None])[:, 0]
    torch.testing.assert_close(together[2], wanted, atol=1e-5, rtol=1e-5)


def test_a_critic_of_other_tasks_is_refused(model: Path, tmp_path: Path) -> None:
    VLM.load(model, value_head=True, privileged=2).save(tmp_path / "saved")
    assert VLM.load(tmp_path / "saved", value_head=True, privileged=2).value_head is not None
    with pytest.raises(ModelError, match="remove the file to begin a new critic"):
        VLM.load(tmp_path / "saved", value_head=True)


def test_rows_keep_no_state_where_no_critic_sees_it() -> None:
    row = Row(np.zeros(1, np.int32), np.zeros(1, np.int32), ())
    assert row.privileged is None and dataclasses.replace(row, temperature=2.0).privileged is None
