/* instead_bytes.c: things that are recognised by their first bytes. */
#include "storage/instead/instead.h"

#include <string.h>
#include <strings.h>

#define DOWNLOAD   "download the file again"
#define FOREIGN    "this version reads safetensors and PyTorch's files: get the model as one of these, which most have"
#define UNPACK     "unpack it first"
#define PYTORCH    "zo2-pack convert reads it under the name pytorch_model.bin, in a folder with its config.json"
#define PICKLE     "load it where it comes from, and save it as pytorch_model.bin with torch.save(model.state_dict(), ...)"
#define SMALL_FILE 4096 /* bytes: messages of a server are shorter */
#define ZEROS      512

typedef struct row {
    const char *bytes;
    size_t n;
    zo2_origin is;
} row;

#define MAGIC(bytes) bytes, sizeof(bytes) - 1

/* ---- exact bytes ---------------------------------------------------------------------------------------------------- */

static const row magics[] = {
    {MAGIC("version https://git-lfs"),
     {"a git-lfs pointer, not the file itself", "get the files of the repository with: git lfs pull", 0, 1}},
    {MAGIC("# xet version"),
     {"a Xet pointer, not the file itself", "get the files of the repository with: hf download", 0, 1}},
    {MAGIC("/annex/objects/"), {"a git-annex pointer, not the file itself", "get it with: git annex get", 0, 1}},
    {MAGIC("\x89ZO2\r\n\x1a\n"),
     {"a zo2 pack", "programs take it as it is, as the model (FILE, --model)", ZO2_WANT_PACK, 0}},
    {MAGIC("ZO2JRNL\n"),
     {"the journal of a run", "give the run directory that it is in, as RUN_DIR or --run", ZO2_WANT_JOURNAL, 0}},
    {MAGIC("ZO2BNDL\n"),
     {"a bundle (a run without its weights)", "zo2-pack apply FILE BUNDLE OUT_DIR makes a model of it and its pack",
      ZO2_WANT_BUNDLE, 0}},
    {MAGIC("ZO2SNAP\n"), {"a snapshot of a run", "give the run directory, as RUN_DIR or --run", 0, 0}},
    {MAGIC("GGUF"), {"a GGUF file", "zo2-pack convert makes a pack of it", ZO2_WANT_MODEL_FOLDER, 0}},
    {MAGIC("lmgg"), {"a GGML file", FOREIGN, 0, 0}},
    {MAGIC("tjgg"), {"a GGML file", FOREIGN, 0, 0}},
    {MAGIC("fmgg"), {"a GGML file", FOREIGN, 0, 0}},
    {MAGIC("algg"), {"a GGML adapter", FOREIGN, 0, 0}},
    {MAGIC("\x89HDF\r\n\x1a\n"), {"an HDF5 file (TensorFlow, Keras)", FOREIGN, 0, 0}},
    {MAGIC("\x93NUMPY"), {"a NumPy array", FOREIGN, 0, 0}},
    {MAGIC("\x80\x02"),
     {"a Python pickle, as PyTorch writes them", PYTORCH, ZO2_WANT_TORCH | ZO2_WANT_MODEL_FOLDER, 0}},
    {MAGIC("\x80\x03"), {"a Python pickle", PICKLE, 0, 0}},
    {MAGIC("\x80\x04"), {"a Python pickle", PICKLE, 0, 0}},
    {MAGIC("PK\x03\x04"),
     {"a zip archive, as PyTorch writes them", PYTORCH, ZO2_WANT_TORCH | ZO2_WANT_MODEL_FOLDER, 0}},
    {MAGIC("\x1f\x8b"), {"a file compressed with gzip", UNPACK, 0, 0}},
    {MAGIC("\x28\xb5\x2f\xfd"), {"a file compressed with zstd", UNPACK, 0, 0}},
    {MAGIC("\xfd"
           "7zXZ"),
     {"a file compressed with xz", UNPACK, 0, 0}},
    {MAGIC("BZh"), {"a file compressed with bzip2", UNPACK, 0, 0}},
    {MAGIC("7z\xbc\xaf\x27\x1c"), {"a 7z archive", UNPACK, 0, 0}},
    {MAGIC("PAR1"), {"a Parquet file", "it holds data, not a model", 0, 0}},
};

/* ---- what servers send instead of a file ------------------------------------------------------------------------------ */

/* Compared without regard to case, behind white space and a byte order mark. */
static const row pages[] = {
    {MAGIC("<!doctype html"),
     {"a web page, not the file itself",
      "download the file that the page is about (on the hub, \"resolve\" stands for \"blob\" in its address)", 0, 1}},
    {MAGIC("<html"),
     {"a web page, not the file itself",
      "download the file that the page is about (on the hub, \"resolve\" stands for \"blob\" in its address)", 0, 1}},
    {MAGIC("<?xml"), {"an XML text, as servers send for an error", DOWNLOAD, 0, 1}},
};

/* Whole small files; behind these may come more. */
static const row answers[] = {
    {MAGIC("Entry not found"),
     {"a server's answer \"Entry not found\"", "the file isn't under that address: look for its name and revision", 0,
      1}},
    {MAGIC("Repository not found"),
     {"a server's answer \"Repository not found\"", "look for its name; private ones need a token", 0, 1}},
    {MAGIC("Revision not found"),
     {"a server's answer \"Revision not found\"", "look for the name of the branch", 0, 1}},
    {MAGIC("Invalid username or password"),
     {"a server's answer \"Invalid username or password\"", "log in (hf auth login) and download the file again", 0,
      1}},
    {MAGIC("Invalid credentials"),
     {"a server's answer \"Invalid credentials\"", "log in (hf auth login) and download the file again", 0, 1}},
    {MAGIC("Access to model"),
     {"a server's answer that access is restricted",
      "accept the model's terms, log in (hf auth login) and download the file again", 0, 1}},
    {MAGIC("Access denied"), {"a server's answer \"Access denied\"", "log in and download the file again", 0, 1}},
    {MAGIC("Unauthorized"),
     {"a server's answer \"Unauthorized\"", "log in (hf auth login) and download the file again", 0, 1}},
    {MAGIC("Forbidden"),
     {"a server's answer \"Forbidden\"", "log in (hf auth login) and download the file again", 0, 1}},
    {MAGIC("404: Not Found"),
     {"a server's answer \"404: Not Found\"", "the file isn't under that address: look for its name and revision", 0,
      1}},
    {MAGIC("404 page not found"),
     {"a server's answer \"404 page not found\"", "the file isn't under that address: look for its name and revision",
      0, 1}},
    {MAGIC("Not Found"),
     {"a server's answer \"Not Found\"", "the file isn't under that address: look for its name and revision", 0, 1}},
    {MAGIC("Found. Redirecting to"),
     {"a server's answer that the file is elsewhere", "download it again, following redirections (curl -L)", 0, 1}},
    {MAGIC("Temporary Redirect. Redirecting to"),
     {"a server's answer that the file is elsewhere", "download it again, following redirections (curl -L)", 0, 1}},
    {MAGIC("Moved Permanently"),
     {"a server's answer that the file is elsewhere", "download it again, following redirections (curl -L)", 0, 1}},
    {MAGIC("Too Many Requests"),
     {"a server's answer \"Too Many Requests\"", "wait, and download the file again", 0, 1}},
    {MAGIC("Internal Server Error"), {"a server's answer \"Internal Server Error\"", DOWNLOAD, 0, 1}},
    {MAGIC("Bad Gateway"), {"a server's answer \"Bad Gateway\"", DOWNLOAD, 0, 1}},
    {MAGIC("Service Unavailable"), {"a server's answer \"Service Unavailable\"", DOWNLOAD, 0, 1}},
};

static const zo2_origin error_body = {"a server's answer about an error", "read it, and download the file again", 0, 1};
static const zo2_origin zeros = {"a file that begins with zeros, as of a download that was cut short", DOWNLOAD,
                                 ZO2_WANT_JOURNAL, 0};
static const zo2_origin empty = {"an empty file", DOWNLOAD, ZO2_WANT_JOURNAL | ZO2_WANT_SAFETENSORS, 0};
static const zo2_origin safetensors = {
    "a safetensors file", "the folder that holds it and its config.json is what zo2-pack convert makes a pack of",
    ZO2_WANT_SAFETENSORS | ZO2_WANT_MODEL_FOLDER, 0};
static const zo2_origin json = {
    "a JSON text",
    "a model's config.json says what it is and holds no weights: zo2-pack convert makes a pack of its folder",
    ZO2_WANT_JSON | ZO2_WANT_MODEL_FOLDER, 0};

/* ---- looking ---------------------------------------------------------------------------------------------------------- */

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'))
        at++;
    return at;
}

static int begins(const char *at, const char *end, const row *r)
{
    return (size_t)(end - at) >= r->n && strncasecmp(at, r->bytes, r->n) == 0;
}

/* {"error": "...": no file of a model has a text under that key in front. */
static int is_error_body(const char *at, const char *end)
{
    static const char *const keys[] = {"\"error\"", "\"detail\"", "\"message\""};
    if (at == end || *at++ != '{')
        return 0;
    at = skip_space(at, end);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        size_t n = strlen(keys[i]);
        if ((size_t)(end - at) <= n || memcmp(at, keys[i], n) != 0)
            continue;
        const char *colon = skip_space(at + n, end), *value = colon < end ? skip_space(colon + 1, end) : end;
        return colon < end && *colon == ':' && value < end && *value == '"';
    }
    return 0;
}

static int all_zero(const unsigned char *b, size_t n)
{
    size_t i = 0;
    while (i < n && !b[i])
        i++;
    return i == n;
}

static int is_safetensors(const unsigned char *b, size_t n)
{
    uint64_t header = 0;
    for (int i = 7; n > 8 && i >= 0; i--)
        header = header << 8 | b[i];
    return header >= 2 && header <= 100000000 && b[8] == '{';
}

const zo2_origin *zo2_origin_of_bytes(const void *data, size_t n, uint64_t size)
{
    const char *begin = data, *end = begin + n;
    if (size == 0)
        return &empty;
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (n >= magics[i].n && memcmp(data, magics[i].bytes, magics[i].n) == 0)
            return &magics[i].is;
    if (n >= ZEROS && all_zero(data, ZEROS))
        return &zeros;
    if (is_safetensors(data, n))
        return &safetensors;
    if (n >= 3 && memcmp(begin, "\xEF\xBB\xBF", 3) == 0)
        begin += 3;
    begin = skip_space(begin, end);
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (begins(begin, end, &pages[i]))
            return &pages[i].is;
    for (size_t i = 0; i < sizeof answers / sizeof *answers && size <= SMALL_FILE; i++)
        if (begins(begin, end, &answers[i]))
            return &answers[i].is;
    if (size <= SMALL_FILE && is_error_body(begin, end))
        return &error_body;
    return begin < end && (*begin == '{' || *begin == '[') ? &json : NULL;
}
