"""A network of transformers written out as its original authors' program would have saved it.

Independent of ``taco_kd.models.original_names``: that turns names into names, this walks the modules. The
names are those that the source of lyuwenyu/RT-DETR (rtdetrv2_pytorch, rtdetr_pytorch) and of
Atten4Vis/ConditionalDETR gives to its submodules.
"""

from __future__ import annotations

import torch


def put(state, name, module):
    """Weight, bias and statistics of one layer, as ``state_dict`` lists them."""
    for key, value in module.state_dict().items():
        state[f"{name}.{key}"] = value.clone()


def conv_norm(state, name, layer):
    """transformers' convolution + normalization (backbone) or conv + norm (encoder)."""
    put(state, f"{name}.conv", layer.convolution if hasattr(layer, "convolution") else layer.conv)
    put(state, f"{name}.norm", layer.normalization if hasattr(layer, "normalization") else layer.norm)


def packed_attention(state, name, attention):
    """``nn.MultiheadAttention``: q, k and v under one another."""
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    state[f"{name}.in_proj_weight"] = torch.cat([p.weight.detach() for p in parts])
    state[f"{name}.in_proj_bias"] = torch.cat([p.bias.detach() for p in parts])
    put(state, f"{name}.out_proj", attention.o_proj)


def rtdetr(network, *, version=2):
    """The ``state_dict`` of the authors' RTDETR(backbone, encoder, decoder)."""
    model, state = network.model, {}
    resnet = model.backbone.model
    for i, layer in enumerate(resnet.embedder.embedder, start=1):
        conv_norm(state, f"backbone.conv1.conv1_{i}", layer)
    for s, stage in enumerate(resnet.encoder.stages):
        for b, block in enumerate(stage.layers):
            name = f"backbone.res_layers.{s}.blocks.{b}"
            if isinstance(block.shortcut, torch.nn.Sequential):  # average pooling, then the convolution
                conv_norm(state, f"{name}.short.conv", block.shortcut[1])
            elif not isinstance(block.shortcut, torch.nn.Identity):
                conv_norm(state, f"{name}.short", block.shortcut)
            for branch, layer in zip("abc", block.layer, strict=False):
                conv_norm(state, f"{name}.branch2{branch}", layer)
    names = ("conv", "norm") if version == 2 else ("0", "1")
    for i, (conv, norm) in enumerate(model.encoder_input_proj):
        put(state, f"encoder.input_proj.{i}.{names[0]}", conv)
        put(state, f"encoder.input_proj.{i}.{names[1]}", norm)
    for i, encoder in enumerate(model.encoder.aifi):
        for j, layer in enumerate(encoder.layers):
            name = f"encoder.encoder.{i}.layers.{j}"
            packed_attention(state, f"{name}.self_attn", layer.self_attn)
            put(state, f"{name}.linear1", layer.mlp.fc1)
            put(state, f"{name}.linear2", layer.mlp.fc2)
            put(state, f"{name}.norm1", layer.self_attn_layer_norm)
            put(state, f"{name}.norm2", layer.final_layer_norm)
    for kind in ("lateral_convs", "downsample_convs"):
        for i, layer in enumerate(getattr(model.encoder, kind)):
            conv_norm(state, f"encoder.{kind}.{i}", layer)
    for kind in ("fpn_blocks", "pan_blocks"):
        for i, block in enumerate(getattr(model.encoder, kind)):
            for part in ("conv1", "conv2", "conv3"):
                if not isinstance(getattr(block, part), torch.nn.Identity):
                    conv_norm(state, f"encoder.{kind}.{i}.{part}", getattr(block, part))
            for j, bottleneck in enumerate(block.bottlenecks):
                for part in ("conv1", "conv2"):
                    conv_norm(state, f"encoder.{kind}.{i}.bottlenecks.{j}.{part}", getattr(bottleneck, part))
    for i, (conv, norm) in enumerate(model.decoder_input_proj):
        put(state, f"decoder.input_proj.{i}.conv", conv)
        put(state, f"decoder.input_proj.{i}.norm", norm)
    for i, layer in enumerate(model.decoder.layers):
        name = f"decoder.decoder.layers.{i}"
        packed_attention(state, f"{name}.self_attn", layer.self_attn)
        put(state, f"{name}.norm1", layer.self_attn_layer_norm)
        for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            put(state, f"{name}.cross_attn.{part}", getattr(layer.encoder_attn, part))
        if version == 2:
            state[f"{name}.cross_attn.num_points_scale"] = layer.encoder_attn.n_points_scale.clone()
        put(state, f"{name}.norm2", layer.encoder_attn_layer_norm)
        put(state, f"{name}.linear1", layer.mlp.fc1)
        put(state, f"{name}.linear2", layer.mlp.fc2)
        put(state, f"{name}.norm3", layer.final_layer_norm)
    put(state, "decoder.denoising_class_embed", model.denoising_class_embed)
    put(state, "decoder.query_pos_head", model.decoder.query_pos_head)
    proj, norm = ("proj", "norm") if version == 2 else ("0", "1")
    put(state, f"decoder.enc_output.{proj}", model.enc_output[0])
    put(state, f"decoder.enc_output.{norm}", model.enc_output[1])
    put(state, "decoder.enc_score_head", model.enc_score_head)
    put(state, "decoder.enc_bbox_head", model.enc_bbox_head)
    for i, (score, box) in enumerate(zip(network.class_embed, network.bbox_embed, strict=True)):
        put(state, f"decoder.dec_score_head.{i}", score)
        put(state, f"decoder.dec_bbox_head.{i}", box)
    # buffers that depend on the image size alone
    state["decoder.anchors"] = torch.zeros(1, 8400, 4)
    state["decoder.valid_mask"] = torch.ones(1, 8400, 1, dtype=torch.bool)
    return state


def conditional_detr(network):
    """The ``state_dict`` of the authors' ConditionalDETR(backbone, transformer) on a torchvision ResNet."""
    model, state = network.model, {}
    put(state, "backbone.0.body", model.backbone.model)
    put(state, "input_proj", model.input_projection)
    put(state, "query_embed", model.query_position_embeddings)
    for i, layer in enumerate(model.encoder.layers):
        name = f"transformer.encoder.layers.{i}"
        packed_attention(state, f"{name}.self_attn", layer.self_attn)
        put(state, f"{name}.linear1", layer.mlp.fc1)
        put(state, f"{name}.linear2", layer.mlp.fc2)
        put(state, f"{name}.norm1", layer.self_attn_layer_norm)
        put(state, f"{name}.norm2", layer.final_layer_norm)
    for i, layer in enumerate(model.decoder.layers):
        name = f"transformer.decoder.layers.{i}"
        own, cross = layer.self_attn, layer.encoder_attn
        for prefix, attention in (("sa", own), ("ca", cross)):
            put(state, f"{name}.{prefix}_qcontent_proj", attention.q_content_proj)
            if getattr(attention, "q_pos_proj", None) is not None:  # cross-attention: the first layer alone
                put(state, f"{name}.{prefix}_qpos_proj", attention.q_pos_proj)
            put(state, f"{name}.{prefix}_kcontent_proj", attention.k_content_proj)
            put(state, f"{name}.{prefix}_kpos_proj", attention.k_pos_proj)
            put(state, f"{name}.{prefix}_v_proj", attention.v_proj)
        put(state, f"{name}.ca_qpos_sine_proj", cross.q_pos_sine_proj)
        put(state, f"{name}.self_attn.out_proj", own.o_proj)
        put(state, f"{name}.cross_attn.out_proj", cross.o_proj)
        put(state, f"{name}.linear1", layer.mlp.fc1)
        put(state, f"{name}.linear2", layer.mlp.fc2)
        put(state, f"{name}.norm1", layer.self_attn_layer_norm)
        put(state, f"{name}.norm2", layer.encoder_attn_layer_norm)
        put(state, f"{name}.norm3", layer.final_layer_norm)
    put(state, "transformer.decoder.norm", model.decoder.layernorm)
    put(state, "transformer.decoder.query_scale", model.decoder.query_scale)
    put(state, "transformer.decoder.ref_point_head", model.decoder.ref_point_head)
    put(state, "class_embed", network.class_labels_classifier)
    put(state, "bbox_embed", network.bbox_predictor)
    return state
