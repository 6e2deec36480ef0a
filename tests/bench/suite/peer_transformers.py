"""transformers as a peer, talked to as serve.h says.

    peer_transformers.py generate MODEL fp32|bf16 THREADS PROMPTS.json     as generate_bench, all prompts of one length
    peer_transformers.py update   MODEL fp32|bf16 THREADS ANSWERS.json     as update_bench's {"work": "update"}

bf16 is weights, activations and, in updates, AdamW's moments: the fastest that transformers does.
"""
import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList


def serve(answer):
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


class Clock(StoppingCriteria):
    """Notes when each token of the batch was there; stops nothing."""

    def __init__(self, prompt_tokens):
        self.prompt_tokens, self.start, self.steps = prompt_tokens, time.perf_counter(), []

    def __call__(self, input_ids, scores, **_):
        self.steps.append([input_ids.numel() - self.prompt_tokens, time.perf_counter() - self.start])
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def generation(model, content):
    model.generation_config.eos_token_id = None
    prompts = torch.tensor(content)

    def generate(request):
        ids = prompts.repeat_interleave(request.get("samples", 1), dim=0)
        clock = Clock(ids.numel())
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=request["tokens"], do_sample=True,
                             temperature=1.0, top_k=0, top_p=1.0, pad_token_id=0, stopping_criteria=StoppingCriteriaList([clock]))
        seconds = time.perf_counter() - clock.start
        return {"seconds": seconds, "steps": clock.steps, "lengths": [out.shape[1] - ids.shape[1]] * ids.shape[0]}

    return generate


def updates(model, content):
    prompt, answers = content["prompt"], torch.tensor(content["answers"])
    count, length = answers.shape
    # An answer's last token predicts nothing here, so it is left out, as it is on our side.
    ids = torch.cat([torch.tensor(prompt).repeat(count, 1), answers[:, :-1]], dim=1)
    advantages = torch.tensor([1.0 if i % 2 == 0 else -1.0 for i in range(count)]).unsqueeze(1)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True)

    def update(_):
        start = time.perf_counter()
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=length).logits
        logps = -torch.nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none").view(count, length)
        ratio = (logps - logps.detach()).exp()
        loss = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean(dim=1).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "tokens": ids.numel(), "targets": answers.numel(), "grad_norm": float(norm)}

    return update


def main():
    mode, path, dtype, threads, file = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)
    content = json.load(open(file))
    serve(generation(model, content) if mode == "generate" else updates(model, content))


main()
