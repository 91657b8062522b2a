/* ptx_function.cpp: reads a function: names, statements, operands (PTX ISA, "Syntax", "Directives"). What our kernels don't use is an
 * error with its line, never passed over. */
#include "ptx_text.h"

namespace cudasim
{
namespace ptx
{

namespace
{

size_t bytes_of(const std::string &type, int line)
{
    size_t bits = type.size() > 2 && strchr("bsuf", type[1]) ? strtoul(type.c_str() + 2, nullptr, 10) : 0;
    if (type[0] != '.' || (bits != 8 && bits != 16 && bits != 32 && bits != 64))
        throw unreadable("the type " + type + " isn't known here", line);
    return bits / 8;
}

/* What a name means within a function. */
struct symbol {
    enum { reg, parameter, shared } kind;
    uint32_t slot; /* reg */
    variable where;
};

const std::unordered_map<std::string, special> &special_registers()
{
    static const std::unordered_map<std::string, special> all = {
        {"%tid.x", special::tid_x},       {"%tid.y", special::tid_y},       {"%tid.z", special::tid_z},
        {"%ntid.x", special::ntid_x},     {"%ntid.y", special::ntid_y},     {"%ntid.z", special::ntid_z},
        {"%ctaid.x", special::ctaid_x},   {"%ctaid.y", special::ctaid_y},   {"%ctaid.z", special::ctaid_z},
        {"%nctaid.x", special::nctaid_x}, {"%nctaid.y", special::nctaid_y}, {"%nctaid.z", special::nctaid_z},
        {"%laneid", special::laneid},
    };
    return all;
}

/* Reads one function, from its parameter list on. */
class function_reader
{
  public:
    function_reader(module &m_, const known &k) : m(m_), r(*k.from, k.at), f(new function{})
    {
        f->file = k.from->path;
        f->max_threads = 1024;
        scopes.emplace_back();
    }

    std::unique_ptr<function> read()
    {
        if (r.take_if("(")) {
            f->result = declare_parameter();
            r.want(")");
        }
        f->name = r.take();
        r.want("(");
        while (!r.take_if(")")) {
            f->parameters.push_back(declare_parameter());
            r.take_if(",");
        }
        while (r.peek() != "{")
            directive();
        r.want("{");
        for (size_t depth = 1; depth;)
            depth = statement(depth);
        for (const auto &j : jumps) {
            auto label = labels.find(j.second.text);
            if (label == labels.end())
                throw unreadable("there is no label " + j.second.text, j.second.line);
            f->code[j.first].target = label->second;
        }
        instruction end = {}; /* a function may end without a return */
        end.guard = none;
        end.run = find_operation("ret", &end);
        f->code.push_back(end);
        return std::move(f);
    }

  private:
    variable declare_parameter()
    {
        r.want(".param");
        size_t align = r.take_if(".align") ? r.number() : 0, bytes = bytes_of(r.peek(), r.line());
        r.take();
        const std::string name = r.take();
        align = align ? align : bytes;
        if (r.take_if("[")) {
            bytes *= r.number();
            r.want("]");
        }
        variable v = {(f->frame_bytes + align - 1) / align * align, bytes};
        f->frame_bytes = v.offset + bytes;
        scopes.back()[name] = {symbol::parameter, none, v};
        return v;
    }

    void directive()
    {
        const std::string word = r.take();
        if (word == ".maxntid") {
            size_t threads = r.number();
            while (r.take_if(","))
                threads *= r.number();
            f->max_threads = static_cast<unsigned>(threads);
        } else if (word == ".minnctapersm") {
            r.number();
        } else if (word != ".noinline") {
            throw unreadable(word + " isn't known here", r.line());
        }
    }

    uint32_t new_slot(uint64_t value)
    {
        f->slots.push_back(value);
        return static_cast<uint32_t>(f->slots.size() - 1);
    }

    /* The depth of braces behind the statement. */
    size_t statement(size_t depth)
    {
        if (r.take_if("{")) {
            scopes.emplace_back();
            return depth + 1;
        }
        if (r.take_if("}")) {
            scopes.pop_back();
            return depth - 1;
        }
        if (r.peek() == ".reg") {
            declare_registers();
        } else if (r.peek() == ".param") {
            declare_parameter();
        } else if (r.peek() == ".shared") {
            declare_shared();
        } else if (r.peek() == ".pragma") {
            r.take();
            r.take();
        } else {
            std::string guard;
            if (r.take_if("@")) {
                guard = r.take_if("!") ? "!" : "";
                guard += r.take();
            }
            const token word = {r.take(), r.line()};
            if (r.take_if(":")) {
                labels[word.text] = static_cast<uint32_t>(f->code.size());
                return depth;
            }
            operation(word, guard);
        }
        r.want(";");
        return depth;
    }

    void declare_registers()
    {
        r.want(".reg");
        r.take(); /* operations have their own types */
        do {
            const std::string name = r.take();
            if (r.take_if("<")) {
                for (size_t i = 0, n = r.number(); i < n; i++)
                    scopes.back()[name + std::to_string(i)] = {symbol::reg, new_slot(garbage), {}};
                r.want(">");
            } else {
                scopes.back()[name] = {symbol::reg, new_slot(garbage), {}};
            }
        } while (r.take_if(","));
    }

    void declare_shared()
    {
        r.want(".shared");
        size_t align = r.take_if(".align") ? r.number() : 1, bytes = bytes_of(r.peek(), r.line());
        r.take();
        const std::string name = r.take();
        if (r.take_if("[")) {
            bytes *= r.number();
            r.want("]");
        }
        variable v = {(f->shared_bytes + align - 1) / align * align, bytes};
        f->shared_bytes = v.offset + bytes;
        scopes.back()[name] = {symbol::shared, none, v};
    }

    const symbol *find(const std::string &name) const
    {
        for (auto scope = scopes.rbegin(); scope != scopes.rend(); scope++) {
            auto found = scope->find(name);
            if (found != scope->end())
                return &found->second;
        }
        return nullptr;
    }

    uint32_t constant(uint64_t value)
    {
        auto made = constants.insert({value, none});
        if (made.second)
            made.first->second = new_slot(value);
        return made.first->second;
    }

    /* A register, a constant or the address of a variable. */
    uint32_t simple()
    {
        bool minus = r.take_if("-");
        const std::string word = r.take();
        if (const symbol *s = find(word)) {
            if (s->kind == symbol::reg)
                return s->slot;
            if (s->kind == symbol::shared)
                return constant(s->where.offset);
            uint32_t slot = new_slot(0);
            f->addresses.push_back({slot, s->where.offset});
            return slot;
        }
        auto found = special_registers().find(word);
        if (found != special_registers().end()) {
            uint32_t slot = new_slot(0);
            f->specials.push_back({slot, found->second});
            return slot;
        }
        if (m.dynamic_shared.count(word)) { /* all begin behind what is the function's own */
            f->shared_bytes = (f->shared_bytes + 15) / 16 * 16;
            return constant(f->shared_bytes);
        }
        int base = 0;
        const char *digits = word.c_str();
        if (word.size() > 2 && word[0] == '0' && strchr("fFdD", word[1])) { /* the bits of a float or a double */
            base = 16;
            digits += 2;
        }
        char *end;
        uint64_t value = strtoull(digits, &end, base);
        if (*end || !isdigit(static_cast<unsigned char>(word[0])))
            throw unreadable("what is " + word + "?", r.line());
        return constant(minus ? 0 - value : value);
    }

    /* Operands of one place in the text, without their brackets. */
    void operand(instruction *i, std::vector<uint32_t> *all)
    {
        if (r.take_if("{")) {
            do
                all->push_back(simple());
            while (r.take_if(","));
            r.want("}");
        } else if (r.take_if("[")) {
            all->push_back(simple());
            if (r.take_if("+")) {
                bool minus = r.take_if("-");
                i->offset = static_cast<int64_t>(r.number());
                i->offset = minus ? -i->offset : i->offset;
            }
            r.want("]");
        } else {
            all->push_back(simple());
            if (r.take_if("|"))
                all->push_back(simple());
        }
    }

    void operation(const token &word, const std::string &guard)
    {
        instruction i = {};
        std::vector<uint32_t> all;
        std::string name = word.text;
        i.line = word.line;
        i.guard = none;
        if (!guard.empty()) {
            i.unless = guard[0] == '!';
            const symbol *s = find(guard.substr(i.unless));
            if (!s || s->kind != symbol::reg)
                throw unreadable("what is " + guard + "?", word.line);
            i.guard = s->slot;
        }
        if (name == "bra" || name == "bra.uni") {
            jumps.push_back({f->code.size(), {r.take(), r.line()}});
        } else if (name == "call" || name == "call.uni") {
            call(&i, &all);
        } else if (r.peek() != ";") {
            if (!name.compare(0, 4, "mov.") && r.peek() == "{")
                name += ".unpack";
            operand(&i, &all);
            while (r.take_if(",")) {
                if (!name.compare(0, 4, "mov.") && r.peek() == "{")
                    name += ".pack";
                operand(&i, &all);
            }
        }
        i.slots = static_cast<uint32_t>(f->operands.size());
        i.n_slots = static_cast<uint32_t>(all.size());
        f->operands.insert(f->operands.end(), all.begin(), all.end());
        i.meet = find_meeting(name, &i);
        i.run = i.meet ? meet : find_operation(name, &i);
        if (!i.run)
            throw unreadable("the operation " + name + " isn't known here", word.line);
        f->code.push_back(i);
    }

    /* (result), function, (arguments): addresses of variables in parameter space. */
    void call(instruction *i, std::vector<uint32_t> *all)
    {
        r.want("(");
        all->push_back(simple());
        r.want(")");
        r.want(",");
        const std::string callee = r.take();
        r.want(",");
        r.want("(");
        do
            all->push_back(simple());
        while (r.take_if(","));
        r.want(")");
        i->target = read_function(m, callee);
        const function &g = *m.read[i->target];
        if (g.parameters.size() + 1 != all->size())
            throw unreadable(callee + " takes other arguments", i->line);
        if (g.slots.size() > callee_slots || g.frame_bytes > callee_parameters)
            throw unreadable(callee + " is too large to be called here", i->line);
    }

    static constexpr uint64_t garbage = 0xFFFBADBAD7FFBADu * 16 + 13; /* a NaN in every type */
    module &m;
    reader r;
    std::unique_ptr<function> f;
    std::vector<std::unordered_map<std::string, symbol>> scopes;
    std::unordered_map<uint64_t, uint32_t> constants;
    std::unordered_map<std::string, uint32_t> labels;
    std::vector<std::pair<size_t, token>> jumps; /* instruction, label */
};

} // namespace

uint32_t read_function(module &m, const std::string &name)
{
    auto found = m.functions.find(name);
    if (found == m.functions.end())
        throw unreadable("there is no function " + name, 0);
    known &k = found->second;
    if (k.number == none) {
        std::unique_ptr<function> read;
        try {
            read = function_reader(m, k).read();
        } catch (const unreadable &e) {
            throw unreadable(k.from->path + ":" + std::to_string(e.line) + ": " + e.what(), e.line);
        }
        k.number = static_cast<uint32_t>(m.read.size());
        m.read.push_back(std::move(read));
    }
    return k.number;
}

} // namespace ptx
} // namespace cudasim
