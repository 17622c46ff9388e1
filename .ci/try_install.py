"""Fails unless an installed nearfar takes a step of training."""

import nearfar as nf
import numpy as np

random = np.random.default_rng(0)
network = nf.resnet(18, width=8)
z = network.forward(random.normal(size=(8, 32, 32, 3)).astype(np.float32), training=True)
loss, d_z = nf.nt_xent(z.reshape(2, 4, -1))
network.backward(d_z.reshape(z.shape))
before = network.parameters.copy()
nf.SGD(network, lr=0.1).step()
assert np.isfinite(loss) and not np.array_equal(before, network.parameters)
assert nf.__version__ != "0+unknown"
print(f"nearfar {nf.__version__} from {nf.__file__}")
