"""Where keys and values stand: room for what comes, and a prompt once for all rows that go on from it."""

from __future__ import annotations

import copy

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.cache import ROOM, Forked, Roomy


def test_a_cache_with_room_by_hand() -> None:
    """Five tokens get five columns; one more makes room for 32 besides, which hold zeros and stay when rows go."""
    layer, states = Roomy(), torch.randn(3, 2, 6, 4)
    before, last = states[:, :, :5], states[:, :, 5:]
    assert layer.get_mask_sizes(5) == (5, 0) and layer.update(before, -before)[0].shape[2] == 5
    assert layer.get_mask_sizes(1) == (6 + ROOM, 0)
    keys, values = layer.update(last, -last)
    assert keys.shape == values.shape == (3, 2, 6 + ROOM, 4) and keys.is_contiguous()
    assert torch.equal(keys[:, :, :6], states) and not keys[:, :, 6:].any()
    layer.batch_select_indices(torch.tensor([2, 0]))
    assert layer.get_seq_length() == 6 and layer.get_mask_sizes(1) == (6 + ROOM, 0)
    keys, _ = layer.update(last[[2, 0]], last[[2, 0]])
    assert torch.equal(keys[:, :, :7], torch.cat([states, last], 2)[[2, 0]])


def test_keys_and_values_are_kept_as_attention_reads_them() -> None:
    states = torch.randn(1, 2, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        keys, values = Roomy().update(states, states)
    assert keys.dtype == values.dtype == torch.bfloat16


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 2))
def test_rows_that_share_a_prompt_attend_as_if_each_had_its_own(seed: int, heads: int, queries: int) -> None:
    """Some rows end between tokens, so that prompts are left, too, that nobody goes on from."""
    torch.manual_seed(seed)
    rng, size, columns = np.random.default_rng(seed), 4, 5
    prompts = torch.randn(2, 3, heads, columns, size)
    layer, which = Forked(prompts[0], prompts[1]), torch.from_numpy(rng.integers(0, 3, 7))
    layer.batch_select_indices(which)
    keys, values = (part[which] for part in prompts)
    for _ in range(4):
        rows = len(which)
        k, v = torch.randn(2, rows, heads, 1, size)
        q = torch.randn(rows, heads * queries, 1, size)
        seen = torch.from_numpy(rng.random((rows, columns)) < 0.5)
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        mask = torch.zeros(rows, 1, 1, layer.get_mask_sizes(1)[0])
        mask[:, 0, 0, keys.shape[2] :] = -1e30
        mask[:, 0, 0, :columns][~seen] = -1e30
        stock = copy.deepcopy(layer).update(k, v)
        out = layer.attend(q, k, v, mask, 0.3)
        assert stock[0].shape[2] == mask.shape[3] and torch.equal(stock[0][:, :, : keys.shape[2]], keys)
        assert torch.equal(stock[1][:, :, : keys.shape[2]], values)
        assert layer.get_seq_length() == keys.shape[2] and out.shape == (rows, 1, heads * queries, size)
        for row in range(rows):
            for head in range(heads * queries):
                mine = keys[row, head // queries], values[row, head // queries]
                weights = (0.3 * mine[0] @ q[row, head, 0] + mask[row, 0, 0, : keys.shape[2]]).softmax(-1)
                torch.testing.assert_close(out[row, 0, head], weights @ mine[1])
        left = torch.from_numpy(rng.permutation(rows)[: max(1, rows - 2)])
        layer.batch_select_indices(left)
        which, keys, values = which[left], keys[left], values[left]
    assert torch.equal(layer.whole(None)[0], keys) and torch.equal(layer.whole(torch.tensor([0]))[1], values[:1])


def test_a_shared_prompt_is_not_copied() -> None:
    prompts = torch.randn(2, 1, 2, 50, 4)
    layer = Forked(prompts[0], prompts[1])
    layer.batch_select_indices(torch.zeros(64, dtype=torch.long))
    assert layer.get_seq_length() == 50 and layer._prompts[0].data_ptr() == prompts.data_ptr()
