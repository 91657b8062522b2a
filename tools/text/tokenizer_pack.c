/* tokenizer_pack.c: a tokenizer from the files that a pack carries. */
#include "tools/text/tokenizer.h"

zo2_status zo2t_tokenizer_open_pack(zo2t_tokenizer **out, const zo2_pack *pack)
{
    zo2t_tokenizer_files files = {0};
    const struct {
        const char *name;
        zo2t_file *file;
    } wanted[] = {{"vocab.json", &files.vocab},
                  {"merges.txt", &files.merges},
                  {"special_tokens_map.json", &files.special_tokens_map},
                  {"tokenizer_config.json", &files.tokenizer_config},
                  {"added_tokens.json", &files.added_tokens}};
    *out = NULL;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        zo2_status s = zo2_pack_file(pack, wanted[i].name, &wanted[i].file->data, &wanted[i].file->bytes);
        if (s == ZO2_ERR_NOTFOUND)
            *wanted[i].file = (zo2t_file){0};
        else if (s)
            return s;
    }
    return zo2t_tokenizer_open(out, &files);
}
