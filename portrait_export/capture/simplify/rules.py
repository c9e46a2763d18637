"""List the rewrite rules in the order in which they are tried."""

from __future__ import annotations

from typing import Any

from . import (
    affine_after_conv,
    affine_after_linear,
    affine_before_concat,
    affine_before_conv,
    affine_before_resize,
    argmax_of_two,
    channels_first,
    conv_after_resize,
    conv_before_resize,
    conv_before_rows,
    conv_chain,
    gelu,
    identity,
    identity_resize,
    layer_norm,
    linear_chain,
    narrow_cast,
    scale_before_product,
    split_concat_conv,
    transposed_product,
    two_classes,
    unread_channels,
)
from .rule import Rule

RULES: tuple[Rule[Any], ...] = (
    identity.RULE,
    narrow_cast.RULE,
    identity_resize.RULE,
    layer_norm.RULE,  # before channels-first, which follows whole layer norms
    gelu.RULE,
    channels_first.RULE,  # turns linears into convolutions, which the rules below are about
    transposed_product.RULE,
    scale_before_product.RULE,  # to a convolution, which takes it in
    two_classes.RULE,
    argmax_of_two.RULE,
    unread_channels.RULE,
    affine_after_conv.RULE,  # before the rules that move convolutions: a batch norm would block them
    affine_after_linear.RULE,
    linear_chain.RULE,
    affine_before_conv.RULE,
    affine_before_resize.RULE,
    affine_before_concat.RULE,
    conv_chain.RULE,
    split_concat_conv.RULE,
    conv_before_resize.RULE,
    conv_after_resize.RULE,  # after the rules that merge convolutions: what it leaves cannot be merged any more
    conv_before_rows.RULE,
)
