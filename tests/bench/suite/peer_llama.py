"""llama.cpp as a peer, talked to as serve.h says.

    peer_llama.py MODEL.gguf THREADS PROMPTS.json        as generate_bench with one prompt

The prompt is decoded once and its cells are shared by all answers (seq_cp). The next token is the largest logit: less work than a draw.
Keys and values are fp16, llama.cpp's default.
"""
import json
import sys
import time

import llama_cpp
import numpy as np


class Decoder:
    def __init__(self, model, threads, max_tokens, sequences):
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = max_tokens, 512, 512
        parameters.n_seq_max, parameters.kv_unified = sequences, True
        parameters.n_threads = parameters.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(model, parameters)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)

    def decode(self, tokens, positions, sequences, wanted):
        """The largest logits' ids of the rows in `wanted`."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence) in enumerate(zip(tokens, positions, sequences)):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, i in wanted
            batch.seq_id[i][0] = sequence
        if llama_cpp.llama_decode(self.context, batch) != 0:
            sys.exit("llama_decode failed")
        return [int(np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, i), (self.vocabulary,)).argmax()) for i in wanted]

    def generate(self, prompt, samples, tokens):
        start, steps = time.perf_counter(), []
        llama_cpp.llama_memory_clear(self.memory, True)
        last = len(prompt) - 1
        first = self.decode(prompt, range(len(prompt)), [0] * len(prompt), [last])
        for sequence in range(1, samples):
            llama_cpp.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)
        drawn = first * samples
        steps.append([samples, time.perf_counter() - start])
        everyone = list(range(samples))
        for position in range(len(prompt), len(prompt) + tokens - 1):
            drawn = self.decode(drawn, [position] * samples, everyone, everyone)
            steps.append([steps[-1][0] + samples, time.perf_counter() - start])
        return {"seconds": time.perf_counter() - start, "steps": steps, "lengths": [tokens] * samples}


def main():
    path, threads, file = sys.argv[1:]
    (prompt,) = json.load(open(file))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    decoder = Decoder(model, int(threads), max_tokens=4096, sequences=16)
    print(json.dumps({"ready": True, "system": llama_cpp.llama_print_system_info().decode()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(decoder.generate(prompt, request.get("samples", 1), request["tokens"])), flush=True)


main()
