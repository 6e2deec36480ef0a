#!/usr/bin/env python3
"""Makes trl.json: losses, gradients, metrics and advantages of TRL 1.16's own code in float64.

    python make.py            # torch, trl

The trainers are bare objects: their methods are TRL's, what a model would compute is given. Each case of `losses` names a
batch and lists what `policy_loss` is called with, TRL's own denominators included; `row` of `advantages` is a line for
`grpo advantages`.
"""
import json
import os
import types
from collections import defaultdict

import torch
import trl
from trl.experimental.gmpo import GMPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer

HERE = os.path.dirname(os.path.abspath(__file__))
PAD, EOS = 0, 1
torch.set_default_dtype(torch.float64)


def make_batch(seed, lengths, spread, holes=(), per_token=False):
    """Ragged rows padded to the longest; `holes` are masked tokens in the middle of a row."""
    random = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    draw = lambda scale: torch.randn(shape, generator=random) * scale
    logps = -0.2 - 2 * torch.rand(shape, generator=random)
    mask = torch.tensor([[1 if t < n else 0 for t in range(shape[1])] for n in lengths])
    for s, t in holes:
        mask[s, t] = 0
    signs = torch.tensor([1.0, -1.0, 0.0] * len(lengths))[: len(lengths)]
    if per_token:
        advantages = draw(1)
    else:
        advantages = signs * (0.3 + torch.rand(len(lengths), generator=random))
    values = {"logps": logps, "old_logps": logps - draw(spread), "ref_logps": logps + draw(0.6),
              "sampler_logps": logps - draw(0.5), "entropies": 2 * torch.rand(shape, generator=random),
              "advantages": advantages}
    # Short decimals are exact inputs for both sides.
    return {"mask": mask, **{name: torch.tensor([round(x, 4) for x in v.flatten().tolist()]).reshape(v.shape)
                             for name, v in values.items()}}


BATCHES = {
    "wide": make_batch(1, [6, 4, 5, 2], 0.4, holes=[(0, 2), (2, 0)]),
    "near": make_batch(2, [5, 6, 3, 6], 0.01),
    "steps": make_batch(3, [4, 5, 5], 0.4, per_token=True),
    "hidden": make_batch(4, [5, 0, 4, 3], 0.4),  # a row that is masked as a whole
}


class Accelerator:
    device = torch.device("cpu")
    num_processes = 1
    process_index = 0
    sync_gradients = True

    def reduce(self, x, reduction="sum"):
        return x

    def gather(self, x):
        return x


def bare(cls, config, **settings):
    """A trainer without model, data or optimiser."""
    trainer = object.__new__(cls)
    attributes = dict(
        accelerator=Accelerator(), model=types.SimpleNamespace(training=True, is_gradient_checkpointing=False),
        ref_model=object(), use_vllm=False, vllm_importance_sampling_correction=False, tools=None,
        environment_factories=None, environments=None, pad_to_multiple_of=None, mask_truncated_completions=False,
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, aux_loss_enabled=False, use_adaptive_entropy=False,
        beta=config.get("beta", 0.0), entropy_coef=config.get("entropy_coef", 0.0),
        _entropy_bonus_enabled=config.get("entropy_coef", 0.0) != 0, epsilon_low=config.get("epsilon", 0.2),
        epsilon_high=config.get("epsilon_high", config.get("epsilon", 0.2)), loss_type=config.get("loss_type", "grpo"),
        importance_sampling_level=config.get("importance_sampling_level", "token"),
        max_completion_length=config.get("max_completion_length", 512), current_gradient_accumulation_steps=2,
        _tokenizer=types.SimpleNamespace(pad_token_id=PAD), eos_token_ids=[EOS], num_iterations=1,
        _metrics=defaultdict(lambda: defaultdict(list)), _pending_extra_logs={}, _pending_metrics={},
        _logs=defaultdict(lambda: defaultdict(list)), log_multimodal=False)
    attributes["_logs"].update(prompt=[], completion=[], advantages=[])
    args = dict(delta=config.get("delta"), use_bias_correction_kl=config.get("use_bias_correction_kl", False),
                sapo_temperature_pos=config.get("sapo_temperature_pos", 1.0),
                sapo_temperature_neg=config.get("sapo_temperature_neg", 1.05), steps_per_generation=4,
                gradient_accumulation_steps=2, per_device_train_batch_size=4, gradient_checkpointing_kwargs=None)
    for name, value in {**attributes, "args": types.SimpleNamespace(**args), **settings}.items():
        setattr(trainer, name, value)
    return trainer


def rollout(trainer, batch, rewards):
    """TRL's block from generated tokens to advantages and sampler correction."""
    lengths = [max(1, int(row.sum())) for row in batch["mask"]] if batch else [1] * len(rewards)
    tokens = [[EOS] * n for n in lengths]
    sampler = [batch["sampler_logps"][s, :n].tolist() for s, n in enumerate(lengths)] if batch else None
    prompts = [{"prompt": "p"} for _ in tokens]
    trainer._generate = lambda p: ([[2]] * len(tokens), tokens, None, [""] * len(tokens), sampler, {}, None, [])
    trainer._calculate_rewards = lambda *_: rewards
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (batch["old_logps"] if batch else None, None, None)
    return trainer._generate_and_score_completions(prompts)


def last(trainer):
    return {name: values[-1] for name, values in trainer._metrics["train"].items()}


# TRL divides each micro-batch of a step of two; `items` tokens are in the rollout that four such batches share.
def denominators_of(config, mask, items):
    tokens = 2.0 * float(mask.sum())
    if config.get("loss_type") in ("dapo", "cispo") and not config.get("entropy_coef"):
        tokens = items * 2 / 4
    return {"sequences": 2.0 * mask.shape[0], "tokens": tokens}


def loss_case(name, batch_name, on_policy=False, **config):
    batch = BATCHES[batch_name]
    mode = config.get("sampler_correction")
    is_gmpo = config.get("loss_type") == "gmpo"
    settings = {}
    if mode:
        settings = dict(use_vllm=True, vllm_importance_sampling_correction=True, vllm_importance_sampling_mode=mode,
                        vllm_importance_sampling_clip_min=config.get("sampler_correction_min"),
                        vllm_importance_sampling_clip_max=config.get("sampler_correction_max", 3.0))
    trainer = bare(GMPOTrainer if is_gmpo else GRPOTrainer, config, **settings)
    # With an entropy bonus one denominator must serve both, so the rollout is four equal batches.
    items = 4.0 * float(batch["mask"].sum()) if config.get("entropy_coef") else 77.0
    inputs = {"prompt_ids": torch.zeros(batch["mask"].shape[0], 1, dtype=torch.long),
              "prompt_mask": torch.ones(batch["mask"].shape[0], 1, dtype=torch.long),
              "completion_ids": torch.zeros_like(batch["mask"]), "completion_mask": batch["mask"],
              "advantages": batch["advantages"], "ref_per_token_logps": batch["ref_logps"],
              "num_items_in_batch": torch.tensor(items)}
    if not on_policy:
        inputs["old_per_token_logps"] = batch["old_logps"]
    metrics = {}
    if mode:
        count = batch["mask"].shape[0]
        trainer.num_generations, trainer.reward_func_names = count, ["r"]
        trainer.reward_weights, trainer.scale_rewards = torch.ones(1), "group"
        trainer.multi_objective_aggregation, trainer.reward_funcs = "sum_then_normalize", [None]
        out = rollout(trainer, batch, torch.arange(count, dtype=torch.float64).unsqueeze(1))
        inputs["importance_sampling_ratio"] = out["importance_sampling_ratio"]
        metrics = {k: v for k, v in last(trainer).items() if k.startswith("sampling/")}
        if mode.startswith("sequence"):  # TRL averages over sequences, we over tokens
            del metrics["sampling/importance_sampling_ratio/mean"]
        trainer._metrics.clear()
    logps = batch["logps"].clone().requires_grad_(True)
    entropies = batch["entropies"].clone().requires_grad_(True)
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (logps, entropies, None)
    loss = trainer._compute_loss(None, inputs)
    loss.backward()
    metrics |= last(trainer)
    metrics.pop("policy_loss", None)  # includes the KL term in TRL
    metrics.pop("entropy_coef", None)
    given = ["logps", "mask", "advantages", "entropies"] + ["ref_logps"] * (config.get("beta", 0) != 0)
    given += ["old_logps"] * (not on_policy) + ["sampler_logps"] * (mode is not None)
    case = {"name": name, "batch": batch_name, "given": given, "config": {"beta": 0.0, **config},
            "denominators": denominators_of(config, batch["mask"], items), "loss": loss.item(),
            "grad": (logps.grad * batch["mask"]).tolist(), "metrics": metrics}
    assert torch.equal(logps.grad, logps.grad * batch["mask"])
    if config.get("entropy_coef"):
        case["entropy_grad"] = entropies.grad.tolist()
    return case


def loss_cases():
    yield loss_case("on policy", "wide", on_policy=True, beta=0.04)
    for loss_type in ["grpo", "dr_grpo", "dapo", "bnpo", "sapo"]:
        yield loss_case(loss_type, "wide", loss_type=loss_type, beta=0.04)
        yield loss_case(f"{loss_type}, sequence", "near", loss_type=loss_type, importance_sampling_level="sequence",
                        epsilon=0.003, epsilon_high=0.004)
        yield loss_case(f"{loss_type}, bias correction", "wide", loss_type=loss_type, beta=0.1,
                        use_bias_correction_kl=True, max_completion_length=17)
    yield loss_case("cispo", "wide", loss_type="cispo", epsilon_high=1.25, beta=0.04)
    yield loss_case("cispo, sequence", "near", loss_type="cispo", importance_sampling_level="sequence",
                    epsilon_high=1.001)
    yield loss_case("gmpo", "wide", loss_type="gmpo", epsilon=0.2, epsilon_high=0.3)
    yield loss_case("gmpo, kl", "wide", loss_type="gmpo", epsilon=0.4, beta=0.1)
    yield loss_case("sequence, wide", "wide", importance_sampling_level="sequence", epsilon=0.1, beta=0.1)
    yield loss_case("sequence, bias correction", "near", importance_sampling_level="sequence", epsilon=0.003, beta=0.1,
                    use_bias_correction_kl=True)
    yield loss_case("asymmetric", "wide", epsilon=0.1, epsilon_high=0.35)
    yield loss_case("epsilon 10", "wide", epsilon=10.0, beta=0.001)
    yield loss_case("delta", "wide", delta=1.35, beta=0.02)
    yield loss_case("delta, sequence", "wide", delta=1.12, epsilon=0.1, importance_sampling_level="sequence")
    yield loss_case("advantages by token", "steps", epsilon_high=0.28, beta=0.02)
    yield loss_case("sapo, temperatures", "steps", loss_type="sapo", sapo_temperature_pos=0.7,
                    sapo_temperature_neg=2.0)
    for loss_type in ["grpo", "dapo", "dr_grpo"]:
        yield loss_case(f"{loss_type}, hidden row", "hidden", loss_type=loss_type, beta=0.1)
        yield loss_case(f"{loss_type}, entropy", "wide", loss_type=loss_type, entropy_coef=0.02, beta=0.01)
    for mode in ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]:
        yield loss_case(mode, "steps", sampler_correction=mode, sampler_correction_min=0.6,
                        sampler_correction_max=1.5, beta=0.02)
    yield loss_case("correction, sequence ratio", "steps", sampler_correction="token_truncate",
                    importance_sampling_level="sequence")


def advantage_case(name, rewards, group=4, weights=None, scale="group", aggregation="sum_then_normalize"):
    count = len(rewards[0])
    values = torch.tensor([[float("nan") if x is None else x for x in row] for row in rewards])
    trainer = bare(GRPOTrainer, {}, num_generations=group, reward_funcs=[None] * count, scale_rewards=scale,
                   reward_func_names=[f"r{k}" for k in range(count)], multi_objective_aggregation=aggregation,
                   reward_weights=torch.tensor(weights or [1.0] * count))
    advantages = rollout(trainer, None, values)["advantages"]
    metrics = {k: v for k, v in last(trainer).items() if k in ("reward", "reward_std")}
    if scale != "batch" and aggregation == "sum_then_normalize":  # elsewhere TRL tests the batch's std
        metrics["frac_reward_zero_std"] = last(trainer)["frac_reward_zero_std"]
    row = {"rewards": rewards, "weights": weights or [1.0] * count, "num_generations": group, "scale_rewards": scale,
           "aggregation": aggregation, "missing": "zero"}
    return {"name": name, "row": row, "advantages": advantages.tolist(), "metrics": metrics}


def advantage_cases():
    one = [[1.0], [0.0], [0.0], [0.0], [0.5], [0.25], [2.0], [-1.0], [1.0], [1.0], [1.0], [1.0]]
    pair = [[1.0, 0.3], [0.0, 0.9], [1.0, 0.1], [0.0, 0.0], [1.0, -0.5], [1.0, 0.25], [0.0, 0.5], [1.0, 2.0]]
    gaps = [[1.0, None], [None, 0.5], [0.0, 0.25], [None, None], [0.5, None], [1.0, None], [0.0, None], [0.25, None]]
    for scale in ["group", "batch", "none"]:
        yield advantage_case(f"one reward, {scale}", one, scale=scale)
        yield advantage_case(f"two rewards, {scale}", pair, scale=scale, weights=[1.0, 0.4])
        yield advantage_case(f"missing, {scale}", gaps, scale=scale, weights=[1.0, 0.4])
    yield advantage_case("each normalised", pair, aggregation="normalize_then_sum", weights=[1.0, 0.4])
    yield advantage_case("each normalised, missing", gaps, aggregation="normalize_then_sum", weights=[1.0, 0.4])
    yield advantage_case("a group of eight, one None", [[x] for x in [0.5, 0.1, -0.3, 0.9, 0.2, 0.7, -0.8, None]], 8)


def main():
    assert trl.__version__ == "1.16.0", trl.__version__
    batches = {name: {k: v.tolist() for k, v in batch.items()} for name, batch in BATCHES.items()}
    golden = {"trl": trl.__version__, "batches": batches, "losses": list(loss_cases()),
              "advantages": list(advantage_cases())}
    lines = [f'"trl": {json.dumps(golden["trl"])}']
    lines += ['"batches": {\n' + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in batches.items()) + "\n}"]
    for key in ("losses", "advantages"):
        lines.append(f'"{key}": [\n' + ",\n".join(json.dumps(case) for case in golden[key]) + "\n]")
    with open(os.path.join(HERE, "trl.json"), "w") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
