/* symbols.cpp: the mangled name of a kernel, by which PTX knows it, from the program's own table of symbols. */
#include <elf.h>
#include <link.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>

#include "ptx.h"

namespace cudasim
{

namespace
{

static_assert(sizeof(ElfW(Addr)) == 8, "the program is an ELF file of 64 bits");

std::map<uintptr_t, std::string> functions_of_program()
{
    std::map<uintptr_t, std::string> all;
    std::ifstream in("/proc/self/exe", std::ios::binary);
    const std::string file{std::istreambuf_iterator<char>(in), {}};
    uintptr_t base = 0; /* where a position-independent program lies */
    dl_iterate_phdr(
        [](dl_phdr_info *info, size_t, void *to) {
            *static_cast<uintptr_t *>(to) = info->dlpi_addr;
            return 1; /* the program is the first */
        },
        &base);
    Elf64_Ehdr head;
    if (file.size() < sizeof head)
        return all;
    memcpy(&head, file.data(), sizeof head);
    auto section = [&](unsigned i) {
        Elf64_Shdr s;
        memcpy(&s, file.data() + head.e_shoff + i * sizeof s, sizeof s);
        return s;
    };
    for (unsigned i = 0; i < head.e_shnum; i++) {
        const Elf64_Shdr table = section(i);
        if (table.sh_type != SHT_SYMTAB)
            continue;
        const char *names = file.data() + section(table.sh_link).sh_offset;
        for (size_t k = 0; k < table.sh_size / sizeof(Elf64_Sym); k++) {
            Elf64_Sym s;
            memcpy(&s, file.data() + table.sh_offset + k * sizeof s, sizeof s);
            if (ELF64_ST_TYPE(s.st_info) == STT_FUNC && s.st_value)
                all[base + s.st_value] = names + s.st_name;
        }
    }
    return all;
}

} // namespace

std::string symbol_at(const void *function)
{
    static const std::map<uintptr_t, std::string> all = functions_of_program();
    auto found = all.find(reinterpret_cast<uintptr_t>(function));
    return found == all.end() ? "" : found->second;
}

} // namespace cudasim
