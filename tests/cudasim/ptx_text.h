/* ptx_text.h: the text of PTX files, as its readers share it. */
#ifndef CUDASIM_PTX_TEXT_H
#define CUDASIM_PTX_TEXT_H

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>

#include "ptx.h"

namespace cudasim
{
namespace ptx
{

struct token {
    std::string text;
    int line;
};

struct source {
    std::string path;
    std::vector<token> tokens;
};

struct known {
    const source *from;
    size_t at;       /* its parameter list, or what it returns */
    uint32_t number; /* among those that were read, or none */
};

struct module {
    std::vector<std::unique_ptr<source>> sources;
    std::unordered_map<std::string, known> functions;
    std::vector<std::unique_ptr<function>> read;
    std::unordered_set<std::string> dynamic_shared; /* names of such arrays */
    std::string problem;                            /* that keeps all from being read */
    int architecture = 0;
};

struct unreadable : std::runtime_error {
    unreadable(const std::string &what, int at) : std::runtime_error(what), line(at) {}
    int line;
};

/* Goes over the tokens of one file. */
class reader
{
  public:
    reader(const source &s, size_t at) : tokens(s.tokens), place(at) {}
    const std::string &peek() const { return tokens[place].text; }
    int line() const { return tokens[place].line; }
    size_t at() const { return place; }
    std::string take()
    {
        if (place + 1 == tokens.size())
            wrong("more");
        return tokens[place++].text;
    }
    bool take_if(const char *text)
    {
        if (peek() != text)
            return false;
        place++;
        return true;
    }
    void want(const char *text)
    {
        if (!take_if(text))
            wrong(text);
    }
    size_t number()
    {
        char *end;
        const std::string text = take();
        size_t n = strtoull(text.c_str(), &end, 0);
        if (*end || text.empty())
            throw unreadable("\"" + text + "\" is no number", line());
        return n;
    }
    /* Behind the bracket that closes the one here. */
    void skip(const char *opens, const char *closes)
    {
        want(opens);
        for (int depth = 1; depth;) {
            const std::string text = take();
            depth += text == opens;
            depth -= text == closes;
        }
    }
    [[noreturn]] void wrong(const char *wanted) const
    {
        throw unreadable("wanted is " + std::string(wanted) + ", there is \"" + peek() + "\"", line());
    }

  private:
    const std::vector<token> &tokens;
    size_t place;
};

/* The number of a function among module.read, which it is read into if need be. Throws `unreadable`. */
uint32_t read_function(module &m, const std::string &name);

} // namespace ptx
} // namespace cudasim

#endif
