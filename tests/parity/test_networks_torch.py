"""Networks against torch in float64: outputs, gradients, running statistics, weights both ways, steps of training."""

import nearfar as nf
import numpy as np
import pytest
import torch
from bench import torch_models
from reference import nn as twin
from torch import nn

pytestmark = pytest.mark.parity

TOLERANCE = 1e-4


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread():
    """Torch's threads wait by spinning, which takes minutes on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- torchvision's ResNet (v1.5), without `fc` ----


class Basic(nn.Module):
    expansion = 1

    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample(inputs, channels, stride)

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + (self.downsample(x) if self.downsample else x)).relu()


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = downsample(inputs, 4 * channels, stride)

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + (self.downsample(x) if self.downsample else x)).relu()


def downsample(inputs, outputs, stride):
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class TorchResNet(nn.Module):
    def __init__(self, block, counts, stem, width=64):
        super().__init__()
        large = stem == "imagenet"
        self.conv1 = nn.Conv2d(3, width, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        inputs = width
        for stage, count in enumerate(counts):
            blocks = []
            for i in range(count):
                channels = width * 2**stage
                blocks.append(block(inputs, channels, 2 if stage and not i else 1))
                inputs = channels * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x):
        x = self.pool(self.bn1(self.conv1(x)).relu())
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


def pair(depth, stem, width=64, seed=0, smooth=False):
    """Our network and torch's, in float64, with the same random parameters and statistics.

    Of a million activations some lie so near to zero that float32 and float64 take different sides of the ReLU, and
    each of them changes gradients by some 1e-3 in norm, in torch's own float32, too. `smooth` gives each batch
    normalisation biases around +-3, the sign being the channel's on all paths of a stage: hardly an activation lies
    near zero, and what remains is the error of the arithmetic.
    """
    block, counts = {18: (Basic, (2, 2, 2, 2)), 50: (Bottleneck, (3, 4, 6, 3))}[depth]
    ours = nf.resnet(depth, stem=stem, width=width, seed=seed)
    random = np.random.default_rng(seed)
    state = ours.state_dict()
    for key, tensor in state.items():
        if ".bn" in key or key.startswith("bn") or "downsample.1" in key:
            if key.endswith(("bias", "running_mean")):
                tensor[...] = random.normal(0, 0.2, tensor.shape)
                if smooth and key.endswith("bias"):
                    tensor += np.where(np.arange(tensor.size) % 3 > 0, 3, -3)
            elif key.endswith(("weight", "running_var")):
                tensor[...] = random.uniform(0.5, 1.5, tensor.shape)
    ours.load_state_dict(state)
    theirs = TorchResNet(block, counts, stem, width)
    theirs.load_state_dict({key: torch.from_numpy(tensor) for key, tensor in state.items()}, strict=True)
    return ours, theirs.double()


def to_torch(x):
    """(N, H, W, C) float32 -> (N, C, H, W) float64 that takes a gradient"""
    axes = (0, 3, 1, 2) if x.ndim == 4 else (0, 1)
    return torch.from_numpy(np.ascontiguousarray(x.transpose(axes), dtype=float)).requires_grad_()


def norm(x):
    return torch.linalg.vector_norm(x.double()).item()


def close(ours, theirs, name="", tolerance=TOLERANCE, scale=0.0):
    """Relative error, in norm; to `scale` if that is larger."""
    theirs = theirs.detach()
    assert ours.shape == tuple(theirs.shape), name
    error = norm(torch.from_numpy(np.ascontiguousarray(ours)) - theirs) / max(norm(theirs), scale)
    assert error <= tolerance, (name, error)


def gradients_close(ours, theirs, tolerance=TOLERANCE):
    """A bias in front of a normalisation has next to no gradient, by cancellation: it is held to its weight's."""
    gradients, wanted = ours.gradient_dict(), {name: p.grad for name, p in theirs.named_parameters()}
    assert list(gradients) == list(wanted)
    for name, gradient in gradients.items():
        scale = norm(wanted[name.replace("bias", "weight")])
        close(gradient, wanted[name], name, tolerance, scale if name.endswith("bias") else 0.0)


RESNETS = [
    (18, "small", (8, 32, 32, 3)),
    (18, "imagenet", (4, 96, 80, 3)),
    (50, "small", (6, 32, 32, 3)),
    (50, "imagenet", (6, 96, 96, 3)),
]


@pytest.mark.parametrize("depth, stem, shape", RESNETS)
@pytest.mark.parametrize("smooth, gradient_tolerance", [(True, TOLERANCE), (False, 0.1)])
def test_resnet(depth, stem, shape, smooth, gradient_tolerance):
    """However the convolutions are computed."""
    ours, theirs = pair(depth, stem, smooth=smooth)
    state = ours.state_dict()
    random = np.random.default_rng(1)
    x = random.normal(size=shape).astype(np.float32)
    t = to_torch(x)
    theirs.eval()
    evaluation = theirs(t)
    theirs.train()
    y = theirs(t)
    d_y = random.normal(size=tuple(y.shape)).astype(np.float32)
    y.backward(torch.from_numpy(d_y.astype(float)))
    theirs.eval()
    evaluation_after, state_after = theirs(t), theirs.state_dict()

    for algorithm in ("auto", "direct", "winograd2", "winograd4"):
        network = nf.Network(ours.layers, ours.in_shape, conv_algo=algorithm)
        network.load_state_dict(state)
        close(network.forward(x), evaluation, f"{algorithm}: evaluation")
        close(network.forward(x, training=True), y, f"{algorithm}: training")
        d_x = network.backward(d_y, input_gradient=True)
        close(d_x.transpose(0, 3, 1, 2), t.grad, f"{algorithm}: d_x", gradient_tolerance)
        gradients_close(network, theirs, gradient_tolerance)
        assert list(network.state_dict()) == list(state_after)
        for name, tensor in network.state_dict().items():
            close(tensor, state_after[name], f"{algorithm}: {name}")
        close(network.forward(x), evaluation_after, f"{algorithm}: evaluation after a step")


def test_groups_are_separate_calls():
    ours, theirs = pair(18, "small", width=16, smooth=True)
    random = np.random.default_rng(1)
    x = random.normal(size=(12, 16, 16, 3)).astype(np.float32)
    theirs.train()
    views = [to_torch(view) for view in np.split(x, 2)]
    y = torch.cat([theirs(view) for view in views])
    close(ours.forward(x, training=True, groups=2), y)
    d_y = random.normal(size=tuple(y.shape)).astype(np.float32)
    y.backward(torch.from_numpy(d_y.astype(float)))
    d_x = ours.backward(d_y, input_gradient=True)
    close(d_x.transpose(0, 3, 1, 2), torch.cat([view.grad for view in views]))
    gradients_close(ours, theirs)
    for name, tensor in theirs.state_dict().items():
        close(ours.state_dict()[name], tensor, name)


def test_weights_travel_both_ways():
    ours, theirs = pair(50, "imagenet", width=8)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()}, strict=True)
    again = nf.resnet(50, stem="imagenet", width=8, seed=5)
    assert again.load_state_dict(theirs.float().state_dict(), strict=True) == ([], [])
    np.testing.assert_array_equal(again.parameters, ours.parameters)
    np.testing.assert_array_equal(again.statistics, ours.statistics)


@pytest.mark.parametrize("layers", (1, 2, 3))
@pytest.mark.parametrize("batch_norm", (False, True, "all"))
def test_heads(layers, batch_norm):
    ours = nf.projection_head(40, 50, 30, layers=layers, batch_norm=batch_norm)
    modules = {"Linear": nn.Linear, "BatchNorm": nn.BatchNorm1d, "ReLU": nn.ReLU}
    stack, features = [], 40
    for layer in ours.layers:
        kind = type(layer).__name__
        arguments = (features, layer.out_features, layer.bias) if kind == "Linear" else (features,)
        features = layer.out_features if kind == "Linear" else features
        stack.append(modules[kind](*(() if kind == "ReLU" else arguments)))
    theirs = nn.Sequential(*stack)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()}, strict=True)
    theirs.double().train()
    random = np.random.default_rng(0)
    x = random.normal(size=(16, 40)).astype(np.float32)
    t = to_torch(x)
    y = theirs(t)
    close(ours.forward(x, training=True), y)
    d_y = random.normal(size=(16, 30)).astype(np.float32)
    y.backward(torch.from_numpy(d_y.astype(float)))
    close(ours.backward(d_y, input_gradient=True), t.grad)
    for name, parameter in theirs.named_parameters():
        close(ours.gradient_dict()[name], parameter.grad, name)


def test_linear_behind_maps():
    ours = nf.Network([nf.layers.Conv(6, 3), nf.layers.Linear(5, name="fc")], (7, 4, 3))
    theirs = nn.ModuleDict({"0": nn.Conv2d(3, 6, 3, padding=1, bias=False), "fc": nn.Linear(7 * 4 * 6, 5)})
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()}, strict=True)
    theirs.double()
    x = np.random.default_rng(0).normal(size=(3, 7, 4, 3)).astype(np.float32)
    y = theirs["fc"](theirs["0"](to_torch(x)).flatten(1))
    close(ours.forward(x, training=True), y)
    y.sum().backward()
    ours.backward(np.ones((3, 5)))
    for name, parameter in theirs.named_parameters():
        close(ours.gradient_dict()[name], parameter.grad, name)
    ours.load_state_dict(theirs.float().state_dict())


def test_initial_parameters_have_torchs_distribution():
    theirs = nn.Linear(300, 200)
    state = nf.projection_head(300, 1, 200, layers=1).state_dict()
    for name, tensor in theirs.state_dict().items():
        assert abs(state[f"0.{name}"].std() / tensor.std().item() - 1) < 0.15
        assert abs(abs(state[f"0.{name}"]).max() / tensor.abs().max().item() - 1) < 0.03
    conv = nn.Conv2d(32, 64, 3)
    ours = nf.Network([nf.layers.Conv(64, 3, bias=True)], (8, 8, 32)).state_dict()
    assert abs(ours["0.weight"].std() / conv.weight.std().item() - 1) < 0.03
    assert abs(abs(ours["0.bias"]).max() / conv.bias.abs().max().item() - 1) < 0.1


# ---- the twins themselves, in float64 ----


def agrees(ours, theirs):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-10)


def nchw(x):
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()


@pytest.mark.parametrize(
    "kernel, stride, padding", [((3, 3), 1, (1, 1)), ((2, 5), 2, (0, 3)), ((1, 1), 3, (0, 0)), ((7, 7), 2, (3, 3))]
)
def test_twin_of_conv(kernel, stride, padding):
    random = np.random.default_rng(0)
    x, bias = random.normal(size=(2, 9, 8, 3)), random.normal(size=4)
    weight = random.normal(size=(*kernel, 3, 4))
    tx, tb = nchw(x), torch.from_numpy(bias).requires_grad_()
    tw = torch.from_numpy(weight.transpose(3, 2, 0, 1).copy()).requires_grad_()
    y = nn.functional.conv2d(tx, tw, tb, stride, padding)
    agrees(twin.conv(x, weight, bias, stride=stride, padding=padding).transpose(0, 3, 1, 2), y)
    d_y = random.normal(size=tuple(y.shape))
    y.backward(torch.from_numpy(d_y))
    found = twin.conv_gradient(d_y.transpose(0, 2, 3, 1), x, weight, stride=stride, padding=padding)
    agrees(found[0].transpose(0, 3, 1, 2), tx.grad)
    agrees(found[1].transpose(3, 2, 0, 1), tw.grad)
    agrees(found[2], tb.grad)


def test_twin_of_batch_norm():
    random = np.random.default_rng(0)
    x, d_y = random.normal(size=(2, 4, 3, 5, 6))
    weight, bias, mean, var = random.uniform(0.5, 2, (4, 6))
    module = nn.BatchNorm2d(6, eps=1e-3, momentum=0.3).double()
    module.load_state_dict(
        dict(
            zip(
                ("weight", "bias", "running_mean", "running_var"),
                map(torch.tensor, (weight, bias, mean, var)),
                strict=True,
            )
        ),
        strict=False,
    )
    tx = nchw(x)
    agrees(twin.batch_norm(x, weight, bias, mean, var, eps=1e-3).transpose(0, 3, 1, 2), module.eval()(tx))
    y = module.train()(tx)
    agrees(twin.batch_norm(x, weight, bias, *twin.batch_statistics(x), eps=1e-3).transpose(0, 3, 1, 2), y)
    for ours, theirs in zip(
        twin.running_statistics(mean, var, x, 0.3), (module.running_mean, module.running_var), strict=True
    ):
        agrees(ours, theirs)
    y.backward(nchw(d_y).detach())
    d_x, d_weight, d_bias = twin.batch_norm_gradient(d_y, x, weight, eps=1e-3)
    agrees(d_x.transpose(0, 3, 1, 2), tx.grad)
    agrees(d_weight, module.weight.grad)
    agrees(d_bias, module.bias.grad)


@pytest.mark.parametrize("kernel, stride, padding", [(2, 2, 0), (3, 2, 1), (5, 3, 2), (3, 1, 0)])
def test_twin_of_max_pool(kernel, stride, padding):
    random = np.random.default_rng(0)
    x = random.integers(-2, 3, (2, 9, 8, 3)).astype(float)  # many equal values
    tx = nchw(x)
    y = nn.functional.max_pool2d(tx, kernel, stride, padding)
    options = {"kernel": kernel, "stride": stride, "padding": padding}
    agrees(twin.max_pool(x, **options).transpose(0, 3, 1, 2), y)
    d_y = random.normal(size=tuple(y.shape))
    y.backward(torch.from_numpy(d_y))
    agrees(twin.max_pool_gradient(d_y.transpose(0, 2, 3, 1), x, **options).transpose(0, 3, 1, 2), tx.grad)


# ---- training ----


@pytest.mark.parametrize(
    "optimizer, options, torchs",
    [
        (nf.SGD, {"lr": 2e-4, "momentum": 0.9, "weight_decay": 1e-4}, torch.optim.SGD),
        (nf.SGD, {"lr": 2e-4, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": True}, torch.optim.SGD),
        (nf.AdamW, {"lr": 3e-5, "weight_decay": 1e-2}, torch.optim.AdamW),
    ],
)
def test_twenty_steps(optimizer, options, torchs):
    """SimCLR's step on one batch: the losses stay together, from the first to the last.

    The learning rates are small, since larger ones amplify float32's rounding: PyTorch's own float32 is then up to
    6e-4 away from its float64, and on another machine it is another number.
    """
    random = np.random.default_rng(3)
    images = random.normal(size=(16, 16, 16, 3))
    views = (images + random.normal(0, 0.5, (2, *images.shape))).astype(np.float32)
    batch = views.reshape(32, 16, 16, 3)

    encoder, their_encoder = pair(18, "small", width=16)
    head = nf.projection_head(128, 64, 32)
    their_head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32))
    their_head.load_state_dict({k: torch.from_numpy(v) for k, v in head.state_dict().items()}, strict=True)
    model = nn.Sequential(their_encoder, their_head).double().train()
    ours, theirs = optimizer([encoder, head], **options), torchs(model.parameters(), **options)
    targets = torch.arange(32).roll(16)

    losses = []
    for _ in range(20):
        z = head.forward(encoder.forward(batch, training=True), training=True)
        loss, d_z = nf.nt_xent(z.reshape(2, 16, 32), temperature=0.5)
        encoder.backward(head.backward(d_z.reshape(32, 32), input_gradient=True))
        ours.step()

        z = nn.functional.normalize(model(to_torch(batch)))
        scores = (z @ z.T / 0.5).masked_fill(torch.eye(32, dtype=bool), -torch.inf)
        their_loss = nn.functional.cross_entropy(scores, targets)
        theirs.zero_grad()
        their_loss.backward()
        theirs.step()
        losses.append((loss, their_loss.item()))
    losses = np.array(losses)
    assert losses[-1, 1] < 0.8 * losses[0, 1]
    assert (abs(losses[:, 0] / losses[:, 1] - 1) < 1e-3).all(), losses


# ---- encoders made of other layers, module by module ----


@pytest.mark.parametrize(
    "encoder, size",
    [
        (lambda: nf.mobilenet(width=0.25), 16),
        (lambda: nf.mobilenet(width=0.25, stem="imagenet"), 64),
        (lambda: nf.convnext((1, 2, 1), width=12, stem=2), 16),
        (lambda: nf.resnet9(width=8), 16),
        (lambda: nf.wide_resnet(10, 1), 16),
        (lambda: nf.Network([nf.layers.Conv(8, 3), nf.layers.SiLU(), nf.layers.DepthwiseConv(5, 2)], (9, 9, 3)), 9),
    ],
    ids=["mobilenet", "mobilenet-imagenet", "convnext", "resnet9", "wide_resnet", "silu"],
)
def test_other_encoders(encoder, size):
    ours = encoder()
    theirs = torch_models.encoder(ours).double().train()
    x = np.random.default_rng(0).normal(size=(6, size, size, 3)).astype(np.float32)
    y = ours.forward(x, training=True)
    wanted = theirs(torch.from_numpy(x).double().permute(0, 3, 1, 2))
    d_y = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    d_wanted = torch.from_numpy(d_y).double()
    wanted.backward(d_wanted.permute(0, 3, 1, 2) if d_y.ndim == 4 else d_wanted)
    wanted = wanted.detach().numpy()
    np.testing.assert_allclose(y, wanted.transpose(0, 2, 3, 1) if d_y.ndim == 4 else wanted, rtol=1e-3, atol=1e-4)
    ours.backward(d_y)
    found = ours.gradient_dict()
    largest = max(float(parameter.grad.norm()) for parameter in theirs.parameters())
    for name, parameter in theirs.named_parameters():
        gradient = parameter.grad.numpy()
        error = np.linalg.norm(found[name] - gradient)
        assert error <= 2 * TOLERANCE * max(np.linalg.norm(gradient), 1e-3 * largest), name
