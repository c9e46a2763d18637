"""The reference networks reimplemented as formulas on a state dict's tensors: an independent oracle.

Written from the description of the research system, without the package's modules: own bilinear resize, own norms, own
attention, in double precision. Whatever the package's networks get wrong (an order, an eps, a corner), this does not.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
HEADS = (1, 2, 5, 8)


def resize(x: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """Bilinear, as one matrix per axis."""
    rows = _weights(x.shape[2], size[0], align_corners)
    columns = _weights(x.shape[3], size[1], align_corners)
    return torch.einsum("ih,nchw,jw->ncij", rows, x, columns)


def _weights(source: int, target: int, align_corners: bool) -> Tensor:
    matrix = torch.zeros(target, source, dtype=torch.float64)
    for i in range(target):
        if align_corners:
            at = i * (source - 1) / (target - 1) if target > 1 else 0.0
        else:
            at = min(max((i + 0.5) * source / target - 0.5, 0.0), source - 1.0)
        low = int(at)
        high = min(low + 1, source - 1)
        matrix[i, low] += 1 - (at - low)
        matrix[i, high] += at - low
    return matrix


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def gate(x: Tensor) -> Tensor:
    return x * sigmoid(x)


def prelu(s: State, key: str, x: Tensor) -> Tensor:
    slope = s[f"{key}.weight"]
    return torch.where(x > 0, x, x * slope)


def batch_norm(s: State, key: str, x: Tensor) -> Tensor:
    mean, var, g, b = (
        s[f"{key}.{name}"].reshape(1, -1, 1, 1) for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * g + b


def layer_norm(s: State, key: str, tokens: Tensor, eps: float = 1e-5) -> Tensor:
    mean = tokens.mean(-1, keepdim=True)
    var = ((tokens - mean) ** 2).mean(-1, keepdim=True)
    return (tokens - mean) / torch.sqrt(var + eps) * s[f"{key}.weight"] + s[f"{key}.bias"]


def linear(s: State, key: str, tokens: Tensor) -> Tensor:
    return tokens @ s[f"{key}.weight"].T + s[f"{key}.bias"]


def channel_linear(s: State, key: str, x: Tensor) -> Tensor:
    return linear(s, key, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def conv(s: State, key: str, x: Tensor, **options: int) -> Tensor:
    return F.conv2d(x, s[f"{key}.weight"], s.get(f"{key}.bias"), **options)


def tokens_of(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])


def map_of(tokens: Tensor, h: int, w: int) -> Tensor:
    return tokens.reshape(tokens.shape[0], h, w, -1).permute(0, 3, 1, 2)


def encoder(s: State, p: str, image: Tensor, depths: list[Tensor], *, abg: bool) -> list[Tensor]:
    x, outputs = image, []
    for i, reduction in enumerate((8, 4, 2, 1)):
        if depths:
            x = torch.cat([x, depths[i]], 1)
        kernel = 7 if i == 0 else 3
        x = conv(s, f"{p}.patch_embeddings.{i}.proj", x, stride=4 if i == 0 else 2, padding=kernel // 2)
        h, w = x.shape[2:]
        t = layer_norm(s, f"{p}.patch_embeddings.{i}.layer_norm", tokens_of(x))
        t = t + gate(t) if abg else t
        j = 0
        while f"{p}.block.{i}.{j}.layer_norm_1.weight" in s:
            b = f"{p}.block.{i}.{j}"
            t = t + attention(s, f"{b}.attention", layer_norm(s, f"{b}.layer_norm_1", t), h, w, i, reduction, abg)
            t = t + feed_forward(s, f"{b}.mlp", layer_norm(s, f"{b}.layer_norm_2", t), h, w, abg)
            j += 1
        x = map_of(layer_norm(s, f"{p}.layer_norm.{i}", t), h, w)
        outputs.append(x)
    return outputs


def attention(s: State, p: str, t: Tensor, h: int, w: int, stage: int, reduction: int, abg: bool) -> Tensor:
    source = t
    if reduction > 1:
        reduced = tokens_of(conv(s, f"{p}.self.sr", map_of(t, h, w), stride=reduction))
        source = layer_norm(s, f"{p}.self.layer_norm", reduced)
        source = source + gate(source) if abg else source
    q, k, v = linear(s, f"{p}.self.query", t), linear(s, f"{p}.self.key", source), linear(s, f"{p}.self.value", source)
    width = q.shape[-1] // HEADS[stage]
    results = []
    for head in range(HEADS[stage]):
        part = slice(head * width, (head + 1) * width)
        scores = torch.exp(q[..., part] @ k[..., part].transpose(1, 2) / width**0.5)
        results.append(scores / scores.sum(-1, keepdim=True) @ v[..., part])
    return linear(s, f"{p}.output.dense", torch.cat(results, -1))


def feed_forward(s: State, p: str, t: Tensor, h: int, w: int, abg: bool) -> Tensor:
    x = map_of(linear(s, f"{p}.dense1", t), h, w)
    x = tokens_of(conv(s, f"{p}.dwconv.dwconv", x, padding=1, groups=x.shape[1]))
    gelu = 0.5 * x * (1 + torch.erf(x / 2**0.5))
    return linear(s, f"{p}.dense2", gelu + gate(x) if abg else gelu)


def upsample_block(s: State, p: str, x: Tensor, scale: int) -> Tensor:
    x = resize(x, (x.shape[2] * scale, x.shape[3] * scale), align_corners=True)
    return prelu(s, f"{p}.relu", batch_norm(s, f"{p}.bn", conv(s, f"{p}.conv", x, padding=1)))


def dbn(s: State, p: str, x: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for n, dilation in ((1, 12), (2, 16), (3, 18)):
        k = f"{p}.dilated_conv{n}"
        y = conv(s, f"{k}.conv", x, padding=dilation, dilation=dilation)
        total = total + prelu(s, f"{k}.relu", batch_norm(s, f"{k}.bn", y))
    return total


def afn(s: State, p: str, x: Tensor, *, context: bool) -> Tensor:
    for n in (1, 2, 3):
        y = conv(s, f"{p}.conv{n}", x, padding=1, stride=2 if context and n < 3 else 1)
        y = batch_norm(s, f"{p}.bn{n}", y)
        x = prelu(s, f"{p}.relu{n}", y) + gate(y)
    return x


def dam(s: State, p: str, x: Tensor) -> Tensor:
    for n in (0, 1):
        c = conv(s, f"{p}.dam.{n}.cam.conv", x, padding=1)
        a = c.mean((2, 3), keepdim=True)
        a = prelu(s, f"{p}.dam.{n}.cam.attn.2", conv(s, f"{p}.dam.{n}.cam.attn.1", a))
        c = c + c * sigmoid(conv(s, f"{p}.dam.{n}.cam.attn.3", a))
        m = conv(s, f"{p}.dam.{n}.sam.conv", x, padding=1)
        a = m.mean(1, keepdim=True)
        a = prelu(s, f"{p}.dam.{n}.sam.attn.2", conv(s, f"{p}.dam.{n}.sam.attn.1", a, padding=3))
        m = m + m * sigmoid(conv(s, f"{p}.dam.{n}.sam.attn.3", a, padding=6, dilation=2))
        x = torch.cat([c, m], 1)
    return x


def centre_samples(depth: Tensor, ratio: int) -> Tensor:
    """The mean of the 2×2 pixels at each cell's centre, which is what a bilinear resize by 1/ratio reads."""
    n, _, h, w = depth.shape
    cells = depth.reshape(n, 1, h // ratio, ratio, w // ratio, ratio)
    middle = slice(ratio // 2 - 1, ratio // 2 + 1)
    return cells[:, :, :, middle][..., middle].mean((3, 5))


def segformer_like(state: State, image: Tensor, depth: Tensor | None = None, *, abg: bool = False) -> Tensor:
    """Logits of a SegFormer or a SERSeg. The switches are read off the keys; `abg` has none."""
    s = {key: tensor.double() for key, tensor in state.items()}
    p = "sersegformer.encoder" if "sersegformer.encoder.layer_norm.0.weight" in s else "segformer.encoder"
    d = "decode_head"
    pyramid = [] if depth is None else [depth.double(), *(centre_samples(depth.double(), r) for r in (4, 8, 16))]
    e = encoder(s, p, image.double(), pyramid, abg=abg)
    if f"{d}.dbn1.dilated_conv1.conv.weight" in s:
        e[0] = torch.cat([dbn(s, f"{d}.dbn1", e[0]), e[0]], 1)
        e[1] = torch.cat([dbn(s, f"{d}.dbn2", e[1]), e[1]], 1)
    if f"{d}.afn11.conv1.weight" in s:
        e[0] = torch.cat([afn(s, f"{d}.afn11", e[0], context=False), e[0]], 1)
        e[1] = torch.cat([afn(s, f"{d}.afn22", e[1], context=False), e[1]], 1)
        third = afn(s, f"{d}.afn13", e[0], context=True), afn(s, f"{d}.afn33", e[2], context=False)
        fourth = afn(s, f"{d}.afn24", e[1], context=True), afn(s, f"{d}.afn44", e[3], context=False)
        e[2], e[3] = torch.cat([*third, e[2]], 1), torch.cat([*fourth, e[3]], 1)
    if depth is not None:
        e[:3] = [torch.cat([x, level], 1) for x, level in zip(e[:3], pyramid[1:], strict=True)]
    if f"{d}.dam.conv_cam.weight" in s:
        e[0] = dam(s, f"{d}.dam", e[0])
    size = (e[0].shape[2], e[0].shape[3])
    maps = [resize(channel_linear(s, f"{d}.linear_c.{i}.proj", e[i]), size, align_corners=False) for i in (3, 2, 1, 0)]
    x = batch_norm(s, f"{d}.batch_norm", conv(s, f"{d}.linear_fuse", torch.cat(maps, 1)))
    x = torch.where(x > 0, x, torch.zeros_like(x))
    if f"{d}.upsample1.conv.weight" in s:
        x = upsample_block(s, f"{d}.upsample1", x, 2)
        if f"{d}.afn_final.0.conv1.weight" in s:
            context = afn(s, f"{d}.afn_final.0", x, context=True)
            x = x + upsample_block(s, f"{d}.afn_final.1", context, 4)
        x = upsample_block(s, f"{d}.upsample2", x, 2)
    return channel_linear(s, f"{d}.classifier", x)


def sernet(state: State, image: Tensor) -> Tensor:
    """Logits of SERNet-Former."""
    s = {key: tensor.double() for key, tensor in state.items()}

    def block(key: str, x: Tensor, stride: int = 1) -> Tensor:
        y = batch_norm(s, f"{key}.bn", conv(s, f"{key}.conv", x, padding=1, stride=stride))
        return prelu(s, f"{key}.relu", y) + gate(y)

    half = block("encoder.initial_conv", image.double(), 2)
    padded = F.pad(half, (1, 1, 1, 1), value=float("-inf"))
    windows = padded.unfold(2, 3, 2).unfold(3, 3, 2)
    quarter = block("encoder.conv1", windows.amax((-1, -2)))
    deep = block("encoder.conv4", block("encoder.conv3", block("encoder.conv2", quarter, 2), 2))
    deep = dbn(s, "encoder.dbn", deep)
    u1 = upsample_block(s, "decoder.afn1.upsample_block1", quarter, 1)
    a1 = u1 + upsample_block(s, "decoder.afn1.upsample_block2", afn(s, "decoder.afn1.afn", u1, context=False), 1)
    u2 = upsample_block(s, "decoder.afn2.upsample_block1", deep, 4)
    a2 = u2 + upsample_block(s, "decoder.afn2.upsample_block2", afn(s, "decoder.afn2.afn", u2, context=True), 4)
    x = batch_norm(s, "decoder.bn1", conv(s, "decoder.conv1", torch.cat([quarter, a1, a2], 1)))
    x = upsample_block(s, "decoder.upsample1", prelu(s, "decoder.relu1", x), 2)
    x = upsample_block(s, "decoder.upsample2", torch.cat([half, x], 1), 2)
    return channel_linear(s, "decoder.cls_head", x)
