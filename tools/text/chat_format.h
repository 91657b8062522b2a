/* chat_format.h: the chat templates that are known: how each is recognised, and what it makes of a conversation. */
#ifndef ZO2_TOOLS_TEXT_CHAT_FORMAT_H
#define ZO2_TOOLS_TEXT_CHAT_FORMAT_H

#include <stdbool.h>

#include "engine/zo2.h"

/* What a message becomes: before, content, loss (which an assistant's loss extends to), after. In all texts of a format these stand for
 * the texts of two tokens. */
#define ZO2T_CHAT_BOS '\1'
#define ZO2T_CHAT_EOS '\2'

typedef struct zo2t_chat_turn {
    const char *before, *end, *after;
    bool trim; /* the content loses the white space around it */
} zo2t_chat_turn;

typedef struct zo2t_chat_format {
    const char *name;
    const char *begin; /* of a conversation */
    zo2t_chat_turn user, assistant;
    zo2t_chat_turn system;        /* of its own; before NULL: none */
    const char *system_inside[2]; /* or around the system message within the first user message; NULL: refused */
    const char *default_system;   /* where there is no system message; NULL: nothing */
    bool alternates;              /* user, assistant, user, ... */
    bool thinks;                  /* Qwen3's: what is between <think> and </think> stays in the last turns only */
} zo2t_chat_format;

/* The format of a template. ZO2_ERR_UNSUPPORTED: it isn't known; ZO2_ERR_FORMAT: it can't be read. */
zo2_status zo2t_chat_recognise(const zo2t_chat_format **out, const char *text, size_t bytes);

#endif
