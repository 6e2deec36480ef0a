"""TRL as a peer: every request takes one GRPO step; the line back has "seconds", "tokens" and "grad_norm".

    peer_trl.py RUN.json [--checkpointing] [--at-once]

RUN.json is the run file of our side. --checkpointing: with gradient checkpointing, TRL's default. --at-once: asks for no request.
bf16 is a model in bf16 under bf16 autocast: TRL's default for a folder whose weights are bf16.
"""
import json
import re
import sys
import time

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class Turns(TrainerCallback):
    """Waits before every step and says after it how long it took. Generation, rewards and the update lie between."""

    def __init__(self, wait):
        self.wait = wait

    def on_step_begin(self, args, state, control, **_):
        if self.wait:
            if state.global_step == 0:
                print(json.dumps({"ready": True}), flush=True)
            if not sys.stdin.readline():
                sys.exit(0)
        self.start = time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        self.seconds = time.perf_counter() - self.start
        if not self.wait:
            print(json.dumps({"seconds": self.seconds}), flush=True)

    def on_log(self, args, state, control, logs=None, **_):
        if self.wait and "grad_norm" in logs:
            print(json.dumps({"seconds": self.seconds, "tokens": logs["completions/mean_length"] * args.per_device_train_batch_size,
                              "grad_norm": logs["grad_norm"]}), flush=True)


def accuracy(completions, answer, **_):
    texts = [completion if isinstance(completion, str) else completion[0]["content"] for completion in completions]
    numbers = [re.findall(r"-?\d+", text) for text in texts]
    return [float(bool(found) and found[-1] == gold) for found, gold in zip(numbers, answer)]


def main():
    run = json.load(open(sys.argv[1]))
    grpo, bf16 = run["grpo"], run["model"]["dtype"] == "bf16"
    torch.set_num_threads(run["threads"])
    is_chat = run["data"]["template"] == "chat"
    rows = [json.loads(line) for line in open(run["data"]["train"])]
    data = Dataset.from_list([{"prompt": [{"role": "user", "content": row["question"]}] if is_chat else row["question"],
                               "answer": row["answer"]} for row in rows])
    config = GRPOConfig(
        output_dir=run["output_dir"] + "-trl", max_steps=run["max_steps"], num_generations=grpo["num_generations"],
        per_device_train_batch_size=grpo["prompts_per_step"] * grpo["num_generations"], gradient_accumulation_steps=1,
        max_completion_length=grpo["max_completion_length"], temperature=1.0, top_p=1.0, top_k=0, beta=0.0, num_iterations=1,
        loss_type="grpo", learning_rate=run["optimizer"]["learning_rate"], lr_scheduler_type="constant", max_grad_norm=1.0,
        shuffle_dataset=False, gradient_checkpointing="--checkpointing" in sys.argv, bf16=bf16, fp16=False, use_cpu=True,
        model_init_kwargs={"dtype": "bfloat16" if bf16 else "float32"}, report_to="none", logging_steps=1, save_strategy="no",
        disable_tqdm=True)
    trainer = GRPOTrainer(model=run["model"]["path"], reward_funcs=accuracy, args=config, train_dataset=data,
                          callbacks=[Turns("--at-once" not in sys.argv)])
    assert {p.dtype for p in trainer.model.parameters()} == {torch.bfloat16 if bf16 else torch.float32}
    assert torch.get_num_threads() == run["threads"]
    trainer.train()


main()
