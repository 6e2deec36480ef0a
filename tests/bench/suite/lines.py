"""What rows are made of: lines of the table, and the arithmetic of bounds."""
import dataclasses
import json
import pathlib
import statistics

from turns import Contender, median, round_ratios

HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass
class Line:
    work: str
    ours: str = ""
    peer: str = ""
    ratio: float | None = None
    goal: str = ""
    ratios: list = dataclasses.field(default_factory=list)  # of each round
    others: float = 0.0  # share of the CPUs that other processes took: the larger side's median


class Skipped(Exception):
    """A row cannot be run here; says why."""


@dataclasses.dataclass
class Bench:
    """What every row gets."""
    root: pathlib.Path
    work: pathlib.Path
    build: pathlib.Path
    python: str
    threads: int
    rounds: int
    material: object
    probe: Contender
    no_ranks: str | None  # why there can be no ranks

    def program(self, name, *arguments, threads=None):
        return Contender([self.build / "tests" / name, *arguments], threads or self.threads)

    def peer(self, name, *arguments):
        return Contender([self.python, HERE / f"{name}.py", *arguments], self.threads)


def others(*sides):
    return max(statistics.median(answer["others"] for answer in side) for side in sides)


def compare(work, ours, peer, value, unit, goal="", digits=0):
    """A line of two sides' answers and a value that each has; its ratio is of the medians."""
    a, b = median(ours, value), median(peer, value)
    return Line(work, f"{a:.{digits}f} {unit}", f"{b:.{digits}f} {unit}", a / b, goal, round_ratios(ours, peer, value), others(ours, peer))


# ---- what a model costs (plain counting: a multiply-add is two operations) -----------------------------------------------


@dataclasses.dataclass
class Costs:
    layers: int  # weights of the layers' products
    head: int  # weights of the output product, which may be the embedding
    parameters: int
    kv_elements: int  # of a token
    attention_flops: int  # of a query and a key, all layers

    @property
    def products(self):
        return self.layers + self.head

    def decode_step(self, sequences, cached_tokens, weight_bytes, probe, flops_per_s):
        """Least seconds of a step: all weights and cached keys and values read once, all products done."""
        read = (self.products * weight_bytes + cached_tokens * self.kv_elements * 2) / (probe["read_gbs"] * 1e9)
        return max(read, 2 * self.products * sequences / flops_per_s)

    def forward_flops(self, sequence_lengths, targets):
        pairs = sum(length * (length + 1) // 2 for length in sequence_lengths)
        return 2 * self.layers * sum(sequence_lengths) + 2 * self.head * targets + self.attention_flops * pairs


def costs(model):
    c = json.loads((model / "config.json").read_text())
    width, heads, layers = c["hidden_size"], c["num_attention_heads"], c["num_hidden_layers"]
    size = c.get("head_dim") or width // heads
    kv = c["num_key_value_heads"] * size
    one = 2 * width * heads * size + 2 * width * kv + 3 * width * c["intermediate_size"]
    head = c["vocab_size"] * width
    tied = 1 if c["tie_word_embeddings"] else 2
    return Costs(layers * one, head, layers * one + tied * head, 2 * layers * kv, 4 * layers * heads * size)
