#!/usr/bin/env python3
"""Writes tests/data/tokenizers/chat.json: 100 conversations for each chat template that zo2 knows, and hashes of the ids and of the assistant
mask that transformers' apply_chat_template gives for them (5.24 made what is committed). Run make_unicode_cases.py first.

The templates are short ones of our own that do what the official ones do to conversations without tools. Each is here twice: as it is
recognised, and with marks of generation for the mask; both must give the same ids."""
import json

from make_unicode_cases import KINDS, META, OUT, WORDS, added, compact, fnv, rng
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

IN_FULL, N = 2, 100
rng.seed(1414)

# ---- conversations --------------------------------------------------------------------------------------------------


def words(low, high):
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))


def content():
    return rng.choice([lambda: words(1, 6), lambda: words(1, 3) + rng.choice(KINDS)(), lambda: rng.choice(KINDS)() + words(1, 2), lambda: rng.choice(KINDS)(),
                       lambda: rng.choice(["\n", " ", "\n\n", "\u3000"]) + words(1, 2) + rng.choice(["\n", "  ", "\x1c", ""])])()


def thought():
    return rng.choice(["<think>\n" + words(1, 4) + "\n</think>\n\n", "<think></think>", "<think>\n\n</think>\n\n", words(1, 2) + "</think>\n", "<think>a<think>b</think>c</think>"]) + words(1, 3)


def conversation(thinking):
    messages = [{"role": "system", "content": content()}] if rng.random() < 0.5 else []
    for _ in range(rng.choice([1, 1, 2, 3])):
        user = "<tool_response>" + words(1, 2) + "</tool_response>" if thinking and rng.random() < 0.2 else content()
        messages.append({"role": "user", "content": user})
        messages.append({"role": "assistant", "content": thought() if thinking and rng.random() < 0.5 else content()})
        if thinking and rng.random() < 0.2:
            messages[-1]["reasoning_content"] = rng.choice(["", "\n", words(1, 3), "\n" + words(1, 2) + "\n"])
    if rng.random() < 0.15:
        messages.append({"role": "user", "content": content()})
    return messages


# ---- templates ------------------------------------------------------------------------------------------------------


def both(text):
    """A template with its two forms: generation marks are written as [[ and ]]."""
    return text.replace("[[", "").replace("]]", ""), text.replace("[[", "{% generation %}").replace("]]", "{% endgeneration %}")


LOOP, END = "{% for message in messages %}", "{% endfor %}"
ML = "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
ML_MARKED = ("{% if message.role == 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
             "{% else %}" + ML + "{% endif %}")
ML_PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
ML_FIRST = "{{ '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
QWEN25 = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."


def ml(begin="", in_loop="", loop=LOOP):
    return (begin + loop + in_loop + ML + END + ML_PROMPT, begin + loop + in_loop + ML_MARKED + END)


def default(text):
    return "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n" + text + "<|im_end|>\\n' }}{% endif %}"


# The style of the newer templates: tags that trim, on lines of their own.
QWEN25_TEXT = ("""{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\n""" + QWEN25 + """<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == "system" and loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""")
QWEN3 = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- if ns.searching and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last_query_index = messages|length - loop.index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == "user" %}
        {{- '<|im_start|>user\\n' + content + '<|im_end|>\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {#- thoughts are kept behind the last question only #}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n' }}[[{{- '<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' }}[[{{- content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' }}[[{{- content }}
        {%- endif %}
        {{- '<|im_end|>' }}]]{{- '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""


def qwen3():
    """Marks of generation nest properly: the whole turn is in one branch there."""
    marked = QWEN3.replace("[[", "").replace("]]", "")
    for piece in ("{{- '<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}", "{{- content }}"):
        marked = marked.replace(piece, "{% generation %}" + piece + "{{- '<|im_end|>' }}{% endgeneration %}")
    return QWEN3.replace("[[", "").replace("]]", ""), marked.replace("        {{- '<|im_end|>' }}{{- '\\n' }}", "        {{- '\\n' }}")


NO_THINK = ("{% if messages[0].role == 'system' %}" + ML_FIRST + "{% endif %}" + LOOP + "{% set content = message.content %}{% if message.role == 'user' %}"
            "{{ '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}{% elif message.role == 'assistant' %}"
            "{{ '<|im_start|>' + message.role + '\\n' + content }}{% if message.tool_calls %}{{ '' }}{% endif %}{{ '<|im_end|>\\n' }}{% endif %}" + END + ML_PROMPT)
NO_THINK_MARKED = NO_THINK.replace("+ content }}{% if message.tool_calls %}{{ '' }}{% endif %}{{ '<|im_end|>\\n' }}",
                                   "}}{% generation %}{{ content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}")
L3_HEAD = "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
L3_PROMPT = "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
L3 = (LOOP + "{% set content = " + L3_HEAD + " + message['content'] | trim + '<|eot_id|>' %}{% if loop.first %}{% set content = bos_token + content %}{% endif %}"
      "{{ content }}" + END + L3_PROMPT)
L3_TURN = ("{% if message.role == 'assistant' %}{{ " + L3_HEAD + " }}{% generation %}{{ message.content | trim + '<|eot_id|>' }}{% endgeneration %}"
           "{% else %}{{ " + L3_HEAD + " + message.content | trim + '<|eot_id|>' }}{% endif %}")
L31 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
ORDER = "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif %}"
SPLIT = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}"
         "{% set loop_messages = messages %}NONE{% endif %}")
LLAMA2 = (SPLIT.replace("NONE", "{% set system_message = false %}") + "{% for message in loop_messages %}" + ORDER +
          "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
          "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
          "{% elif message['role'] == 'assistant' %}{{ ' ' }}[[{{ content.strip() + ' ' + eos_token }}]]{% endif %}{% endfor %}")


def inst(before, after, said, rest="", loop="messages", first=""):
    """Mistral's: around a user's message, what the assistant's becomes, and what stands behind it."""
    return ("{{ bos_token }}{% for message in " + loop + " %}" + ORDER + "{% if message['role'] == 'user' %}" + first + "{{ '" + before + "' + message['content'] + '" + after +
            "' }}" + ("{% endif %}" if first else "") + "{% elif message['role'] == 'assistant' %}" + said + rest + "{% else %}{{ raise_exception('roles') }}{% endif %}{% endfor %}")


V1 = SPLIT.replace("NONE", "") + inst(" [INST] ", " [/INST]", "{{ ' ' }}[[{{ message['content'] + eos_token }}]]", loop="loop_messages",
                                      first="{% if loop.first and system_message is defined %}{{ ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}{% else %}")
SAID = "[[{{ message['content'] + eos_token }}]]"
SIZE = len(json.loads((OUT / "llama2.json").read_text(encoding="utf-8"))["model"]["vocab"])
INST = {"added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>"), added(SIZE, "[INST]"), added(SIZE + 1, "[/INST]")],
        "normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": META, "prepend_scheme": "first", "split": False}}
SIZE3 = len(json.loads((OUT / "llama3.json").read_text(encoding="utf-8"))["model"]["vocab"])
TEKKEN = {"added_tokens": [added(SIZE3 + i, t) for i, t in enumerate(["[BOS]", "<|eot_id|>", "[INST]", "[/INST]"])], "post_processor": None}
FIRST = {k: INST[k] for k in ("normalizer", "pre_tokenizer")}
S, L = ("<s>", "</s>"), ("<|begin_of_text|>", "<|eot_id|>")

# Name, (template, marked), tokenizer, its parts, tokens, whether it takes a system message
TEMPLATES = [
    ("ChatML", ml(), "qwen3", {}, ("", ""), True),
    ("ChatML with BOS", ml("{{ bos_token }}"), "qwen3", {}, ("<|endoftext|>", ""), True),
    ("Qwen1.5", ml(in_loop=default("You are a helpful assistant")), "qwen3", {}, ("", ""), True),
    ("Qwen2", ml(in_loop=default("You are a helpful assistant.")), "qwen3", {}, ("", ""), True),
    ("SmolLM2", ml(in_loop=default("You are a helpful AI assistant named SmolLM, trained by Hugging Face")), "qwen3", {}, ("", ""), True),
    ("Qwen2.5", (QWEN25_TEXT, ml(in_loop=default(QWEN25))[1]), "qwen3", {}, ("", ""), True),
    ("Qwen3", qwen3(), "qwen3", {}, ("", ""), True),
    ("Qwen3 without thinking", (NO_THINK, NO_THINK_MARKED), "qwen3", {}, ("", ""), True),
    ("Llama-3", (L3, "{{ bos_token }}" + LOOP + L3_TURN + END), "llama3", {}, L, True),
    ("Llama-3.1", (L31, L31.partition("{%- for message")[0].rstrip() + LOOP + L3_TURN + END), "llama3", {}, L, True),
    ("Llama-2", both(LLAMA2), "llama2", {}, S, True),
    ("Mistral v0.1", both(inst("[INST] ", " [/INST]", SAID, "{{ ' ' }}")), "llama2", {}, S, False),
    ("Mistral v0.2", both(inst("[INST] ", " [/INST]", SAID)), "llama2", FIRST, S, False),
    ("Mistral V1", both(V1), "llama2", FIRST, S, True),
    ("Mistral V3", both(inst("[INST] ", "[/INST]", "{{ ' ' }}[[{{ message['content'] | trim + eos_token }}]]")), "llama2", INST, S, False),
    ("Mistral V3, untrimmed", both(inst("[INST] ", "[/INST]", "{{ ' ' }}[[{{ message['content'] + eos_token }}]]")), "llama2", INST, S, False),
    ("Mistral V3 Tekken", both(inst("[INST]", "[/INST]", SAID)), "llama3", TEKKEN, ("[BOS]", "<|eot_id|>"), False),
    ("ChatML", ml(), "llama2", {**FIRST, "pre_tokenizer": {**FIRST["pre_tokenizer"], "prepend_scheme": "always"}}, ("", ""), True),
]


def case(sets, name, template, of, parts, tokens, system):
    content = {**json.loads((OUT / f"{of}.json").read_text(encoding="utf-8")), **parts}
    bos, eos = tokens
    t = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), **({"bos_token": bos} if bos else {}), **({"eos_token": eos} if eos else {}))
    ids, loss = [], []
    which = "thinking" if name == "Qwen3" else "plain"
    for messages in sets[which]:
        messages = messages if system or messages[0]["role"] != "system" else messages[1:]
        plain = t.apply_chat_template(messages, chat_template=template[0], tokenize=True, return_dict=True)["input_ids"]
        marked = t.apply_chat_template(messages, chat_template=template[1], tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        assert plain == marked["input_ids"], (name, messages, t.decode(plain), t.decode(marked["input_ids"]))
        assert sum(marked["assistant_masks"]), (name, messages)
        ids.append(plain)
        loss.append(marked["assistant_masks"])
    return {"name": name, "template": template[0], "file": of + ".json", "parts": parts, "bos_token": bos or None, "eos_token": eos or None, "system": system,
            "conversations": which, "ids": ids[:IN_FULL], "loss": ["".join(map(str, m)) for m in loss[:IN_FULL]],
            "hash": "".join(f"{fnv([*i, *m]) >> 32:08x}" for i, m in zip(ids, loss))}


sets = {"plain": [conversation(False) for _ in range(N)], "thinking": [conversation(True) for _ in range(N)]}
cases = [case(sets, *t) for t in TEMPLATES]
path = OUT / "chat.json"
path.write_text('{"conversations":{\n' + ",\n".join(f'"{k}":[\n' + ",\n".join(map(compact, v)) + "]" for k, v in sets.items()) + '},\n"cases":[\n' +
                ",\n".join(map(compact, cases)) + "]}\n", encoding="utf-8")
print(path.name, path.stat().st_size, len(cases), "templates")
