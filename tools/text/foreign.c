/* foreign.c: see foreign.h. */
#include "tools/text/foreign.h"
#include "tools/text/bytes.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define MARK "\xEF\xBB\xBF" /* byte order mark */

/* ---- formats by their first bytes ---- */

typedef struct magic {
    const char *bytes;
    size_t n, at;
    const char *text;
} magic;

#define MAGIC(bytes, at, text)             \
    {                                      \
        bytes, sizeof(bytes) - 1, at, text \
    }
#define TABLE(name, read)                                       \
    "this is " name ": python3 -c 'import pandas; pandas." read \
    "(\"FILE\").to_json(\"DATA.jsonl\", orient=\"records\", lines=True)'"

static const magic magics[] = {
    MAGIC("\x1F\x8B", 0, "this is a gzip file: gzip -dc FILE >DATA.jsonl"),
    MAGIC("\x28\xB5\x2F\xFD", 0, "this is a zstd file: zstd -dc FILE >DATA.jsonl"),
    MAGIC("BZh", 0, "this is a bzip2 file: bzip2 -dc FILE >DATA.jsonl"),
    MAGIC("\xFD"
          "7zXZ",
          0, "this is an xz file: xz -dc FILE >DATA.jsonl"),
    MAGIC("\x04\x22\x4D\x18", 0, "this is an lz4 file: lz4 -dc FILE >DATA.jsonl"),
    MAGIC("PK\x03\x04", 0,
          "this is a zip archive (spreadsheets and PyTorch's files are, too): look into it with unzip -l FILE"),
    MAGIC("7z\xBC\xAF\x27\x1C", 0, "this is a 7z archive: unpack it first"),
    MAGIC("ustar", 257, "this is a tar archive: unpack it with tar -xf FILE"),
    MAGIC("PAR1", 0, TABLE("a Parquet file", "read_parquet")),
    MAGIC("ARROW1", 0, TABLE("an Arrow file", "read_feather")),
    MAGIC(
        "\xFF\xFF\xFF\xFF", 0,
        "this looks like an Arrow stream, as datasets keeps it: datasets.load_from_disk() of its folder, then to_json()"),
    MAGIC("ORC", 0, TABLE("an ORC file", "read_orc")),
    MAGIC("Obj\x01", 0, "this is an Avro file: write its records as JSON lines first"),
    MAGIC("SQLite format 3", 0, "this is an SQLite database: write its rows as JSON lines first"),
    MAGIC("\x89HDF", 0, "this is an HDF5 file: write what it holds as JSON lines first"),
    MAGIC("\x93NUMPY", 0, "this is a NumPy array: ids go into lines {\"tokens\": [...]}"),
    MAGIC("\x80\x02", 0, "this is a Python pickle: write what it holds as JSON lines first"),
    MAGIC("\x80\x03", 0, "this is a Python pickle: write what it holds as JSON lines first"),
    MAGIC("\x80\x04\x95", 0, "this is a Python pickle: write what it holds as JSON lines first"),
    MAGIC("\x80\x05\x95", 0, "this is a Python pickle: write what it holds as JSON lines first"),
    MAGIC("\x89ZO2", 0, "this is a pack, a model: it goes to --model"),
    MAGIC("GGUF", 0, "this is a GGUF file, a model, not data"),
    MAGIC("%PDF", 0, "this is a PDF file: take the text out of it first"),
    MAGIC("\xFF\xFE\0\0", 0, "this is UTF-32: iconv -f UTF-32 -t UTF-8 FILE >DATA.jsonl"),
    MAGIC("\0\0\xFE\xFF", 0, "this is UTF-32: iconv -f UTF-32 -t UTF-8 FILE >DATA.jsonl"),
    MAGIC("\xFF\xFE", 0, "this is UTF-16: iconv -f UTF-16 -t UTF-8 FILE >DATA.jsonl"),
    MAGIC("\xFE\xFF", 0, "this is UTF-16: iconv -f UTF-16 -t UTF-8 FILE >DATA.jsonl"),
    MAGIC("{\0", 0, "this is UTF-16 without a mark: iconv -f UTF-16LE -t UTF-8 FILE >DATA.jsonl"),
    MAGIC("[\0", 0, "this is UTF-16 without a mark: iconv -f UTF-16LE -t UTF-8 FILE >DATA.jsonl"),
    MAGIC("\0{", 0, "this is UTF-16 without a mark: iconv -f UTF-16BE -t UTF-8 FILE >DATA.jsonl"),
    MAGIC("\0[", 0, "this is UTF-16 without a mark: iconv -f UTF-16BE -t UTF-8 FILE >DATA.jsonl"),
    MAGIC("version https://git-lfs", 0, "this is a pointer of Git LFS, not the file itself: git lfs pull"),
    MAGIC("---", 0, "this looks like YAML: write what it holds as JSON lines first"),
};

static const char *by_magic(const char *s, size_t n)
{
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        const magic *m = &magics[i];
        if (n >= m->at + m->n && memcmp(s + m->at, m->bytes, m->n) == 0)
            return m->text;
    }
    /* the length of a safetensors header, then the header */
    if (n >= 9 && s[8] == '{' && memcmp(s + 4, "\0\0\0\0", 4) == 0)
        return "this is a safetensors file, a model, not data";
    return NULL;
}

/* ---- JSON that isn't an object a line ---- */

static size_t skip_space(const char *s, size_t n, size_t at)
{
    while (at < n && (s[at] == ' ' || s[at] == '\t' || s[at] == '\r'))
        at++;
    return at;
}

/* Where the object or array that begins at `at` ends (the place behind it), by its brackets; 0: not in this line. */
static size_t end_of_value(const char *s, size_t n, size_t at)
{
    int quoted = 0;
    uint64_t depth = 0;
    for (; at < n; at++) {
        if (quoted) {
            if (s[at] == '\\')
                at++;
            else if (s[at] == '"')
                quoted = 0;
        } else if (s[at] == '"') {
            quoted = 1;
        } else if (s[at] == '{' || s[at] == '[') {
            depth++;
        } else if ((s[at] == '}' || s[at] == ']') && !--depth) {
            return at + 1;
        }
    }
    return 0;
}

static const char *object(const char *s, size_t n, size_t at)
{
    size_t inside = skip_space(s, n, at + 1), end = end_of_value(s, n, at);
    if (inside < n && s[inside] == '\'')
        return "this is Python's notation: python3 -c 'import ast, json, sys; [print(json.dumps(ast.literal_eval(l))) for l "
               "in sys.stdin]' <FILE >DATA.jsonl";
    if (!end)
        return "the object doesn't end in its line: it is pretty-printed (jq -c . FILE >DATA.jsonl makes a line of each), "
               "or cut off";
    size_t rest = skip_space(s, n, end);
    if (rest == n)
        return NULL;
    if (s[rest] == ',')
        return "there is a comma behind the object, as in an array: sed 's/, *$//' FILE >DATA.jsonl";
    if (s[rest] == '{')
        return "there is more than one object in the line: jq -c . FILE >DATA.jsonl";
    if (n - rest >= 3 && !memcmp(s + rest, MARK, 3))
        return "there is a byte order mark behind the object, where another file was put behind one that had no line end: "
               "sed 's/\\xEF\\xBB\\xBF/\\n/g' FILE >DATA.jsonl";
    return NULL;
}

static const char *array(const char *s, size_t n, size_t at)
{
    size_t inside = skip_space(s, n, at + 1);
    if (inside < n && s[inside] >= '0' && s[inside] <= '9')
        return "this is an array of numbers: ready ids are {\"tokens\": [...]}";
    if (inside == n || s[inside] == '{')
        return "this is a JSON array: jq -c '.[]' FILE >DATA.jsonl";
    return "this is a JSON array";
}

/* ---- tables and texts ---- */

/* A heading of short names with `separator` between them. */
static bool is_heading(const char *s, size_t n, char separator)
{
    size_t cells = 1, cell = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == separator) {
            cells++;
            cell = 0;
        } else if (s[i] == ' ' || ++cell > 40) {
            return false;
        }
    }
    return cells > 1;
}

static bool starts_with(const char *s, size_t n, const char *word)
{
    return n >= strlen(word) && strncasecmp(s, word, strlen(word)) == 0;
}

#define ROWS(name, more)                                                                                          \
    "this looks like " name ": python3 -c 'import csv, json, sys; [print(json.dumps(r)) for r in csv.DictReader(" \
    "sys.stdin" more ")]' <FILE >DATA.jsonl"

static const char *first_text(const char *s, size_t n)
{
    if (starts_with(s, n, "<!doctype") || starts_with(s, n, "<html"))
        return "this is a web page, not the file: download it again, from the link to the file itself";
    if (starts_with(s, n, "<?xml"))
        return "this is XML: write what it holds as JSON lines first";
    if (starts_with(s, n, "Entry not found") || starts_with(s, n, "Invalid username or password") ||
        starts_with(s, n, "Repository not found") || starts_with(s, n, "Access to "))
        return "this is a server's answer, not the file: download it again";
    if (is_heading(s, n, '\t'))
        return ROWS("tab-separated values", ", delimiter=\"\\t\"");
    if (is_heading(s, n, ','))
        return ROWS("comma-separated values", "");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < ' ' && s[i] != '\t' && s[i] != '\r')
            return NULL;
    return zo2t_utf8_check(s, n) == n
               ? "this looks like plain text: jq -cR 'select(length > 0) | {text: .}' FILE >DATA.jsonl makes a text of each line"
               : NULL;
}

const char *zo2t_foreign(const char *line, size_t bytes, bool first)
{
    const char *found = first ? by_magic(line, bytes) : NULL;
    if (found)
        return found;
    if (bytes >= 3 && !memcmp(line, MARK, 3))
        return "it begins with a byte order mark, which only a file's first line may, so files were put together: "
               "sed 's/^\\xEF\\xBB\\xBF//' FILE >DATA.jsonl";
    size_t at = skip_space(line, bytes, 0);
    if (at == bytes)
        return NULL;
    switch (line[at]) {
    case '{': return object(line, bytes, at);
    case '[': return array(line, bytes, at);
    case '"': return "this is a JSON string: jq -c '{text: .}' FILE >DATA.jsonl makes texts of such lines";
    default: return first ? first_text(line + at, bytes - at) : NULL;
    }
}
