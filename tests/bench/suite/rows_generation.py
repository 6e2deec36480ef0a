"""Rows of the table about sampling."""
import importlib.util
import statistics

from lines import Line, Skipped, compare, costs, others
from turns import Failed, median, take_turns

ANSWERS, PROMPT, TOKENS = 16, 128, 64
REQUEST = {"samples": ANSWERS, "tokens": TOKENS}
WORK = f"bf16, {ANSWERS} answers to one {PROMPT}-token prompt, {TOKENS} new tokens"


def decode_rate(answer):
    """Tokens a second after the first step, which holds the prompt."""
    (tokens_before, start), (tokens, end) = answer["steps"][0], answer["steps"][-1]
    return (tokens - tokens_before) / (end - start)


def whole_rate(answer):
    return sum(answer["lengths"]) / answer["seconds"]


def roofline(model, probe):
    """Tokens a second that the probes allow."""
    cached = PROMPT + ANSWERS * TOKENS / 2  # the prompt is shared; half of the answers on average
    return ANSWERS / costs(model).decode_step(ANSWERS, cached, 2, probe, probe["bf16_gflops"] * 1e9)


def against(bench, model, peer, name, goal, who):
    prompts = bench.material.prompts(1, PROMPT)
    with bench.program("generate_bench", model, "bf16", bench.threads, prompts) as ours, peer(prompts) as theirs:
        answers = take_turns(bench.rounds, {"ours": lambda: ours.ask(REQUEST), "peer": lambda: theirs.ask(REQUEST)})
    bound = roofline(model, bench.probe.ask()) / median(answers["peer"], decode_rate)
    return [compare(f"{name} {WORK}: decode, to {who} (the probes bound the ratio at {bound:.1f})", answers["ours"], answers["peer"],
                    decode_rate, "tokens/s", goal),
            compare("the same, the prompt's time included", answers["ours"], answers["peer"], whole_rate, "tokens/s")]


def transformers(bench, model):
    return lambda prompts: bench.peer("peer_transformers", "generate", model, "bf16", bench.threads, prompts)


def generate_transformers(bench):
    model = bench.material.smollm2
    return against(bench, model, transformers(bench, model), "SmolLM2-135M", ">= 8", "`transformers.generate`")


def generate_llama(bench):
    if importlib.util.find_spec("llama_cpp") is None:
        raise Skipped("llama-cpp-python is not installed")
    gguf = bench.material.smollm2_gguf
    return against(bench, bench.material.smollm2, lambda prompts: bench.peer("peer_llama", gguf, bench.threads, prompts),
                   "SmolLM2-135M", ">= 5", "llama.cpp (BF16 GGUF, shared prompt)")


def generate_small(bench):
    model = bench.material.small
    return against(bench, model, transformers(bench, model), "12 layers, 512 wide, vocabulary 32k,", ">= 10", "`transformers.generate`")


def beside_probe(bench, request):
    model = bench.material.smollm2
    with bench.program("generate_bench", model, "bf16", bench.threads, bench.material.prompts(1, PROMPT)) as ours:
        return take_turns(bench.rounds, {"ours": lambda: ours.ask(request), "probe": bench.probe.ask})


def generate_roofline(bench):
    answers = beside_probe(bench, REQUEST)
    for probe in answers["probe"]:
        probe["roofline"] = roofline(bench.material.smollm2, probe)
    rate = lambda answer: answer["roofline"] if "roofline" in answer else decode_rate(answer)
    return [compare(f"SmolLM2-135M {WORK}: decode, to the roofline of the probes", answers["ours"], answers["probe"], rate, "tokens/s",
                    ">= 0.55 (0.75)")]


def generate_one(bench):
    answers = beside_probe(bench, {"samples": 1, "tokens": TOKENS})
    weight_bytes = costs(bench.material.smollm2).products * 2
    rate = lambda answer: answer["read_gbs"] if "read_gbs" in answer else decode_rate(answer) * weight_bytes * 1e-9
    return [compare("SmolLM2-135M bf16, batch 1: weights read in decode, to the read probe", answers["ours"], answers["probe"], rate,
                    "GB/s", ">= 0.8", digits=1)]


# ---- uneven lengths -------------------------------------------------------------------------------------------------------

REQUESTS, SLOTS, MEAN, UNEVEN_PROMPT = 32, 16, 64, 64
BLOCK = 32  # tokens that the cache is measured out in


def runs_of(lengths, slots, step_cost, prompt_cost):
    """Seconds and steps of the sampler's loop over answers of these lengths, `slots` at a time: an answer that ends makes room for the
    next, whose first token comes with its prompt."""
    waiting, live, seconds, steps = list(lengths), [], 0.0, 0
    while waiting or live:
        new, waiting = waiting[:slots - len(live)], waiting[slots - len(live):]
        seconds += prompt_cost * len(new)
        live += [length - 1 for length in new]
        live = [left for left in live if left > 0]
        seconds += step_cost(len(live)) if live else 0
        live = [left - 1 for left in live if left > 1]
        steps += 1
    return seconds, steps


def step_costs(halves):
    """Seconds of a step by the number of live answers, and of a prompt, from runs that admit only once, at their start."""
    by_live, firsts = {}, []
    for half in halves:
        steps = half["steps"]
        for (before, start), (tokens, end) in zip(steps, steps[1:]):
            by_live.setdefault(tokens - before, []).append(end - start)
        firsts.append((len(half["lengths"]), steps[0][1]))
    known = sorted((live, statistics.median(times)) for live, times in by_live.items())

    def cost(live):
        """Between two numbers that were seen, a straight line."""
        if live <= known[0][0]:
            return known[0][1]
        for (a, at_a), (b, at_b) in zip(known, known[1:]):
            if live <= b:
                return at_a + (at_b - at_a) * (live - a) / (b - a)
        return known[-1][1]

    return cost, statistics.median((first - cost(count)) / count for count, first in firsts)


def uneven(bench):
    model = bench.material.random_smollm2(MEAN)
    longest = 8 * MEAN
    # Room for the worst case of SLOTS answers is what bounds the live ones.
    room = (UNEVEN_PROMPT + longest) // BLOCK * BLOCK * SLOTS
    with bench.program("generate_bench", model, "bf16", bench.threads, bench.material.prompts(REQUESTS, UNEVEN_PROMPT)) as ours:
        ask = lambda first, last: ours.ask({"prompts": list(range(first, last)), "tokens": longest, "cache_tokens": room, "stop": True})
        answers = take_turns(bench.rounds, {"first": lambda: ask(0, SLOTS), "second": lambda: ask(SLOTS, REQUESTS),
                                            "continuous": lambda: ask(0, REQUESTS)})
    halves = [answers["first"][0]["lengths"], answers["second"][0]["lengths"]]
    lengths = halves[0] + halves[1]
    for whole in answers["continuous"]:
        if whole["lengths"] != lengths:
            raise Failed("an answer depends on what else is sampled")
    step_cost, prompt_cost = step_costs(answers["first"] + answers["second"])
    seconds, steps = runs_of(lengths, SLOTS, step_cost, prompt_cost)
    if len(answers["continuous"][0]["steps"]) != steps:
        raise Failed(f"expected {steps} steps with {SLOTS} slots, got {len(answers['continuous'][0]['steps'])}: other slots")
    allowed = sum(runs_of(half, SLOTS, step_cost, prompt_cost)[0] for half in halves) / seconds
    gains = [(first["seconds"] + second["seconds"]) / whole["seconds"] for first, second, whole in zip(*answers.values())]
    gain = statistics.median(gains)
    spread = f"{min(lengths)} to {max(lengths)}, mean {statistics.mean(lengths):.0f}"
    return [Line(f"uneven lengths ({spread}; {REQUESTS} requests, {SLOTS} slots): gain of continuous over static batching, to what the "
                 "lengths and measured step costs allow", f"{gain:.2f}", f"{allowed:.2f}", gain / allowed, ">= 0.9",
                 [one / allowed for one in gains], others(*answers.values()))]
