/* chat_format.c: see chat_format.h.
 *
 * A template is a program, and there is no interpreter here. So a row says which pieces of the program it must have, in
 * the form of chat_canonical.h, which it must not have, and all of the markers ("<|im_end|>", "[INST]", "<think>") and
 * sentences that address the model ("You are ...") that it may have. What deviates is refused, not guessed at: a model
 * trained with other markers than it is used with is worse, and nobody sees why. Templates without tools have exactly
 * so many outputs. Tools are in the official templates; conversations with tools are refused (chat.c), so those pieces
 * may be there and are never used. */
#include "tools/text/chat_format.h"
#include "tools/text/chat_canonical.h"

#include <stdlib.h>
#include <string.h>

enum { HAS = 6, LACKS = 4, SENTENCES = 3 };

typedef struct row {
    zo2t_chat_format format;
    const char *has[HAS], *lacks[LACKS];
    size_t outputs;      /* how many "{{...}}" there are but for exceptions; 0: those of tools are among them */
    const char *markers; /* each between two spaces */
    const char *sentences[SENTENCES];
} row;

/* ---- ChatML and Qwen --------------------------------------------------------------------------------------------- */

#define ML_TURN(role, trims)                                \
    {                                                       \
        "<|im_start|>" role "\n", "<|im_end|>", "\n", trims \
    }
#define ML_TURNS \
    .user = ML_TURN("user", false), .assistant = ML_TURN("assistant", false), .system = ML_TURN("system", false)
#define ML_MESSAGE      "{{'<|im_start|>'+message.role+'\n'+message.content+'<|im_end|>\n'}}"
#define ML_HEADER       "{%ifadd_generation_prompt%}{{'<|im_start|>assistant\n'"
#define ML_SYSTEM(text) "'<|im_start|>system\n" text "<|im_end|>\n'"
#define ML_FIRST(text)  "{%ifloop.firstandmessages[0].role!='system'%}{{" ML_SYSTEM(text) "}}{%endif%}"
#define ML_MARKERS      " <|im_start|> <|im_end|> "
#define QWEN_MARKERS \
    ML_MARKERS       \
    "<tools> </tools> <tool_call> </tool_call> <tool_response> </tool_response> <function-name> <args-json-object> "
#define HELPFUL    "You are a helpful assistant"
#define SMOLLM     "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#define QWEN25     "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define QWEN_TOOLS "You are provided with function signatures within <tools></tools> XML tags:"

/* ---- Llama-3 ----------------------------------------------------------------------------------------------------- */

#define L3_TURN(role)                                                              \
    {                                                                              \
        "<|start_header_id|>" role "<|end_header_id|>\n\n", "<|eot_id|>", "", true \
    }
#define L3_TURNS   .user = L3_TURN("user"), .assistant = L3_TURN("assistant")
#define L3_MESSAGE "'<|start_header_id|>'+message.role+'<|end_header_id|>\n\n'+message.content|trim+'<|eot_id|>'"
#define L3_HEADER  "{%ifadd_generation_prompt%}{{'<|start_header_id|>assistant<|end_header_id|>\n\n'"
#define L3_MARKERS " <|start_header_id|> <|end_header_id|> <|eot_id|> "
#define L31_DATE   "26 Jul 2024"
#define L31_SYSTEM \
    "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: " L31_DATE "\n\n"

/* ---- Llama-2 and Mistral ----------------------------------------------------------------------------------------- */

#define INST_MARKERS " [INST] [/INST] "
#define TOOL_MARKERS INST_MARKERS "[AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS] "

static const row rows[] = {
    {.format = {.name = "ChatML", .begin = "", ML_TURNS},
     .has = {ML_MESSAGE, ML_HEADER},
     .lacks = {"bos_token", "eos_token"},
     .outputs = 2,
     .markers = ML_MARKERS},
    {.format = {.name = "ChatML with BOS", .begin = "\1", ML_TURNS},
     .has = {"{{bos_token}}{%formessageinmessages%}" ML_MESSAGE, ML_HEADER},
     .lacks = {"eos_token"},
     .outputs = 3,
     .markers = ML_MARKERS},
    {.format = {.name = "Qwen1.5", .begin = "", ML_TURNS, .default_system = HELPFUL},
     .has = {ML_FIRST(HELPFUL) ML_MESSAGE, ML_HEADER},
     .lacks = {"bos_token", "eos_token"},
     .outputs = 3,
     .markers = ML_MARKERS,
     .sentences = {HELPFUL "<"}},
    {.format = {.name = "Qwen2", .begin = "", ML_TURNS, .default_system = HELPFUL "."},
     .has = {ML_FIRST(HELPFUL ".") ML_MESSAGE, ML_HEADER},
     .lacks = {"bos_token", "eos_token"},
     .outputs = 3,
     .markers = ML_MARKERS,
     .sentences = {HELPFUL ".<"}},
    {.format = {.name = "SmolLM2", .begin = "", ML_TURNS, .default_system = SMOLLM},
     .has = {ML_FIRST(SMOLLM) ML_MESSAGE, ML_HEADER},
     .lacks = {"bos_token", "eos_token"},
     .outputs = 3,
     .markers = ML_MARKERS,
     .sentences = {SMOLLM "<"}},
    {.format = {.name = "Qwen2.5", .begin = "", ML_TURNS, .default_system = QWEN25},
     .has = {"{{" ML_SYSTEM(QWEN25) "}}", "{{'<|im_start|>system\n'+messages[0].content+'<|im_end|>\n'}}", ML_MESSAGE,
             ML_HEADER},
     .lacks = {"bos_token", "eos_token", "think"},
     .markers = QWEN_MARKERS,
     .sentences = {QWEN25, HELPFUL ".", QWEN_TOOLS}},
    {.format = {.name = "Qwen3", .begin = "", ML_TURNS, .thinks = true},
     .has =
         {"{{'<|im_start|>system\n'+messages[0].content+'<|im_end|>\n'}}",
          "{%ifloop.index0>ns.last_query_index%}{%ifloop.lastor(notloop.lastandreasoning_content)%}"
          "{{'<|im_start|>'+message.role+'\n<think>\n'+reasoning_content.strip('\n')+'\n</think>\n\n'+content.lstrip('\n')}}",
          ".split('</think>')[-1].lstrip('\n')", ".split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')",
          ".startswith('<tool_response>')andmessage.content.endswith('</tool_response>')", ML_HEADER},
     .lacks = {"bos_token", "eos_token"},
     .markers = QWEN_MARKERS "<think> </think> ",
     .sentences = {QWEN_TOOLS}},
    {.format = {.name = "Qwen3 without thinking", .begin = "", ML_TURNS},
     .has = {"{{'<|im_start|>system\n'+messages[0].content+'<|im_end|>\n'}}",
             "{{'<|im_start|>'+message.role+'\n'+content+'<|im_end|>\n'}}",
             "{{'<|im_start|>'+message.role+'\n'+content}}", "{{'<|im_end|>\n'}}", ML_HEADER},
     .lacks = {"bos_token", "eos_token", "think"},
     .markers = QWEN_MARKERS,
     .sentences = {QWEN_TOOLS}},
    {.format = {.name = "Llama-3", .begin = "\1", L3_TURNS, .system = L3_TURN("system")},
     .has = {L3_MESSAGE, "bos_token+content", L3_HEADER},
     .lacks = {"Date", "eos_token", "tools"},
     .outputs = 2,
     .markers = L3_MARKERS},
    {.format = {.name = "Llama-3.1",
                .begin = "\1",
                L3_TURNS,
                .system = {L31_SYSTEM, "<|eot_id|>", "", true},
                .default_system = ""},
     .has = {"{{bos_token}}", "{{" L3_MESSAGE "}}", "date_string='" L31_DATE "'",
             "{%setsystem_message=messages[0].content|trim%}",
             "Cutting Knowledge Date: December 2023\nToday Date: '+date_string+'\n\n'", L3_HEADER},
     .lacks = {"eos_token"},
     .markers = L3_MARKERS "<|eom_id|> <|python_tag|> "},
    {.format = {.name = "Llama-2",
                .begin = "",
                .user = {"\1[INST] ", " [/INST]", "", true},
                .assistant = {" ", " \2", "", true},
                .system_inside = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
                .alternates = true},
     .has = {"{{bos_token+'[INST] '+content|trim+' [/INST]'}}", "{{' '+content|trim+' '+eos_token}}",
             "'<<SYS>>\n'+system_message+'\n<</SYS>>\n\n'+message.content"},
     .lacks = {"{%eliftrue", "{{bos_token}}"},
     .outputs = 2,
     .markers = INST_MARKERS "<<SYS>> <</SYS>> "},
    {.format = {.name = "Mistral v0.1",
                .begin = "\1",
                .user = {"[INST] ", " [/INST]", "", false},
                .assistant = {"", "\2", " ", false},
                .alternates = true},
     .has = {"{{bos_token}}", "{{'[INST] '+message.content+' [/INST]'}}", "{{message.content+eos_token+' '}}"},
     .lacks = {"system"},
     .outputs = 3,
     .markers = INST_MARKERS},
    {.format = {.name = "Mistral v0.2",
                .begin = "\1",
                .user = {"[INST] ", " [/INST]", "", false},
                .assistant = {"", "\2", "", false},
                .alternates = true},
     .has = {"{{bos_token}}", "{{'[INST] '+message.content+' [/INST]'}}", "{{message.content+eos_token}}"},
     .lacks = {"system"},
     .outputs = 3,
     .markers = INST_MARKERS},
    {.format = {.name = "Mistral V1",
                .begin = "\1",
                .user = {" [INST] ", " [/INST]", "", false},
                .assistant = {" ", "\2", "", false},
                .system_inside = {"", "\n\n"},
                .alternates = true},
     .has =
         {"{{bos_token}}", "{{' [INST] '+message.content+' [/INST]'}}", "{{' '+message.content+eos_token}}",
          "{%ifloop.firstandsystem_messageisdefined%}{{' [INST] '+system_message+'\n\n'+message.content+' [/INST]'}}"},
     .outputs = 4,
     .markers = INST_MARKERS},
    {.format = {.name = "Mistral V3",
                .begin = "\1",
                .user = {"[INST] ", "[/INST]", "", false},
                .assistant = {" ", "\2", "", true},
                .alternates = true},
     .has = {"{{bos_token}}", "{{'[INST] '+message.content+'[/INST]'}}", "{{' '+message.content|trim+eos_token}}"},
     .markers = TOOL_MARKERS},
    {.format = {.name = "Mistral V3, untrimmed",
                .begin = "\1",
                .user = {"[INST] ", "[/INST]", "", false},
                .assistant = {" ", "\2", "", false},
                .alternates = true},
     .has = {"{{bos_token}}", "{{'[INST] '+message.content+'[/INST]'}}", "{{' '+message.content+eos_token}}"},
     .markers = TOOL_MARKERS},
    {.format = {.name = "Mistral V3 Tekken",
                .begin = "\1",
                .user = {"[INST]", "[/INST]", "", false},
                .assistant = {"", "\2", "", false},
                .alternates = true},
     .has = {"{{bos_token}}", "{{'[INST]'+message.content+'[/INST]'}}", "{{message.content+eos_token}}"},
     .markers = TOOL_MARKERS},
};

/* In no template of the table: other texts, roles that are rewritten, contents that are changed. */
static const char *const nowhere[] = {
    "{%macro",  "{%include", "{%import",       "{%filter",       "{%call",    "Please",          "boxed",
    "|upper",   ".upper(",   "|title",         ".title(",        "|lower",    ".lower(",         "|capitalize",
    "|replace", ".replace(", "default_system", "DEFAULT_SYSTEM", "documents", "reasoning_effort"};

/* ---- recognition ------------------------------------------------------------------------------------------------- */

/* Length of the marker that begins at text[0], 0 if none does; SIZE_MAX: it has no end. */
static size_t marker_at(const char *text)
{
    static const char letters[] = "-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    if (text[0] == '<' && text[1] == '|') {
        const char *end = strstr(text, "|>");
        return end ? (size_t)(end - text) + 2 : SIZE_MAX;
    }
    const bool angle = text[0] == '<';
    if (!angle && text[0] != '[')
        return 0;
    size_t n = angle ? strspn(text, "<") : 1;
    n += text[n] == '/';
    const size_t name = strspn(text + n, angle ? letters : letters + 27); /* [INST]: capitals */
    n += name;
    if (name < 2 || text[n] != (angle ? '>' : ']'))
        return 0;
    return n + (angle ? strspn(text + n, ">") : 1);
}

static bool is_listed(const char *markers, const char *text, size_t bytes)
{
    for (const char *at = markers; (at = memmem(at, strlen(at), text, bytes)); at++) {
        if (at > markers && at[-1] == ' ' && at[bytes] == ' ')
            return true;
    }
    return false;
}

static bool has_listed_markers_only(const char *text, const char *markers)
{
    for (size_t n; *text; text += n ? n : 1) {
        n = marker_at(text);
        if (n && (n == SIZE_MAX || !is_listed(markers, text, n)))
            return false;
    }
    return true;
}

static bool has_listed_sentences_only(const char *text, const char *const sentences[SENTENCES])
{
    for (const char *at = text; (at = strstr(at, "You are ")); at++) {
        bool listed = false;
        for (size_t i = 0; i < SENTENCES && sentences[i]; i++)
            listed |= !strncmp(at, sentences[i], strlen(sentences[i]));
        if (!listed)
            return false;
    }
    return true;
}

static size_t outputs_in(const char *text)
{
    static const char exception[] = "{{raise_exception(";
    size_t n = 0;
    for (; (text = strstr(text, "{{")); text += 2)
        n += strncmp(text, exception, sizeof exception - 1) != 0;
    return n;
}

static bool matches(const row *r, const char *text)
{
    for (size_t i = 0; i < HAS && r->has[i]; i++) {
        if (!strstr(text, r->has[i]))
            return false;
    }
    for (size_t i = 0; i < LACKS && r->lacks[i]; i++) {
        if (strstr(text, r->lacks[i]))
            return false;
    }
    return (!r->outputs || outputs_in(text) == r->outputs) && has_listed_markers_only(text, r->markers) &&
           has_listed_sentences_only(text, r->sentences);
}

zo2_status zo2t_chat_recognise(const zo2t_chat_format **out, const char *text, size_t bytes)
{
    char *canonical;
    bool known = true;
    *out = NULL;
    zo2_status s = zo2t_chat_canonical(&canonical, text, bytes);
    if (s)
        return s;
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
        known &= !strstr(canonical, nowhere[i]);
    for (size_t i = 0; known && !*out && i < sizeof rows / sizeof *rows; i++) {
        if (matches(&rows[i], canonical))
            *out = &rows[i].format;
    }
    free(canonical);
    return *out
               ? ZO2_OK
               : zo2_error(ZO2_ERR_UNSUPPORTED,
                           "the chat template is none of those that this version knows (ChatML, Qwen, Llama, Mistral)");
}
