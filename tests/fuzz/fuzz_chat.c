/* fuzz_chat.c: chat templates, and conversations.
 *
 * Input: the template, tokenizer_config.json (nothing: one that names <s> and </s>) and a list of messages, separated by 0x1E.
 *
 * Properties: a template in canonical form has no white space between its literals; what is rendered is UTF-8, its places of loss are in
 * order and not empty; a token is one of loss if it has a byte in one of them. */
#include "tests/fuzz/byte_vocab.h"
#include "tools/text/chat.h"
#include "tools/text/chat_canonical.h"

#include <jansson.h>

/* Merges across the places where turns begin and end. One for all inputs. */
static zo2t_tokenizer *tokenizer(void)
{
    static const char extra[] =
        ", \"\xC4\x8A\xC4\x8A\": 260, \"\xC4\xA0\xC4\xA0\": 261, \">\xC4\x8A\": 262, \"]\xC4\xA0\": "
        "263, \"\xC4\xA0t\": 264, \"|>\": 265";
    static const char merges[] =
        "#version: 0.2\n\xC4\x8A \xC4\x8A\n\xC4\xA0 \xC4\xA0\n\xC4\xA0 t\n] \xC4\xA0\n| >\n> \xC4\x8A\n";
    static zo2t_tokenizer *t;
    if (t)
        return t;
    zo2t_tokenizer_files f = {.merges = {merges, sizeof merges - 1}};
    char *vocab = byte_vocab(extra, sizeof extra - 1, &f.vocab.bytes);
    f.vocab.data = vocab;
    FUZZ_CHECK(FUZZ_OK(zo2t_tokenizer_open(&t, &f)));
    free(vocab);
    return t;
}

static void check_canonical(const char *text, size_t bytes)
{
    char *canonical;
    if (!FUZZ_OK(zo2t_chat_canonical(&canonical, text, bytes))) {
        FUZZ_CHECK(!canonical);
        return;
    }
    const size_t n = strlen(canonical);
    FUZZ_CHECK(n <= 3 * bytes + 8); /* text between tags gets tags and quotes */
    for (size_t i = 0; i < n && !strchr(canonical, '\''); i++)
        FUZZ_CHECK(canonical[i] != ' ' && canonical[i] != '\n');
    free(canonical);
}

/* Has [start, end) a byte in a place of loss? */
static int is_loss(const zo2t_chat_text *t, size_t start, size_t end)
{
    for (size_t i = 0; i < t->spans; i++)
        if (start < t->span[i].end && end > t->span[i].start)
            return 1;
    return 0;
}

static void check_tokens(const zo2t_chat_text *t)
{
    zo2t_ids ids = {0};
    uint8_t *loss = NULL;
    size_t capacity = 0, at = 0;
    FUZZ_CHECK(FUZZ_OK(zo2t_chat_encode(tokenizer(), t, &ids, &loss, &capacity)));
    for (size_t i = 0; i < ids.n; i++) {
        char *text;
        size_t bytes;
        FUZZ_CHECK(FUZZ_OK(zo2t_decode(tokenizer(), &ids.id[i], 1, &text, &bytes)));
        FUZZ_CHECK(at + bytes <= t->bytes && memcmp(t->text + at, text, bytes) == 0);
        FUZZ_CHECK(loss[i] == is_loss(t, at, at + bytes));
        at += bytes;
        free(text);
    }
    FUZZ_CHECK(at == t->bytes);
    zo2t_ids_free(&ids);
    free(loss);
}

static void check_conversation(const zo2t_chat *c, const char *text, size_t bytes)
{
    zo2t_chat_text t = {0};
    json_t *messages = json_loadb(text, bytes, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    if (messages && FUZZ_OK(zo2t_chat_render(c, messages, &t))) {
        FUZZ_CHECK(t.spans && zo2t_utf8_check(t.text, t.bytes) == t.bytes);
        for (size_t i = 0; i < t.spans; i++)
            FUZZ_CHECK(t.span[i].start < t.span[i].end && t.span[i].end <= t.bytes &&
                       (!i || t.span[i - 1].end <= t.span[i].start));
        check_tokens(&t);
    }
    zo2t_chat_text_free(&t);
    json_decref(messages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char own[] = "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";
    fuzz_input in = {data, size};
    zo2t_chat_files f = {0};
    zo2t_chat *c;
    f.chat_template.data = fuzz_text(&in, &f.chat_template.bytes);
    f.tokenizer_config.data = fuzz_text(&in, &f.tokenizer_config.bytes);
    check_canonical(f.chat_template.data, f.chat_template.bytes);
    if (!f.tokenizer_config.bytes)
        f.tokenizer_config = (zo2t_file){own, sizeof own - 1};
    if (!f.chat_template.bytes)
        f.chat_template = (zo2t_file){0};
    if (FUZZ_OK(zo2t_chat_open(&c, &f)))
        check_conversation(c, (const char *)in.at, in.left);
    else
        FUZZ_CHECK(!c);
    zo2t_chat_close(c);
    return 0;
}
