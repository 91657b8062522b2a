/* ptx_text.cpp: takes PTX as nvcc writes it apart into words, and finds the functions of all files. Each is read when it is first asked for. */
#include "ptx_text.h"

#include <dirent.h>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace cudasim
{
namespace ptx
{

namespace
{

bool in_word(char c)
{
    return isalnum(static_cast<unsigned char>(c)) || strchr("_$%.", c);
}

std::vector<token> tokens_of(const std::string &text)
{
    std::vector<token> all;
    int line = 1;
    for (size_t i = 0; i < text.size();) {
        if (isspace(static_cast<unsigned char>(text[i]))) {
            line += text[i++] == '\n';
        } else if (!text.compare(i, 2, "//")) {
            i = std::min(text.find('\n', i), text.size());
        } else if (!text.compare(i, 2, "/*")) {
            size_t end = text.find("*/", i);
            if (end == text.npos)
                throw unreadable("a comment has no end", line);
            line += static_cast<int>(
                std::count(text.begin() + static_cast<long>(i), text.begin() + static_cast<long>(end), '\n'));
            i = end + 2;
        } else {
            size_t end = i + 1;
            if (text[i] == '"')
                end = std::min(text.find('"', i + 1), text.size() - 1) + 1;
            else if (in_word(text[i]))
                while (end < text.size() && in_word(text[end]))
                    end++;
            all.push_back({text.substr(i, end - i), line});
            i = end;
        }
    }
    all.push_back({"", line}); /* nothing follows */
    return all;
}

/* Of all files: where functions are, and the architecture. */
void find_functions(module &m, const source &s)
{
    for (reader r(s, 0); !r.peek().empty();) {
        const std::string word = r.take();
        if (word == ".version" || word == ".address_size") {
            r.take();
        } else if (word == ".target") {
            const std::string target = r.take();
            m.architecture = target.compare(0, 3, "sm_") ? 0 : atoi(target.c_str() + 3);
        } else if (word == ".entry" || word == ".func") {
            size_t at = r.at();
            if (word == ".func" && r.peek() == "(")
                r.skip("(", ")");
            const std::string name = r.take();
            r.skip("(", ")");
            while (r.peek() != "{" && r.peek() != ";")
                r.take();
            if (r.take_if(";"))
                continue; /* declared alone */
            r.skip("{", "}");
            m.functions.insert({name, {&s, at, none}});
        } else if (word == ".extern") {
            r.want(".shared");
            std::string last = r.take(), name;
            for (; last != ";"; last = r.take())
                name = last == "[" || last == "]" ? name : last;
            m.dynamic_shared.insert(name);
        } else if (word != ".visible" && word != ".weak") {
            throw unreadable(word + " isn't known here", r.line());
        }
    }
}

void read_folder(module &m, const char *folder)
{
    DIR *d = opendir(folder);
    std::vector<std::string> names;
    for (const dirent *e; d && (e = readdir(d));)
        if (std::string name = e->d_name; name.size() > 4 && !name.compare(name.size() - 4, 4, ".ptx"))
            names.push_back(std::string(folder) + "/" + name);
    if (d)
        closedir(d);
    if (names.empty())
        m.problem = std::string("CUDASIM_PTX is ") + folder + ", where no *.ptx are";
    std::sort(names.begin(), names.end());
    for (const std::string &path : names) {
        std::ifstream in(path);
        try {
            const std::string text{std::istreambuf_iterator<char>(in), {}};
            m.sources.emplace_back(new source{path, tokens_of(text)});
            find_functions(m, *m.sources.back());
        } catch (const unreadable &e) {
            m.problem = path + ":" + std::to_string(e.line) + ": " + e.what();
        }
    }
}

module &the_module()
{
    static module *m = nullptr; /* lives as long as the process, as what was read from it does */
    if (!m) {
        m = new module;
        read_folder(*m, getenv("CUDASIM_PTX"));
    }
    return *m;
}

} // namespace

bool is_asked_for()
{
    static const bool asked = getenv("CUDASIM_PTX") != nullptr;
    return asked;
}

int architecture()
{
    return the_module().architecture;
}

const function *find_function(const std::string &name)
{
    module &m = the_module();
    try {
        if (!m.problem.empty())
            throw unreadable(m.problem, 0);
        return m.read[read_function(m, name)].get();
    } catch (const unreadable &e) {
        report("PTX: %s", e.what());
        return nullptr;
    }
}

const function &function_at(uint32_t target)
{
    return *the_module().read[target];
}

} // namespace ptx
} // namespace cudasim
