"""Weights by name and layout, and copies of networks."""

import copy
import pickle

import nearfar as nf
import numpy as np
import pytest
from nearfar.layers import BatchNorm, Conv, GlobalAveragePool, Linear


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def small_resnet(**options):
    return nf.resnet(18, width=4, **options)


def trained(net, shape, seed=0):
    """The network with statistics and gradients that are not the initial ones."""
    net.backward(net.forward(images(*shape, seed=seed), training=True))
    return net


def test_layouts():
    net = trained(nf.Network([Conv(4, (2, 3), bias=True), GlobalAveragePool(), Linear(5)], (6, 6, 3)), (2, 6, 6, 3))
    state, gradients = net.state_dict(), net.gradient_dict()
    slots = {slot.name: slot for slot in net.parameter_slots}
    assert {name: slot.kind for name, slot in slots.items()} == {
        "0.weight": "conv_weight",
        "0.bias": "bias",
        "2.weight": "linear_weight",
        "2.bias": "bias",
    }
    assert slots["0.weight"].shape == (2, 3, 3, 4) and slots["2.weight"].shape == (4, 5)
    for mapping, vector in ((state, net.parameters), (gradients, net.gradients)):
        assert list(mapping) == list(slots)
        for name, tensor in mapping.items():
            slot = slots[name]
            native = vector[slot.offset : slot.offset + tensor.size].reshape(slot.shape)
            axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[native.ndim]
            np.testing.assert_array_equal(tensor, native.transpose(axes))
            assert tensor.dtype == np.float32 and tensor.flags.c_contiguous
            assert not np.shares_memory(tensor, vector)
    maps = nf.Network([Linear(5)], (4, 3, 2))  # torch's order of the inputs is (C, H, W)
    tensor = maps.state_dict()["0.weight"]
    assert tensor.shape == (5, 24)
    np.testing.assert_array_equal(
        tensor.reshape(5, 2, 4, 3), maps.parameters[:120].reshape(4, 3, 2, 5).transpose(3, 2, 0, 1)
    )
    again = nf.Network([Linear(5)], (4, 3, 2), seed=1)
    again.load_state_dict(maps.state_dict())
    np.testing.assert_array_equal(again.parameters, maps.parameters)
    norm = nf.Network([BatchNorm()], (3,))
    assert [slot.kind for slot in norm.parameter_slots] == ["batch_norm_weight", "batch_norm_bias"]


def test_state_goes_round():
    a = trained(small_resnet(seed=1), (4, 16, 16, 3))
    b = small_resnet(seed=2)
    assert b.load_state_dict(a.state_dict()) == ([], [])
    np.testing.assert_array_equal(a.parameters, b.parameters)
    np.testing.assert_array_equal(a.statistics, b.statistics)
    state = b.state_dict()
    assert state["bn1.num_batches_tracked"].dtype == np.int64 and state["bn1.num_batches_tracked"] == 1
    x = images(2, 16, 16, 3)
    np.testing.assert_array_equal(a.forward(x), b.forward(x))
    state["conv1.weight"][:] = 0  # a copy
    assert b.parameters.any() and (b.state_dict()["conv1.weight"] != 0).any()
    vector = b.parameters
    b.load_state_dict(state)
    assert vector is b.parameters and not b.state_dict()["conv1.weight"].any()


def test_load_takes_other_types():
    net = nf.projection_head(4, 3, 2, batch_norm=True)
    state = {key: tensor.astype(float).tolist() for key, tensor in net.state_dict().items()}
    state["1.num_batches_tracked"] = np.array([7], np.int32)
    net.load_state_dict(state)
    assert net.state_dict()["1.num_batches_tracked"] == 7
    del state["1.num_batches_tracked"]
    assert net.load_state_dict(state) == ([], [])


def test_load_errors_name_the_key_and_change_nothing():
    net = trained(nf.projection_head(4, 3, 2, batch_norm=True), (5, 4))
    state, before = net.state_dict(), copy.deepcopy(net.state_dict())

    def fails(message, error=ValueError, strict=True, **changes):
        new = {key: tensor + 1 for key, tensor in state.items()} | {
            key.replace("_w", ".w"): v for key, v in changes.items()
        }
        with pytest.raises(error, match=message):
            net.load_state_dict({key: tensor for key, tensor in new.items() if tensor is not False}, strict)
        for key, tensor in net.state_dict().items():
            np.testing.assert_array_equal(tensor, before[key])

    fails(r"unexpected fc\.weight", **{"fc.weight": np.ones(3)})
    fails(r"misses 3\.bias$", **{"3.bias": False})
    fails(r"misses 3\.bias and has unexpected 3\.b", **{"3.bias": False, "3.b": np.ones(2)})
    for strict in (True, False):
        fails(
            r"state\['3\.weight'\] must have shape \(2, 3\), got \(3, 2\)",
            strict=strict,
            **{"3.weight": np.ones((3, 2))},
        )
        fails(r"state\['3\.bias'\] must be finite", strict=strict, **{"3.bias": np.array([1, np.nan])})
        fails(r"state\['1\.running_var'\] must be >= 0, got -1", strict=strict, **{"1.running_var": np.full(3, -1.0)})
        fails(r"state\['3\.bias'\] must be float32", TypeError, strict=strict, **{"3.bias": np.array(["a", "b"])})
        fails(r"num_batches_tracked'\] must be one integer", strict=strict, **{"1.num_batches_tracked": np.ones(2)})


def test_load_not_strict():
    full = nf.Network([*nf.convnet((4,)).layers, Linear(10, name="fc")], (None, None, 3), seed=1)
    encoder = nf.convnet((4,), seed=2)
    assert encoder.load_state_dict(full.state_dict(), strict=False) == ([], ["fc.weight", "fc.bias"])
    x = images(2, 8, 8, 3)
    state = full.state_dict()
    np.testing.assert_allclose(encoder.forward(x) @ state["fc.weight"].T + state["fc.bias"], full.forward(x), rtol=1e-4)
    assert full.load_state_dict(encoder.state_dict(), strict=False) == (["fc.weight", "fc.bias"], [])


def test_batches_are_counted_like_separate_calls():
    net = nf.convnet((4, 4))
    net.forward(images(4, 8, 8, 3), training=True, groups=2)
    net.forward(images(4, 8, 8, 3), training=True)
    net.forward(images(4, 8, 8, 3))
    with pytest.raises(ValueError):
        net.forward(images(4, 8, 8, 3), training=True, groups=3)
    assert net.state_dict()["1.num_batches_tracked"] == net.state_dict()["4.num_batches_tracked"] == 3


# ---- copies ----


@pytest.mark.parametrize("duplicate", [nf.Network.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_independent(duplicate):
    net = trained(small_resnet(), (4, 16, 16, 3))
    twin = duplicate(net)
    assert type(twin) is nf.Network and twin.layers == net.layers and twin.in_shape == net.in_shape
    assert not twin.gradients.any()
    for key, tensor in net.state_dict().items():
        np.testing.assert_array_equal(twin.state_dict()[key], tensor)
    x = images(2, 16, 16, 3)
    before = net.forward(x)
    np.testing.assert_array_equal(twin.forward(x), before)
    trained(twin, (4, 16, 16, 3), seed=1)
    twin.parameters *= 1.5
    np.testing.assert_array_equal(net.forward(x), before)
    assert (twin.forward(x) != before).any()


def test_a_copy_serves_in_the_middle_of_a_step():
    net = nf.convnet((4, 8))
    y = net.forward(images(4, 8, 8, 3), training=True)
    twin = net.copy()
    with pytest.raises((ValueError, RuntimeError)):
        twin.backward(y)
    net.backward(y)
    assert net.gradients.any()
