/* info_tokenizer.h: what zo2-pack info says of the tokenizer and the chat template that a pack carries. */
#ifndef ZO2_TOOLS_PACK_INFO_TOKENIZER_H
#define ZO2_TOOLS_PACK_INFO_TOKENIZER_H

#include "tools/cli/jsonout.h"
#include "tools/text/chat.h"
#include "tools/text/tokenizer.h"

typedef struct pack_tokenizer_info {
    zo2t_tokenizer *tokenizer; /* NULL: none, or one that can't be used */
    char reason[256];          /* then why; "" if there is none */
    zo2t_chat *chat;           /* the same of the chat template */
    char chat_reason[256];
} pack_tokenizer_info;

/* A tokenizer or template that can't be used is no error: it is shown. ZO2_ERR_NOMEM, ZO2_ERR_IO. pack_tokenizer_info_end() in any case. */
zo2_status pack_tokenizer_info_begin(pack_tokenizer_info *t, const zo2_pack *pack);

void pack_tokenizer_info_print(const pack_tokenizer_info *t);
void pack_tokenizer_info_json(const pack_tokenizer_info *t, cli_json *j);
void pack_tokenizer_info_end(pack_tokenizer_info *t);

#endif
