/* chat_message.h: the messages of a conversation, and what Qwen3's template does with what an assistant thinks. Used by chat.c only. */
#ifndef ZO2_TOOLS_TEXT_CHAT_MESSAGE_H
#define ZO2_TOOLS_TEXT_CHAT_MESSAGE_H

#include <jansson.h>

#include "engine/zo2.h"

typedef enum zo2t_role { ZO2T_SYSTEM, ZO2T_USER, ZO2T_ASSISTANT } zo2t_role;

/* Not its own, not NUL-terminated. */
typedef struct zo2t_chat_piece {
    char *text; /* NULL: there is none */
    size_t bytes;
} zo2t_chat_piece;

typedef struct zo2t_message {
    zo2t_role role;
    zo2t_chat_piece content, reasoning;
} zo2t_message;

typedef struct zo2t_conversation {
    zo2t_message *message; /* [n] */
    size_t n;
} zo2t_conversation;

/* Reads a list of messages, whose texts must outlive it. ZO2_ERR_FORMAT names the message. zo2t_conversation_free() in any case. */
zo2_status zo2t_conversation_read(zo2t_conversation *c, const json_t *messages);
void zo2t_conversation_free(zo2t_conversation *c);

/* Takes the white space from both ends, as Python's str.strip() does. Valid UTF-8. */
void zo2t_chat_trim(zo2t_chat_piece *p);

#define ZO2T_CHAT_PIECES 4

/* What Qwen3's template makes of assistant message i: the number of pieces. Thoughts are "reasoning_content" or stand between <think> and
 * </think>; they are kept, if only as an empty pair, behind the last question, and dropped before it. */
size_t zo2t_chat_think(const zo2t_conversation *c, size_t i, zo2t_chat_piece piece[ZO2T_CHAT_PIECES]);

#endif
