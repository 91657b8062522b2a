/* Chat templates: 100 conversations for each, with the ids and loss places that transformers' apply_chat_template gives
 * (tests/make_fixtures/make_chat_cases.py); what isn't recognised; what is refused of a conversation. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tools/text/chat.h"

#include <stdbool.h>

#define FOLDER ZO2_TEST_DATA "/tokenizers"

static json_t *load(const char *name)
{
    zo2t_file f = test_read(FOLDER, name);
    json_error_t e;
    if (!f.data)
        fail_msg("no %s", name);
    json_t *out = json_loadb(f.data, f.bytes, JSON_ALLOW_NUL, &e);
    if (!out)
        fail_msg("%s line %d: %s", name, e.line, e.text);
    free((char *)(uintptr_t)f.data);
    return out;
}

static const char *text_of(const json_t *c, const char *key)
{
    return json_string_value(json_object_get(c, key));
}

/* The file with a case's parts in the place of its own. */
static zo2t_tokenizer *open_tokenizer(const json_t *c)
{
    json_t *root = load(text_of(c, "file"));
    json_object_update(root, json_object_get(c, "parts"));
    char *text = json_dumps(root, JSON_COMPACT);
    assert_non_null(text);
    zo2t_tokenizer *t;
    if (zo2t_tokenizer_open(&t, &(zo2t_tokenizer_files){.tokenizer = {text, strlen(text)}}))
        fail_msg("%s", zo2_last_error());
    free(text);
    json_decref(root);
    return t;
}

/* Both ways that a template is stored. */
static zo2t_chat *open_chat(const json_t *c, bool in_config)
{
    json_t *config = json_pack("{s:O, s:O}", "bos_token", json_object_get(c, "bos_token"), "eos_token",
                               json_object_get(c, "eos_token"));
    const char *jinja = text_of(c, "template");
    if (in_config)
        json_object_set(config, "chat_template", json_object_get(c, "template"));
    char *text = json_dumps(config, 0);
    zo2t_chat *chat;
    zo2_status s = zo2t_chat_open(
        &chat, &(zo2t_chat_files){.chat_template = in_config ? (zo2t_file){0} : (zo2t_file){jinja, strlen(jinja)},
                                  .tokenizer_config = {text, strlen(text)}});
    if (s)
        fail_msg("%s: %s", text_of(c, "name"), zo2_last_error());
    assert_string_equal(zo2t_chat_name(chat), text_of(c, "name"));
    free(text);
    json_decref(config);
    return chat;
}

/* FNV-1a over values of 32 bits, little-endian. */
static uint64_t fnv(uint64_t h, uint32_t value)
{
    for (int shift = 0; shift < 32; shift += 8)
        h = (h ^ (value >> shift & 0xFF)) * 0x100000001B3u;
    return h;
}

typedef struct made {
    zo2t_chat_text text;
    zo2t_ids ids;
    uint8_t *loss;
    size_t loss_capacity;
} made;

static void free_made(made *m)
{
    zo2t_chat_text_free(&m->text);
    zo2t_ids_free(&m->ids);
    free(m->loss);
}

static bool matches(const made *m, const json_t *ids, const char *loss, const char *hash)
{
    uint64_t h = 0xCBF29CE484222325u;
    char got[9];
    for (size_t i = 0; i < m->ids.n; i++)
        h = fnv(h, (uint32_t)m->ids.id[i]);
    for (size_t i = 0; i < m->ids.n; i++)
        h = fnv(h, m->loss[i]);
    snprintf(got, sizeof got, "%08x", (unsigned)(h >> 32));
    bool same = !memcmp(got, hash, 8) && (!ids || json_array_size(ids) == m->ids.n);
    for (size_t i = 0; ids && same && i < m->ids.n; i++)
        same = m->ids.id[i] == json_integer_value(json_array_get(ids, i)) && m->loss[i] == loss[i] - '0';
    return same;
}

/* Returns how many conversations differ; the first ones are printed. */
static int run_case(const json_t *c, const json_t *conversations)
{
    const char *name = text_of(c, "name"), *hash = text_of(c, "hash");
    zo2t_tokenizer *t = open_tokenizer(c);
    zo2t_chat *chat = open_chat(c, strlen(name) % 2);
    made m = {0};
    int different = 0;
    assert_int_equal(strlen(hash), 8 * json_array_size(conversations));
    for (size_t i = 0; i < json_array_size(conversations); i++) {
        json_t *messages = json_copy(json_array_get(conversations, i));
        const char *role = text_of(json_array_get(messages, 0), "role");
        if (!strcmp(role, "system") && !json_is_true(json_object_get(c, "system"))) {
            assert_int_equal(zo2t_chat_render(chat, messages, &m.text), ZO2_ERR_FORMAT);
            json_array_remove(messages, 0);
        }
        m.ids.n = 0;
        if (zo2t_chat_render(chat, messages, &m.text) ||
            zo2t_chat_encode(t, &m.text, &m.ids, &m.loss, &m.loss_capacity))
            fail_msg("%s, %zu: %s", name, i, zo2_last_error());
        if (!matches(&m, json_array_get(json_object_get(c, "ids"), i),
                     json_string_value(json_array_get(json_object_get(c, "loss"), i)), hash + 8 * i) &&
            different++ < 2) {
            print_error("%s, conversation %zu: %s\n", name, i, m.text.text);
            for (size_t k = 0; k < m.ids.n; k++)
                print_error(" %d%s", m.ids.id[k], m.loss[k] ? "*" : "");
            print_error("\n");
        }
        json_decref(messages);
    }
    free_made(&m);
    zo2t_chat_close(chat);
    zo2t_tokenizer_close(t);
    return different;
}

static void hugging_face(void **state)
{
    (void)state;
    json_t *root = load("chat.json");
    const json_t *cases = json_object_get(root, "cases"), *sets = json_object_get(root, "conversations");
    int different = 0;
    assert_int_equal(json_array_size(cases), 18);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *set = json_object_get(sets, text_of(c, "conversations"));
        assert_int_equal(json_array_size(set), 100);
        different += run_case(c, set);
    }
    json_decref(root);
    assert_int_equal(different, 0);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static zo2_status try_template(zo2t_chat **out, const char *jinja, const char *config)
{
    return zo2t_chat_open(out, &(zo2t_chat_files){.chat_template = {jinja, jinja ? strlen(jinja) : 0},
                                                  .tokenizer_config = {config, config ? strlen(config) : 0}});
}

static void assert_unknown(const char *jinja)
{
    zo2t_chat *c;
    if (try_template(&c, jinja, "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}") != ZO2_ERR_UNSUPPORTED)
        fail_msg("recognised as %s: %s", c ? zo2t_chat_name(c) : "nothing", jinja);
    assert_null(c);
}

/* `text` with `by` in the place of the first `what`. To be freed. */
static char *replaced(const char *text, const char *what, const char *by)
{
    const char *at = strstr(text, what);
    if (!at)
        fail_msg("no %s in %s", what, text);
    const size_t n = strlen(text) + strlen(by) + 1;
    char *out = malloc(n);
    assert_non_null(out);
    snprintf(out, n, "%.*s%s%s", (int)(at - text), text, by, at + strlen(what));
    return out;
}

/* Every template with something else in it is another one. */
static void unknown(void **state)
{
    static const char *const changes[][3] = {
        {"ChatML", "'<|im_end|>' + '\\n'", "'<|im_end|>'"},
        {"ChatML", "message['content'] +", "message['content'] | trim +"},
        {"ChatML", "{% for", "{{ 'You are a pirate.' }}{% for"},
        {"ChatML", "{% for", "<|pirate|>{% for"},
        {"ChatML", "{% if add_generation_prompt %}", ""},
        {"ChatML", "{% for", "{{ messages[0].content }}{% for"},
        {"ChatML", "{% endfor %}", "\n{{ '' }}{% endfor %}"},
        {"Qwen2", "You are a helpful assistant.", "You are a helpful pirate."},
        {"Qwen2", "You are a helpful assistant.", "You are a helpful assistant. Be brief."},
        {"Qwen2.5", "You are Qwen, created by Alibaba Cloud. You", "You are Quon, created by somebody. You"},
        {"Qwen3", "[-1].lstrip('\\n') %}", "[-1] %}"},
        {"Qwen3", "loop.last or (not loop.last and reasoning_content)", "reasoning_content"},
        {"Llama-3", "| trim", ""},
        {"Llama-3.1", "December 2023", "December 2024"},
        {"Llama-3.1", "26 Jul 2024", "27 Jul 2024"},
        {"Llama-2", "' [/INST]'", "'[/INST]'"},
        {"Llama-2", "<<SYS>>\\n", "<<SYSTEM>>\\n"},
        {"Mistral V1", "loop.first and", "loop.last and"},
    };
    (void)state;
    json_t *root = load("chat.json");
    const json_t *cases = json_object_get(root, "cases");
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const json_t *c = NULL;
        for (size_t k = 0; k < json_array_size(cases) && !c; k++) {
            if (!strcmp(text_of(json_array_get(cases, k), "name"), changes[i][0]))
                c = json_array_get(cases, k);
        }
        assert_non_null(c);
        char *text = replaced(text_of(c, "template"), changes[i][1], changes[i][2]);
        assert_unknown(text);
        free(text);
    }
    json_decref(root);
    assert_unknown("");
    assert_unknown("{% for message in messages %}{{ message.content }}{% endfor %}");
}

#define ML                                                                                                                              \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}" \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* The same template in other hands. */
static void styles(void **state)
{
    static const char *const same[] = {
        "{# ours #}\n{%- for message in messages -%}\n  {{- \"<|im_start|>\" ~ message.role ~ \"\n\" ~ message[\"content\"] ~ \"<|im_end|>\\n\" -}}\n{%- endfor -%}\n"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant' }}{{ '\\n' -}}{%- endif -%}\n",
        "{% for message in messages %}\n<|im_start|>{{ message.role + '\\n' + message.content }}<|im_end|>\n  {% endfor %}\n"
        "{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}\n",
    };
    (void)state;
    zo2t_chat *c;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (try_template(&c, same[i], NULL))
            fail_msg("%s: %s", zo2_last_error(), same[i]);
        assert_string_equal(zo2t_chat_name(c), "ChatML");
        zo2t_chat_close(c);
    }
}

static void files(void **state)
{
    (void)state;
    zo2t_chat *c;
    assert_error(try_template(&c, NULL, NULL), ZO2_ERR_NOTFOUND, "no chat template");
    assert_error(try_template(&c, NULL, "{\"chat_template\": null}"), ZO2_ERR_NOTFOUND, "no chat template");
    assert_error(try_template(&c, NULL, "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"x\"}]}"),
                 ZO2_ERR_NOTFOUND, "no chat template");
    assert_error(try_template(&c, ML, "{"), ZO2_ERR_FORMAT, "tokenizer_config.json line 1");
    assert_error(try_template(&c, "{{ bos_token }", NULL), ZO2_ERR_FORMAT, "has no end");
    assert_error(try_template(&c, "{% set a = 'b %}", NULL), ZO2_ERR_FORMAT, "has no end");
    assert_error(try_template(&c, "{# a", NULL), ZO2_ERR_FORMAT, "has no end");
    assert_error(try_template(&c, "{{ bos_token }}" ML, "{\"bos_token\": null}"), ZO2_ERR_FORMAT,
                 "(ChatML with BOS) writes the bos_token, which neither");
    /* A file of its own counts before the configuration; of several templates the default one. */
    assert_int_equal(try_template(&c, ML, "{\"chat_template\": \"x\"}"), ZO2_OK);
    assert_false(zo2t_chat_begins_with_bos(c));
    zo2t_chat_close(c);
    json_t *config = json_pack("{s:[{s:s, s:s}, {s:s, s:s}], s:{s:s}}", "chat_template", "name", "tool_use", "template",
                               "x", "name", "default", "template", "{{ bos_token }}" ML, "bos_token", "content", "<s>");
    char *text = json_dumps(config, 0);
    assert_int_equal(try_template(&c, NULL, text), ZO2_OK);
    assert_true(zo2t_chat_begins_with_bos(c));
    zo2t_chat_close(c);
    free(text);
    json_decref(config);
}

#define U   "{\"role\": \"user\", \"content\": \"q\"}"
#define A   "{\"role\": \"assistant\", \"content\": \"a\"}"
#define SYS "{\"role\": \"system\", \"content\": \"s\"}"

static void conversations(void **state)
{
    static const struct {
        const char *messages, *part;
    } refused[] = {
        {"{}", "not a list of messages"},
        {"[]", "no messages"},
        {"[1]", "message 1 is not an object"},
        {"[{\"content\": \"a\"}]", "message 1 has no \"role\""},
        {"[" U ", {\"role\": \"tool\", \"content\": \"a\"}]", "message 2: the role \"tool\" is none of"},
        {"[" U ", {\"role\": \"assistant\\u0000\", \"content\": \"a\"}]", "message 2: the role"},
        {"[" U ", {\"role\": \"assistant\"}]", "message 2: \"content\" is not a string"},
        {"[{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]", "message 1: \"content\" is not a string"},
        {"[" U ", {\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{}]}]",
         "message 2: \"tool_calls\" is not"},
        {"[" U ", {\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": 1}]",
         "message 2: \"reasoning_content\""},
        {"[" U ", {\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": \"r\"}]",
         "message 2: the chat template has no place"},
        {"[" U ", " SYS ", " A "]", "message 2: a system message belongs in front"},
        {"[" U "]", "no message is the assistant's"},
    };
    (void)state;
    zo2t_chat *c;
    zo2t_chat_text t = {0};
    assert_int_equal(try_template(&c, ML, NULL), ZO2_OK);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        json_t *messages = json_loads(refused[i].messages, JSON_ALLOW_NUL, NULL);
        assert_error(zo2t_chat_render(c, messages, &t), ZO2_ERR_FORMAT, refused[i].part);
        json_decref(messages);
    }
    json_t *messages = json_loads("[" SYS ", " U ", " A ", " A ", " U "]", 0, NULL);
    assert_int_equal(zo2t_chat_render(c, messages, &t), ZO2_OK);
    assert_string_equal(
        t.text, "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
                "<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nq<|im_end|>\n");
    assert_int_equal(t.spans, 2);
    assert_memory_equal(t.text + t.span[1].start, "a<|im_end|>\n", 12);
    assert_int_equal(t.span[1].end - t.span[1].start, 11);
    json_decref(messages);
    zo2t_chat_close(c);

    /* Turns in order. */
    json_t *root = load("chat.json");
    c = open_chat(json_array_get(json_object_get(root, "cases"), 10), false);
    assert_string_equal(zo2t_chat_name(c), "Llama-2");
    messages = json_loads("[" U ", " A ", " A "]", 0, NULL);
    assert_error(zo2t_chat_render(c, messages, &t), ZO2_ERR_FORMAT,
                 "message 3: the chat template wants a user's turn here");
    json_decref(messages);
    messages = json_loads("[" SYS ", " A "]", 0, NULL);
    assert_error(zo2t_chat_render(c, messages, &t), ZO2_ERR_FORMAT, "message 2: the chat template wants a user's turn");
    json_decref(messages);
    json_decref(root);
    zo2t_chat_close(c);
    zo2t_chat_text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hugging_face), cmocka_unit_test(unknown),       cmocka_unit_test(styles),
        cmocka_unit_test(files),        cmocka_unit_test(conversations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
