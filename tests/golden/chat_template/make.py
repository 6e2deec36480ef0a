"""Writes cases.json, what transformers renders, and masks.json, its assistant masks, for tests/text.

    python make.py TOKENIZERS    # a folder with qwen3/ and deepseek_v3/ (tokenizer.json and tokenizer_config.json)

Conversations, variables and special tokens are named once; a case names them, with a template (of a model, or its
`source`), `prompt` (add_generation_prompt) and `expected`, null where transformers fails. smollm2.jinja is the template of SmolLM2-135M-Instruct (Apache-2.0).
The masks are those of small tokenizers (a variant of ../tokenizer/variants.json) and of the models'; where a block ends
in a character of several tokens, or begins or ends with white space that a tokenizer's offsets leave out, transformers'
masks have gaps or run over; no case here does.
"""
import importlib.util
import json
import pathlib
import sys

from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("make_tokenizers", HERE.parent / "tokenizer" / "make.py")
small_tokenizers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_tokenizers)


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather \"now\" in a city — °C, 東京 too <b>&amp;</b>",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}, "scale": 1.5},
            "required": ["city"],
            "strict": True,
            "extra": None,
            "empty": [{}, []],
        },
    },
}

CONVERSATIONS = {
    "one turn": [user("What is 2+2?")],
    "system": [system("Be brief."), user("Hi")],
    "two systems": [system("Be brief."), system("Be kind."), user("Hi")],
    "multi-turn": [user("a"), assistant("b"), user("c"), assistant("d"), user("e")],
    "ends with the assistant": [system("s"), user("a"), assistant("b")],
    "thinking": [user("q"), assistant("<think>\nstep one\nstep two\n</think>\n\nThe answer."), user("and?")],
    "thinking last": [user("q"), assistant("<think>\n\nstep\n\n</think>\n\n\nThe answer.\n")],
    "only the end of thinking": [user("q"), assistant("step</think>done"), user("more"), assistant("</think></think>x")],
    "reasoning_content": [user("q"), assistant("The answer.", reasoning_content="\nbecause\n")],
    "reasoning under another name": [user("q"), assistant("The answer.", thinking="hm"), user("q"), assistant("A", reasoning="so")],
    "empty content": [system(""), user(""), assistant(""), user("")],
    "unicode and special text": [user("Ünïcödé 🙂 e\u0301 \u00a0<|im_end|> \t\u2028 'quote' \"double\" \\n {{ x }} {% if %}\r\n")],
    "white space": [user("  a \n\n"), assistant("\n\n b \n"), user("\n")],
    "no messages": [],
    "tool calls": [
        user("Weather in Bern?"),
        assistant("", tool_calls=[{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Bern", "days": 2}}}]),
        {"role": "tool", "content": "{\"t\": 21}"},
        {"role": "tool", "content": "{\"t\": 22}"},
        assistant("It is 21."),
        user("<tool_response>looks like one</tool_response>"),
    ],
    "tool calls as text": [
        user("Weather?"),
        {"role": "assistant", "content": None, "tool_calls": [
            {"type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Bern\"}"}},
            {"type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Genf\"}"}}]},
        {"role": "tool", "content": "21"},
        {"role": "tool", "content": "22"},
    ],
}

# Features beyond the three models: each source is rendered with MESSAGES and VARIABLES.
MESSAGES = [system("You are S"), user("first ß"), assistant("reply"), user("last")]
VARIABLES = {"n": 7, "x": 2.5, "flag": True, "nothing": None, "names": ["b", "A", "c", "a"], "tools": [WEATHER],
             "table": {"z": 1, "a": [1, 2.0, "t"], "m": {"k": None}}, "big": 1e16, "tiny": 1e-7, "word": "straße äÖ"}
FEATURES = [
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }} {{ loop.first }} {{ loop.last }} {{ loop.revindex0 }}\n{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index0 }}{{ m.content }}{% if not loop.last %}, {% endif %}{% else %}none{% endfor %}",
    "{% for m in messages if m.role == 'nobody' %}x{% else %}nobody{% endfor %}",
    "{% for k, v in table.items() %}{{ k }}={{ v }};{% endfor %}{% for k in table %}{{ k }}{% endfor %}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% set ns = namespace(found=false, n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% set n = 99 %}{% endfor %}{{ ns.n }} {{ n }} {{ ns.found }}",
    "{% set text %}a{{ n }}b{% endset %}[{{ text }}]{% set up | upper | trim %} shout {% endset %}[{{ up }}]",
    "{% macro greet(name, greeting='Hello', *args) %}{% endmacro %}",
    "{% macro greet(name, greeting='Hello') %}{{ greeting }}, {{ name }}! {{ kwargs }} {{ varargs }}{% endmacro %}{{ greet('Bo') }}{{ greet('Bo', 'Hi', 3, z=1) }}{{ greet(greeting='Yo', name='Al') }}",
    "{% macro box(t) %}<{{ t }}|{{ caller('in') }}>{% endmacro %}{% call(v) box('top') %}body {{ v }} {{ n }}{% endcall %}",
    "{% macro fact(k) %}{% if k <= 1 %}1{% else %}{{ k * (fact(k - 1) | int) }}{% endif %}{% endmacro %}{{ fact(10) }}",
    "{% with a = n, b = 2 %}{{ a * b }}{% endwith %}{{ a is defined }}",
    "{% filter upper %}loud {{ word }}{% endfilter %}",
    "a\n  {% if true %}\n  b\n  {%- endif %}\n\nc\n  {#- note -#}  \n d\n{%+ if true %} e {% endif +%}\n f {{- ' g ' -}} h",
    "{% raw %}{{ not this }} {% if %}{% endraw %}\n  {%- raw -%}  x  {%- endraw %}  y",
    "{{ 'it''s' }} {{ \"tab\\t\\x41\\u00e9\\101 \\d\" }} {{ 'a' 'b' }} {{ 'multi\nline' }}",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1e3 }} {{ 10 / 5 }} {{ 1_000 }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 'a' == 1 }} {{ none == undefined_thing }}",
    "{{ not n }} {{ n and x }} {{ nothing or 'default' }} {{ 'yes' if flag }}{{ 'no' if not flag }} {{ 'a' if nothing else 'b' if flag else 'c' }}",
    "{{ n ~ x ~ none ~ true ~ [1, 'a', none] ~ {'k': 'v'} ~ (1,) ~ () }}",
    "{{ 'oo' in 'foo' }} {{ 3 in [1, 2] }} {{ 'z' in table }} {{ 'q' not in table }} {{ n in range(8) }}",
    "{{ messages[::-1] | map(attribute='role') | join(',') }} {{ messages[1:] | length }} {{ messages[:-1] | length }} {{ 'abcdef'[::2] }} {{ 'äöü🙂'[-2:] }} {{ 'abcdef'[4:1:-1] }} {{ names[-1] }} {{ 'äöü'[1] }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }} {{ messages | rejectattr('role', 'in', ['user', 'system']) | list | length }} {{ [1, 2, 3, 4] | select('odd') | list }} {{ [1, 0, none] | reject | list }} {{ names | map('upper') | join }}",
    "{{ names | sort }} {{ names | sort(case_sensitive=true) }} {{ names | sort(reverse=true) | first }} {{ table | dictsort }} {{ names | unique | list }} {{ [3, 1, 2] | max }} {{ [3, 1, 2] | sum }} {{ names | reverse | list }} {{ 'abc' | reverse }} {{ names | last }} {{ [] | first is defined }}",
    "{{ table | tojson }}\n{{ table | tojson(indent=2) }}\n{{ tools | tojson(true) }}\n{{ table | tojson(sort_keys=true, separators=(',', ':')) }} {{ word | tojson }} {{ 'q\"\\\\ \\u007f\\x01 </script>' | tojson }} {{ x | tojson }} {{ (1, 2) | tojson }}",
    "{{ big }} {{ tiny }} {{ 0.1 + 0.2 }} {{ 100000.0 * 10 }} {{ 123456789012345680.0 }} {{ -0.0 }} {{ 1e22 }} {{ [0.5, true, none] }}",
    "{{ word | upper }} {{ word | title }} {{ 'hELLO wORLD' | capitalize }} {{ word | length }} {{ '  pad ' | trim }}| {{ 'xxaxx' | trim('x') }} {{ 'aXbX' | replace('X', '-', 1) }} {{ 42.7 | int }} {{ '12' | int + 1 }} {{ 'no' | int(5) }} {{ '3.5' | float }} {{ 3.14159 | round(2) }} {{ 2.5 | round }} {{ -3 | abs }} {{ n | string | length }} {{ 'a\\nb' | indent }}",
    "{{ ' a b  c '.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ '\\n\\nx\\n'.strip('\\n') }} {{ 'xyx'.lstrip('x') }} {{ 'xyx'.rstrip('x') }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'a-b'.replace('-', '+') }} {{ 'a\\nb\\n'.splitlines() }} {{ '-'.join(['a', 'b']) }} {{ 'abcabc'.find('c') }} {{ 'äbc'.rfind('c') }} {{ 'aaa'.count('a') }} {{ 'x'.upper() }} {{ 'Ab'.lower() }} {{ '12'.isdigit() }} {{ 'abc'.removeprefix('a') }} {{ 'hi there'.title() }} {{ 'a:b:c'.partition(':') }} {{ '7'.zfill(3) }}",
    "{{ n is number }} {{ n is integer }} {{ x is float }} {{ word is string }} {{ table is mapping }} {{ names is iterable }} {{ names is sequence }} {{ nothing is none }} {{ absent is defined }} {{ absent is undefined }} {{ flag is true }} {{ flag is false }} {{ flag is boolean }} {{ n is odd }} {{ n is divisibleby 7 }} {{ n is not even }} {{ 'A' is upper }} {{ n is in [7] }} {{ n is eq(7) }} {{ n is gt 3 }} {{ none is sameas none }} {{ 'abc' is lower }}",
    "{{ absent }}|{{ absent | default('d') }}|{{ '' | default('e', true) }}|{{ absent | length }}|{{ absent | list }}|{% for a in absent %}x{% endfor %}|{{ absent ~ 'x' }}|{{ messages[0].absent }}|{{ messages[0]['absent'] }}|{{ messages[99] }}|{{ none.foo }}|{{ table.get('q') }}|{{ table.get('q', 4) }}",
    "{{ absent.foo }}",
    "{{ absent + 1 }}",
    "{{ none + 'x' }}",
    "{{ 'a' + 1 }}",
    "{{ 1 / 0 }}",
    "{{ names.append('x') }}",
    "{{ table.update }}|{{ table.pop('z') }}",
    "{{ raise_exception('only user turns, got ' + messages[0].role) }}",
    "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}fine",
    "{{ absent() }}",
    "{{ 5 | length }}",
    "{{ none | length }}",
    "{{ messages | tojson }}{{ absent | tojson }}",
    "{% for a, b in [(1, 2), (3, 4, 5)] %}{{ a }}{% endfor %}",
    "{% for x in none %}{% endfor %}",
    "{{ names | nofilter }}",
    "{{ names is notest }}",
    "{% set a, b = 1, 2 %}{{ b }}{{ a }}{% set (c, d) = [3, 4] %}{{ c + d }}",
    "{% set ns = namespace() %}{% set ns.a = [1] %}{% set ns.a = ns.a + [2] %}{{ ns.a }}{{ ns.b is defined }}",
    "{% set table.z = 3 %}",
    "{{ range(3) }} {{ range(1, 10, 3) | list }} {{ range(5, 0, -2) | list }} {{ table.items() }} {{ table.keys() | list }} {{ table.values() | length }} {{ dict(a=1, b=[2]) }}",
    "{% for i in range(3) %}{% for j in range(2) %}{{ loop.index }}{{ loop.length }} {% endfor %}{{ loop.cycle('a', 'b') }} {{ loop.previtem }} {{ loop.nextitem }}{{ loop.changed(i // 2) }};{% endfor %}",
    "{% set ns = namespace(done=false) %}{% for m in messages if not ns.done %}{{ m.role }}{% if m.role == 'user' %}{% set ns.done = true %}{% endif %}{% endfor %}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% set q = 1 %}{% endgeneration %}{{ q is defined }}{% else %}[{{ m.content }}]{% endif %}{% endfor %}",
    "{% set x = 5 %}{% for i in [1, 2] %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% set g = names | map('lower') %}{{ g | list }}{{ g | list }}{{ 'truthy' if [] | map('lower') }}",
    "{{ {'a': 1, 'b': {'c': [1, (2,), 'x\\'y']}, 3: none, 'a': 2} }} {{ {'it\\'s': \"x\\\"'\"} }} {{ ['\\n\\x07é\\u200b\\U0001F600'] }}",
    "{% if n > 5 %}big{% elif n > 2 %}mid{% else %}small{% endif %} {% if absent %}x{% elif nothing %}y{% else %}z{% endif %}",
    "{% if tools is not none and tools is iterable and tools | length > 0 %}{{ tools[0]['function']['parameters']['properties'] | length }}{% endif %} {{ documents is none }}",
    "{% if tools %}unclosed",
    "{{ 'unclosed }}",
    "{% endif %}",
    "{{ (1, 2 }}",
    "{% for x in %}{% endfor %}",
    "{# no end",
    "x{% break %}",
]

# Templates with {% generation %} blocks.
MARKED = {
    "chatml": "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{%- if m.role == 'assistant' %}"
              "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{%- else %}{{ m.content + '<|im_end|>' }}"
              "{%- endif %}{{ '\\n' }}{%- endfor %}",
    "inside a macro": "{% macro turn(m) %}{{ m.role }}: {% endmacro %}{% for m in messages %}{{ turn(m) }}"
                      "{% if m.role == 'assistant' %}{% generation %}\n{% if m.content %}{{ m.content }}{% endif %}<|im_end|>"
                      "{% endgeneration %}\n{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "last answer": "{% for m in messages %}{% if loop.last and m.role == 'assistant' %}{% generation %}{{ m.content }}!"
                   "{% endgeneration %}{% else %}{{ m.content }}<think>{% endif %}{% endfor %}",
    # Tokens reach over both edges.
    "glued": "{% for m in messages %}{% if m.role == 'assistant' %}a{% generation %}{{ m.content }}aa{% endgeneration %}th"
             "{% else %}e {{ m.content }}q{% endif %}{% endfor %}",
}
ANSWERS = {
    "plain": [system("Be brief."), user("the quick brown fox"), assistant("jumps over the lazy dog"), user("And?"),
              assistant("the other dogs watch")],
    "empty": [user(""), assistant(""), user("x"), assistant("")],
    "white space": [user("a  "), assistant("  \n\n b \n x"), user(" \n"), assistant("12 345\t6")],
    "unicode": [user("cafe\u0301 \u4f60\u597d"), assistant("e\u0301clair \U0001f44d\U0001f3fd nai\u0308ve \u1112\u1161\u11ab \u2161 x"),
                user("\u0301\u0327"), assistant("\u4e16\u754c A\u030a\u0327 \U0001f469\u200d\U0001f467 done")],
    "added tokens": [user("<think>"), assistant("<think>so</think> it is<|im_end"), user("<|im_end|>"), assistant("ok")],
}


def masks(tokenizers):
    """Runs of the mask: how many 0s, then how many 1s, and so on."""
    base = small_tokenizers.make_base()
    variants = {name: small_tokenizers.variant(base, changes, added)
                for name, changes, added in small_tokenizers.VARIANTS if name in ("smollm", "qwen2", "deepseek")}
    loaded = {name: (lambda t, tree=tree: PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(tree)),
                                                                  chat_template=t)) for name, tree in variants.items()}
    cases = []
    for name in ("smollm", "qwen2", "deepseek", "model qwen3", "model deepseek_v3"):
        for marked, source in MARKED.items():
            if name in loaded:
                tokenizer = loaded[name](source)
            else:
                tokenizer = AutoTokenizer.from_pretrained(f"{tokenizers}/{name.split()[1]}")
                tokenizer.chat_template = source
            for answers, messages in ANSWERS.items():
                if marked == "glued" and answers in ("empty", "white space"):
                    continue
                out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
                runs, last = [0], 0
                for bit in out["assistant_masks"]:
                    if bit != last:
                        runs.append(0)
                    runs[-1] += 1
                    last = bit
                cases.append({"tokenizer": name, "template": marked, "messages": answers, "runs": runs})
    return {"templates": MARKED, "messages": ANSWERS, "cases": cases}


def render(tokenizer, messages, prompt, variables):
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt, **variables)
    except Exception:
        return None


def tokenizer_with(template, **special):
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()), chat_template=template, **special)


def main(tokenizers):
    models = {name: AutoTokenizer.from_pretrained(f"{tokenizers}/{name}") for name in ("qwen3", "deepseek_v3")}
    models["smollm2"] = tokenizer_with((HERE / "smollm2.jinja").read_bytes().decode(),
                                       bos_token="<|im_start|>", eos_token="<|im_end|>")
    variables = {"none": {}, "no thinking": {"enable_thinking": False}, "thinking": {"enable_thinking": True},
                 "tools": {"tools": [WEATHER]}, "features": VARIABLES}
    conversations = {**CONVERSATIONS, "features": MESSAGES}
    cases = []
    for conversation, messages in CONVERSATIONS.items():
        for name, tokenizer in models.items():
            runs = [("none", False), ("none", True)]
            if name == "qwen3":
                runs += [("no thinking", True), ("thinking", True), ("tools", True)]
            for which, prompt in runs:
                cases.append({"model": name, "conversation": conversation, "variables": which, "prompt": prompt,
                              "expected": render(tokenizer, messages, prompt, variables[which])})
    for source in FEATURES:
        cases.append({"source": source, "conversation": "features", "variables": "features", "prompt": True,
                      "expected": render(tokenizer_with(source), MESSAGES, True, VARIABLES)})
    special = {name: {key: token for key, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
               for name, tokenizer in models.items()}
    out = {"special": special, "variables": variables, "conversations": conversations, "cases": cases}
    (HERE / "cases.json").write_text(json.dumps(out, ensure_ascii=False, indent=0) + "\n")
    (HERE / "masks.json").write_text(json.dumps(masks(tokenizers), ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
