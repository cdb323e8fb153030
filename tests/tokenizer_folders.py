"""Folders of tokenizers without a prior, of random weights in their authors' layout: Chameleon, vqgan_gumbel_f8."""

import torch
import yaml

from cortex.generators.network.vqgan import VQGAN
from tests.published import CODES, TINY_DDCONFIG, foreign


def tiny_vqgan(**sizes):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        vqgan = VQGAN(TINY_DDCONFIG | sizes, n_embed=CODES, embed_dim=16).requires_grad_(False)
        vqgan.codebook.normal_()
        vqgan.quant_conv.weight *= 20  # vectors as far apart as the codes
    return vqgan.state_dict()


def project(target, ddconfig, codes=CODES, channels=16, **params):
    return {
        "model": {
            "target": target,
            "params": {"embed_dim": channels, "n_embed": codes, "ddconfig": ddconfig, "lossconfig": {}} | params,
        }
    }


def laid_out(folder, content, described, yaml_name, checkpoint_name):
    for name in (yaml_name, checkpoint_name):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / yaml_name).write_text(yaml.safe_dump(described))
    torch.save(content, folder / checkpoint_name)
    return folder


def chameleon(folder, state, ddconfig, place="tokenizer/", **sizes):
    described = project("chameleon.inference.vqgan.VQModel", ddconfig, **sizes)
    return laid_out(folder, {"state_dict": state} | foreign(), described, f"{place}vqgan.yaml", f"{place}vqgan.ckpt")


def gumbel_state(state):
    """A GumbelVQ's tensors of a VQModel's: the codebook is ``embed``; ``proj`` tells the codes of images."""
    found = {name: weight for name, weight in state.items() if not name.startswith("quantize.")}
    found["quantize.embed.weight"] = state["quantize.embedding.weight"]
    codes, width = len(found["quantize.embed.weight"]), state["encoder.conv_out.weight"].shape[0]
    found["quantize.proj.weight"] = torch.ones(1).expand(codes, width, 1, 1)
    return found | {"quantize.proj.bias": torch.zeros(codes), "loss.discriminator.main.0.weight": torch.ones(2)}


def gumbel(folder, state, ddconfig, **sizes):
    """As vqgan_gumbel_f8 is laid out."""
    scheduler = {"target": "taming.lr_scheduler.LambdaWarmUpCosineScheduler", "params": {"warm_up_steps": 0}}
    described = project(
        "taming.models.vqgan.GumbelVQ",
        ddconfig,
        kl_weight=1e-8,
        monitor="val/rec_loss",
        temperature_scheduler_config=scheduler,
        **sizes,
    )
    return laid_out(folder, {"state_dict": state}, described, "configs/model.yaml", "ckpts/last.ckpt")
