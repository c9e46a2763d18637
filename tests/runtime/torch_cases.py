"""Define small torch computations by family for `test_torch_conversions.py`: each row is one behaviour.

A row is a function of its family's inputs. All rows of a family are converted as one module with many outputs, so that
hundreds of rows cost a dozen conversions for each deployment target and precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Row = Callable[..., Tensor]


def normal(seed: int, *shape: int) -> Tensor:
    """Seeded standard normal values."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Family:
    """Rows that share their inputs.

    Attributes:
        inputs: example tensors; the rows take them in order.
        since: the oldest deployment target that can express all rows.
    """

    inputs: tuple[Tensor, ...]
    rows: dict[str, Row]
    since: str = "iOS15"


IMAGE = normal(0, 2, 4, 9, 7)
TOKENS = normal(1, 2, 5, 8)
OTHER = normal(2, 2, 5, 8)
LINE = normal(3, 2, 4, 11)
VOLUME = normal(4, 1, 2, 5, 6, 4)
INDEX = torch.tensor([[3, 0, 2, 1, 4], [1, 1, 0, 4, 2]], dtype=torch.int32)
POSITIVE = IMAGE.abs() + 0.25

W = {name: normal(10 + i, *shape) * 0.3 for i, (name, shape) in enumerate({
    "k3": (6, 4, 3, 3), "k2": (6, 4, 2, 2), "k1": (5, 4, 1, 1), "depthwise": (4, 1, 3, 3), "grouped": (6, 2, 3, 3),
    "k35": (3, 4, 3, 5), "line": (6, 4, 3), "volume": (3, 2, 2, 3, 2), "up2": (4, 6, 2, 2), "up3": (4, 6, 3, 3),
    "up4": (4, 3, 4, 4), "upgroup": (4, 3, 3, 3), "upline": (4, 6, 4), "linear": (6, 8), "b6": (6,), "b5": (5,),
    "c4": (4,), "d8": (8,), "v": (8, 3),
}.items())}  # fmt: skip
VARIANCE = W["c4"].abs() + 0.5

CONV = Family(
    (IMAGE,),
    {
        "plain": lambda x: F.conv2d(x, W["k3"], W["b6"]),
        "no_bias": lambda x: F.conv2d(x, W["k3"]),
        "padded": lambda x: F.conv2d(x, W["k3"], W["b6"], padding=1),
        "asymmetric_sizes": lambda x: F.conv2d(x, W["k35"], padding=(0, 2)),
        "stride_2": lambda x: F.conv2d(x, W["k3"], stride=2, padding=1),
        "stride_by_axis": lambda x: F.conv2d(x, W["k3"], stride=(3, 1), padding=(2, 0)),
        "dilated": lambda x: F.conv2d(x, W["k3"], dilation=2, padding=2),
        "dilated_by_axis": lambda x: F.conv2d(x, W["k3"], dilation=(1, 3), padding=(1, 3)),
        "even_kernel": lambda x: F.conv2d(x, W["k2"], stride=2),
        "pointwise": lambda x: F.conv2d(x, W["k1"], W["b5"]),
        "depthwise": lambda x: F.conv2d(x, W["depthwise"], groups=4, padding=1),
        "depthwise_stride": lambda x: F.conv2d(x, W["depthwise"], groups=4, padding=1, stride=2),
        "grouped": lambda x: F.conv2d(x, W["grouped"], W["b6"], groups=2),
        "same": lambda x: F.conv2d(x, W["k3"], padding="same"),
        "same_even": lambda x: F.conv2d(x, W["k2"], padding="same"),
        "padded_by_reflection": lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), W["k3"]),
        "padded_by_replication": lambda x: F.conv2d(F.pad(x, (2, 1, 0, 3), mode="replicate"), W["k3"]),
        "transposed": lambda x: F.conv_transpose2d(x, W["up2"], W["b6"], stride=2),
        "transposed_padded": lambda x: F.conv_transpose2d(x, W["up4"], stride=2, padding=1),
        "transposed_output_padding": lambda x: F.conv_transpose2d(x, W["up3"], stride=2, padding=1, output_padding=1),
        "transposed_odd": lambda x: F.conv_transpose2d(x, W["up3"], stride=3, padding=1),
        "transposed_dilated": lambda x: F.conv_transpose2d(x, W["up3"], dilation=2, padding=1),
        "transposed_grouped": lambda x: F.conv_transpose2d(x, W["upgroup"], groups=2, stride=2),
        "with_batch_norm": lambda x: F.batch_norm(
            F.conv2d(x, W["k1"], W["b5"]), W["b5"], W["b5"].abs() + 0.5, W["b5"] + 1, W["b5"] * 2
        ),
        "weight_of_the_input": lambda x: F.conv2d(x[:1], x[:, :, :3, :3]),
    },
)
CONV_1D = Family(
    (LINE,),
    {
        "plain": lambda x: F.conv1d(x, W["line"], W["b6"]),
        "padded_stride": lambda x: F.conv1d(x, W["line"], padding=1, stride=2),
        "dilated": lambda x: F.conv1d(x, W["line"], dilation=3, padding=3),
        "transposed": lambda x: F.conv_transpose1d(x, W["upline"], stride=2, padding=1),
        "max_pool": lambda x: F.max_pool1d(x, 3, 2, padding=1),
        "avg_pool": lambda x: F.avg_pool1d(x, 3, 2, padding=1),
        "adaptive_pool": lambda x: F.adaptive_avg_pool1d(x, 1),
        "nearest": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        "linear": lambda x: F.interpolate(x, size=22, mode="linear", align_corners=False),
        "instance_norm": lambda x: F.instance_norm(x),
        "batch_norm": lambda x: F.batch_norm(x, W["c4"], VARIANCE),
        "prelu": lambda x: F.prelu(x, torch.tensor([0.3])),
        "replicate": lambda x: F.pad(x, (2, 3), mode="replicate"),
        "glu": lambda x: F.glu(x, 1),
    },
)
CONV_3D = Family(
    (VOLUME,),
    {
        "plain": lambda x: F.conv3d(x, W["volume"]),
        "stride_padded": lambda x: F.conv3d(x, W["volume"], stride=(1, 2, 1), padding=(1, 1, 0)),
        "max_pool": lambda x: F.max_pool3d(x, 2),
        "avg_pool": lambda x: F.avg_pool3d(x, (2, 3, 2), stride=(1, 2, 2)),
        "batch_norm": lambda x: F.batch_norm(x, W["c4"][:2], VARIANCE[:2]),
        "mean": lambda x: x.mean((2, 3, 4)),
    },
)
POOL = Family(
    (IMAGE,),
    {
        "max": lambda x: F.max_pool2d(x, 2),
        "max_stride": lambda x: F.max_pool2d(x, 3, 2),
        "max_padded": lambda x: F.max_pool2d(x, 3, 2, padding=1),
        "max_ceil": lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True),
        "max_ceil_padded": lambda x: F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True),
        "max_by_axis": lambda x: F.max_pool2d(x, (3, 2), (1, 2), padding=(1, 0)),
        "avg": lambda x: F.avg_pool2d(x, 2),
        "avg_padded": lambda x: F.avg_pool2d(x, 3, 2, padding=1),
        "avg_padding_excluded": lambda x: F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False),
        "avg_ceil_excluded": lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False),
        "avg_by_axis": lambda x: F.avg_pool2d(x, (2, 3), (2, 1)),
        "adaptive_1": lambda x: F.adaptive_avg_pool2d(x, 1),
        "adaptive_even": lambda x: F.adaptive_avg_pool2d(x[:, :, :8, :6], (4, 3)),
        "adaptive_max": lambda x: F.adaptive_max_pool2d(x, 1),
        "global_mean": lambda x: x.mean((2, 3), keepdim=True),
    },
)
ACTIVATION = Family(
    (IMAGE,),
    {
        "relu": F.relu,
        "relu6": lambda x: F.relu6(x * 5),
        "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
        "prelu": lambda x: F.prelu(x, W["c4"]),
        "elu": lambda x: F.elu(x, 0.7),
        "selu": F.selu,
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": F.silu,
        "mish": F.mish,
        "sigmoid": torch.sigmoid,
        "hard_sigmoid": F.hardsigmoid,
        "hard_swish": lambda x: F.hardswish(x * 3),
        "hard_tanh": lambda x: F.hardtanh(x, -0.5, 0.7),
        "tanh": torch.tanh,
        "softplus": F.softplus,
        "softsign": F.softsign,
        "threshold": lambda x: F.threshold(x, 0.3, 0.0),
        "softmax_channels": lambda x: F.softmax(x, 1),
        "softmax_last": lambda x: F.softmax(x, -1),
        "log_softmax": lambda x: F.log_softmax(x, 1),
    },
)
ELEMENTWISE = Family(
    (IMAGE, POSITIVE),
    {
        "add": lambda x, y: x + y,
        "sub_scalar": lambda x, y: 1.5 - x,
        "mul": lambda x, y: x * y,
        "div": lambda x, y: x / y,
        "div_floor": lambda x, y: torch.floor_divide(x * 4, 1.25),
        "pow_2": lambda x, y: x**2,
        "pow_half": lambda x, y: y**0.5,
        "pow_tensor": lambda x, y: torch.pow(y, x),
        "abs": lambda x, y: x.abs(),
        "neg": lambda x, y: -x,
        "exp": lambda x, y: torch.exp(x),
        "log": lambda x, y: torch.log(y),
        "log1p": lambda x, y: torch.log(1 + y),
        "sqrt": lambda x, y: torch.sqrt(y),
        "rsqrt": lambda x, y: torch.rsqrt(y),
        "sin_cos": lambda x, y: torch.sin(x) * torch.cos(x),
        "tan": lambda x, y: torch.tan(x * 0.3),
        "asin": lambda x, y: torch.asin(torch.tanh(x)),
        "acos": lambda x, y: torch.acos(torch.tanh(x) * 0.9),
        "atan": lambda x, y: torch.atan(x),
        "sinh": lambda x, y: torch.sinh(x),
        "cosh": lambda x, y: torch.cosh(x),
        "erf": lambda x, y: torch.erf(x),
        "floor": lambda x, y: torch.floor(x * 3 + 0.1),
        "ceil": lambda x, y: torch.ceil(x * 3 + 0.1),
        "round": lambda x, y: torch.round(x * 3),
        "sign": lambda x, y: torch.sign(x),
        "clamp": lambda x, y: x.clamp(-0.4, 0.6),
        "clamp_min": lambda x, y: x.clamp(min=-0.4),
        "maximum": lambda x, y: torch.maximum(x, y - 1),
        "minimum": lambda x, y: torch.minimum(x, y - 1),
        "where": lambda x, y: torch.where(x > 0, x, y),
        "greater": lambda x, y: (x > 0.3).float(),
        "equal": lambda x, y: (torch.floor(x) == 0).float(),
        "and": lambda x, y: ((x > 0) & (y > 0.5)).float(),
        "not": lambda x, y: (~(x > 0)).float(),
        "broadcast": lambda x, y: x * y[:, :1, :1] + y[0, 0, 0],
        "masked_fill": lambda x, y: x.masked_fill(x > 0.5, -2.0),
        "remainder": lambda x, y: torch.remainder(x * 5, 1.75),
        "square": lambda x, y: torch.square(x),
    },
)
REDUCTION = Family(
    (IMAGE,),
    {
        "sum_all": lambda x: x.sum((0, 1, 2, 3), keepdim=True),
        "sum_axis": lambda x: x.sum(1),
        "sum_negative_axes": lambda x: x.sum((-1, -2), keepdim=True),
        "mean": lambda x: x.mean(-1),
        "mean_kept": lambda x: x.mean((2, 3), keepdim=True),
        "max_axis": lambda x: x.max(1)[0],
        "min_axis": lambda x: x.min(-1, keepdim=True)[0],
        "amax": lambda x: torch.amax(x, (2, 3)),
        "amin": lambda x: torch.amin(x, (1,)),
        "argmax": lambda x: x.argmax(1),
        "argmin_kept": lambda x: x.argmin(-1, keepdim=True),
        "norm": lambda x: torch.norm(x, dim=1),
        "norm_1": lambda x: torch.norm(x, p=1, dim=2),
        "var": lambda x: x.var(1, unbiased=False),
        "std": lambda x: x.std((2, 3), unbiased=True),
        "logsumexp": lambda x: torch.logsumexp(x, 1),
        "cumsum": lambda x: x.cumsum(2),
        "normalize": lambda x: F.normalize(x, dim=1),
        "cosine": lambda x: F.cosine_similarity(x, x.flip(1), dim=1),
    },
)
SHAPE = Family(
    (IMAGE, TOKENS),
    {
        "reshape": lambda x, t: x.reshape(2, 4, 63),
        "view_minus_one": lambda x, t: x.view(2, -1, 7),
        "flatten": lambda x, t: x.flatten(2),
        "unflatten": lambda x, t: x.reshape(2, 2, 2, 9, 7),
        "permute": lambda x, t: x.permute(0, 2, 3, 1),
        "transpose": lambda x, t: t.transpose(1, 2),
        "unsqueeze": lambda x, t: t.unsqueeze(1),
        "squeeze": lambda x, t: x[:, :1].squeeze(1),
        "cat": lambda x, t: torch.cat([x, x[:, :1] * 2], 1),
        "cat_last": lambda x, t: torch.cat([x, x], -1),
        "stack": lambda x, t: torch.stack([t, t + 1], 1),
        "chunk": lambda x, t: torch.chunk(x, 2, 1)[1],
        "split": lambda x, t: torch.split(x, [1, 3], 1)[1],
        "slice": lambda x, t: x[:, 1:3, 2:, :-1],
        "slice_step": lambda x, t: x[:, :, ::2, 1::3],
        "select": lambda x, t: x[:, 2],
        "select_negative": lambda x, t: t[:, -1],
        "narrow": lambda x, t: x.narrow(2, 3, 4),
        "flip": lambda x, t: x.flip((2, 3)),
        "roll": lambda x, t: torch.roll(x, (1, -2), (2, 3)),
        "expand": lambda x, t: t[:, :1].expand(2, 5, 8),
        "repeat": lambda x, t: t.repeat(1, 2, 3),
        "repeat_interleave": lambda x, t: t.repeat_interleave(2, 1),
        "pad_constant": lambda x, t: F.pad(x, (1, 2, 0, 3), value=0.5),
        "pad_reflect": lambda x, t: F.pad(x, (2, 1, 3, 0), mode="reflect"),
        "pad_replicate": lambda x, t: F.pad(x, (2, 1, 3, 0), mode="replicate"),
        "pixel_shuffle": lambda x, t: F.pixel_shuffle(x, 2),
        "tril": lambda x, t: torch.tril(t),
        "triu": lambda x, t: torch.triu(t, 1),
        "meshgrid_like": lambda x, t: t + torch.arange(5).reshape(1, 5, 1),
        "ones_like": lambda x, t: torch.ones_like(t) + t,
        "unbind": lambda x, t: t.unbind(1)[3],
        "swap_and_add": lambda x, t: t.transpose(0, 1) + t.transpose(0, 1).flip(0),
    },
)
RESIZE = Family(
    (IMAGE,),
    {
        "bilinear_x2": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
        "bilinear_aligned": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        "bilinear_to_size": lambda x: F.interpolate(x, size=(20, 15), mode="bilinear", align_corners=False),
        "bilinear_to_size_aligned": lambda x: F.interpolate(x, size=(20, 15), mode="bilinear", align_corners=True),
        "bilinear_down": lambda x: F.interpolate(x, size=(4, 5), mode="bilinear", align_corners=False),
        "bilinear_x4": lambda x: F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False),
        "bilinear_by_axis": lambda x: F.interpolate(x, scale_factor=(2, 3), mode="bilinear", align_corners=False),
        "nearest_x2": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        "nearest_x3": lambda x: F.interpolate(x, scale_factor=3, mode="nearest"),
        "nearest_to_size": lambda x: F.interpolate(x, size=(18, 14), mode="nearest"),
    },
)
GRID = Family(
    (IMAGE, torch.tanh(normal(5, 2, 5, 6, 2)) * 1.1),
    {
        "bilinear_zeros": lambda x, g: F.grid_sample(x, g, align_corners=False),
        "bilinear_aligned": lambda x, g: F.grid_sample(x, g, align_corners=True),
        "bilinear_border": lambda x, g: F.grid_sample(x, g, padding_mode="border", align_corners=False),
        "nearest": lambda x, g: F.grid_sample(x, g, mode="nearest", align_corners=False),
        "reflection": lambda x, g: F.grid_sample(x, g, padding_mode="reflection", align_corners=True),
    },
)
LINEAR = Family(
    (TOKENS, OTHER),
    {
        "linear": lambda x, y: F.linear(x, W["linear"], W["b6"]),
        "linear_no_bias": lambda x, y: F.linear(x, W["linear"]),
        "matmul_constant": lambda x, y: x @ W["v"],
        "matmul": lambda x, y: x @ y.transpose(1, 2),
        "matmul_transposed": lambda x, y: x.transpose(1, 2) @ y,
        "bmm": lambda x, y: torch.bmm(x, y.transpose(1, 2)),
        "matmul_broadcast": lambda x, y: x.unsqueeze(1) @ y[:1].transpose(1, 2),
        "einsum": lambda x, y: torch.einsum("bid,bjd->bij", x, y),
        "einsum_outer": lambda x, y: torch.einsum("bid,bie->bde", x, y),
        "addmm": lambda x, y: torch.addmm(W["b6"], x[0], W["linear"].t()),
        "attention": lambda x, y: F.softmax(x @ y.transpose(1, 2) / 8**0.5, -1) @ y,
        "sdpa": lambda x, y: F.scaled_dot_product_attention(x.unsqueeze(1), y.unsqueeze(1), y.unsqueeze(1)),
        "sdpa_masked": lambda x, y: F.scaled_dot_product_attention(
            x.unsqueeze(1), y.unsqueeze(1), y.unsqueeze(1), attn_mask=torch.tril(torch.ones(5, 5, dtype=torch.bool))
        ),
        "heads": lambda x, y: x.reshape(2, 5, 2, 4).permute(0, 2, 1, 3) @ y.reshape(2, 5, 2, 4).permute(0, 2, 3, 1),
    },
)
NORM = Family(
    (IMAGE, TOKENS),
    {
        "batch": lambda x, t: F.batch_norm(x, W["c4"], VARIANCE, W["c4"] + 1, W["c4"] * 2, eps=1e-3),
        "batch_plain": lambda x, t: F.batch_norm(x, W["c4"], VARIANCE),
        "layer": lambda x, t: F.layer_norm(t, (8,), W["d8"] + 1, W["d8"], eps=1e-6),
        "layer_plain": lambda x, t: F.layer_norm(t, (8,)),
        "layer_two_axes": lambda x, t: F.layer_norm(t, (5, 8)),
        "layer_channels_first": lambda x, t: F.layer_norm(x.permute(0, 2, 3, 1), (4,), W["c4"]).permute(0, 3, 1, 2),
        "instance": lambda x, t: F.instance_norm(x, weight=W["c4"] + 1, bias=W["c4"]),
        "group": lambda x, t: F.group_norm(x, 2, W["c4"] + 1, W["c4"]),
        "local_response": lambda x, t: F.local_response_norm(x, 3),
        "rms": lambda x, t: t * torch.rsqrt(t.pow(2).mean(-1, keepdim=True) + 1e-5) * W["d8"],
    },
)
INDEXING = Family(
    (TOKENS, INDEX),
    {
        "embedding": lambda x, i: F.embedding(i, W["v"]),
        "gather": lambda x, i: torch.gather(x, 1, i.long().unsqueeze(-1).expand(-1, -1, 8)),
        "index_select": lambda x, i: torch.index_select(x, 1, torch.tensor([2, 0])),
        "index_by_list": lambda x, i: x[:, [4, 1, 1]],
        "one_hot": lambda x, i: F.one_hot(i.long(), 6).float(),
        "topk_values": lambda x, i: x.topk(3, -1)[0],
        "topk_smallest": lambda x, i: x.topk(2, 1, largest=False)[0],
        "topk_indices": lambda x, i: x.topk(3, -1)[1],
        "sort": lambda x, i: x.sort(-1)[0],
        "argsort": lambda x, i: x.argsort(1, descending=True),
        "masked_by_index": lambda x, i: x * (i > 1).unsqueeze(-1),
        "scatter_add": lambda x, i: torch.zeros(2, 5, 8).scatter_add(1, i.long().unsqueeze(-1).expand(-1, -1, 8), x),
        "int_arithmetic": lambda x, i: (i * 3 + 1) // 2 - i % 2,
        "int_compare": lambda x, i: (i >= 2).int(),
        "int_sum": lambda x, i: i.sum(1).int(),
        "bucket": lambda x, i: (x > 0).int().sum(-1).int(),
    },
)


class Recurrent(nn.Module):
    """A torch recurrent layer as a row; its weights are seeded."""

    def __init__(self, layer: nn.Module, seed: int):
        super().__init__()
        self.layer = layer
        for i, parameter in enumerate(layer.parameters()):
            parameter.data = normal(seed + i, *parameter.shape) * 0.4

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


RECURRENT = Family(
    (TOKENS,),
    {
        "lstm": Recurrent(nn.LSTM(8, 6, batch_first=True), 30),
        "lstm_bidirectional": Recurrent(nn.LSTM(8, 6, batch_first=True, bidirectional=True), 40),
        "lstm_two_layers": Recurrent(nn.LSTM(8, 6, num_layers=2), 50),
        "lstm_no_bias": Recurrent(nn.LSTM(8, 6, bias=False), 60),
        "gru": Recurrent(nn.GRU(8, 6, batch_first=True), 70),
        "gru_bidirectional": Recurrent(nn.GRU(8, 6, batch_first=True, bidirectional=True), 80),
        "rnn_tanh": Recurrent(nn.RNN(8, 6, batch_first=True), 90),
        "rnn_relu": Recurrent(nn.RNN(8, 6, nonlinearity="relu"), 100),
    },
)

FAMILIES: dict[str, Family] = {
    "conv": CONV,
    "conv_1d": CONV_1D,
    "conv_3d": CONV_3D,
    "pool": POOL,
    "activation": ACTIVATION,
    "elementwise": ELEMENTWISE,
    "reduction": REDUCTION,
    "shape": SHAPE,
    "resize": RESIZE,
    "grid": GRID,
    "linear": LINEAR,
    "norm": NORM,
    "indexing": INDEXING,
    "recurrent": RECURRENT,
}


class Together(nn.Module):
    """All rows of a family as one module with as many outputs."""

    def __init__(self, rows: dict[str, Row]):
        super().__init__()
        self.rows = list(rows.values())
        self.parts = nn.ModuleList(row for row in self.rows if isinstance(row, nn.Module))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(row(*inputs) for row in self.rows)
