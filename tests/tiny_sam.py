"""A segmenter folder with random weights: SAM's architecture, small."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

SIDE = 64  # pixels that its encoder sees


def write_tiny_sam(folder: Path) -> Path:
    """Writes model and processor as their makers write them; returns the folder."""
    torch.manual_seed(5)
    vision = SamVisionConfig(
        hidden_size=32, output_channels=16, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE,
        patch_size=8, mlp_dim=32, window_size=4, global_attn_indexes=[1], num_pos_feats=8,
    )  # fmt: skip
    prompt = SamPromptEncoderConfig(hidden_size=16, image_size=SIDE, patch_size=8)
    decoder = SamMaskDecoderConfig(hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16)
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    SamModel(config).save_pretrained(folder)
    size = {"size": {"longest_edge": SIDE}, "pad_size": {"height": SIDE, "width": SIDE}}
    SamImageProcessorPil(**size).save_pretrained(folder)
    return folder
