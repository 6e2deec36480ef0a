"""What both sides of a row work on: model folders, prompts, rows, run files; each is made when it is first asked for."""
import functools
import json
import random
import subprocess

STOP_TOKEN = "<empty_output>"  # SmolLM2 practically never draws it, so answers run to their full length
SMALL = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32000, "hidden_size": 512, "intermediate_size": 1408,
         "num_hidden_layers": 12, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64, "hidden_act": "silu",
         "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
         "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.02}


def rewrite(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


class Material:
    def __init__(self, root, work, grpo):
        self.root, self.work, self.grpo = root, work, grpo

    def run(self, *command):
        return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout

    def write(self, name, content):
        path = self.work / name
        path.write_text(json.dumps(content))
        return path

    # ---- models ----

    @functools.cached_property
    def smollm2(self):
        """SmolLM2-135M-Instruct in fp32, a Hugging Face folder; bf16 sides round it as they load."""
        folder = self.work / "smollm2"
        self.run(self.grpo, "export", self.run(self.root / "examples/fetch_smollm2.sh").strip(), folder)
        added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
        stop = next(token["id"] for token in added if token["content"] == STOP_TOKEN)
        rewrite(folder / "config.json", eos_token_id=stop)
        rewrite(folder / "generation_config.json", eos_token_id=stop)
        rewrite(folder / "tokenizer_config.json", eos_token=STOP_TOKEN)
        return folder

    @functools.cached_property
    def smollm2_gguf(self):
        """The same in bf16 for llama.cpp."""
        file = self.work / "smollm2-bf16.gguf"
        self.run(self.grpo, "export", self.smollm2, file, "--format", "gguf", "--dtype", "bf16")
        return file

    @functools.cached_property
    def small(self):
        """12 layers, 512 wide, vocabulary of 32k, random weights; its tokenizer knows the characters of additions."""
        tokenizer = self.work / "tokenizer"
        self.run(self.grpo, "make-tokenizer", self.additions, tokenizer, "--columns", "question", "--columns", "answer", "--eos", "<eos>",
                 "--vocab-size", 300)
        self.run(self.grpo, "init", self.write("small.json", SMALL), self.work / "small", "--tokenizer", tokenizer)
        return self.work / "small"

    def random_smollm2(self, mean_length):
        """SmolLM2's shape with random weights. Every mean_length-th id stops, so lengths of answers are geometric, nearly."""
        folder = self.work / "random-smollm2"
        config = json.loads((self.smollm2 / "config.json").read_text())
        # Little spread of logits: every id is about as likely as any other.
        config |= {"initializer_range": 0.02, "eos_token_id": list(range(0, config["vocab_size"], mean_length))}
        self.run(self.grpo, "init", self.write("random.json", config), folder)
        return folder

    # ---- ids ----

    def prompts(self, count, length):
        """`count` prompts of `length` ids that every model here has."""
        draw = random.Random(f"{count} {length}")
        return self.write(f"prompts-{count}-{length}.json", [[draw.randrange(1000, 30000) for _ in range(length)] for _ in range(count)])

    def answers(self, count, prompt, length):
        """A prompt of `prompt` ids with `count` answers of `length`."""
        draw = random.Random(f"{count} {prompt} {length}")
        ids = lambda size: [draw.randrange(1000, 30000) for _ in range(size)]
        return self.write(f"answers-{count}-{prompt}-{length}.json", {"prompt": ids(prompt), "answers": [ids(length) for _ in range(count)]})

    # ---- runs ----

    @functools.cached_property
    def additions(self):
        rows = self.work / "additions.jsonl"
        self.run(self.grpo, "make-tasks", rows, self.work / "unused.jsonl", "--task", "addition", "--min", 0, "--max", 9, "--count", 0,
                 "--held-out-share", 0.01, "--format", "What is {a} {op} {b}?")
        return rows

    def run_file(self, name, model, step, dtype, threads, template, steps):
        """One GRPO step after the other: `step` is {"prompts", "answers", "tokens"}."""
        rows = self.additions
        assert len(rows.read_text().splitlines()) >= step["prompts"] * steps, "every step needs prompts of its own: fewer rounds"
        return self.write(f"{name}.json", {
            "name": name, "output_dir": str(self.work / name), "threads": threads, "max_steps": steps, "device": "cpu",
            "model": {"path": str(model), "dtype": dtype},
            "data": {"train": str(rows), "prompt": "question", "template": template, "shuffle": False},
            "rewards": [{"name": "accuracy", "params": {"extract": ["anchor", "last_number"]}}],
            "grpo": {"num_generations": step["answers"], "prompts_per_step": step["prompts"], "max_completion_length": step["tokens"],
                     "beta": 0.0},
            "optimizer": {"learning_rate": 1e-9},
        })
