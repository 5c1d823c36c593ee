/* SPDX-License-Identifier: MIT
 *
 * Victim: says which of its blocks the shim took, by entry point; then says `ready` and waits.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <unistd.h>

namespace mesh
{
template <typename T> struct Table {
    T *grow(std::size_t count)
    {
        T *block = new T[count];
        block[0] = T();
        return block;
    }
};
} // namespace mesh

static bool from_shim(const void *pointer)
{
    return reinterpret_cast<std::uintptr_t>(pointer) - UINT64_C(0x210000000000) < UINT64_C(0x080000000000);
}

static char *make_one()
{
    return static_cast<char *>(::operator new(3000));
}

static void *make_nothrow()
{
    return ::operator new[](2000, std::nothrow);
}

static void *make_plain()
{
    return std::malloc(1000);
}

int main()
{
    mesh::Table<double> table;
    double *numbers = table.grow(500);
    char *one = make_one();
    void *nothrow = make_nothrow(), *plain = make_plain();
    std::printf("taken:%s%s%s%s\nready\n", from_shim(numbers) ? " grow" : "", from_shim(one) ? " one" : "",
                from_shim(nothrow) ? " nothrow" : "", from_shim(plain) ? " plain" : "");
    std::fflush(stdout);
    char byte = 0;
    while (byte != '\n' && read(STDIN_FILENO, &byte, 1) == 1)
        continue;
    delete[] numbers;
    ::operator delete(one);
    ::operator delete[](nothrow, std::nothrow);
    std::free(plain);
    return 0;
}
