/* SPDX-License-Identifier: MIT
 *
 * Victim: in C++, memory that inlined members of templates ask for; says what the shim took.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>

#define INLINED __attribute__((always_inline)) inline

namespace grid
{
template <class Number> struct Table {
    Number *rows = nullptr;
    INLINED void grow(std::size_t count)
    {
        rows = new Number[count];
        rows[0] = Number(1);
    }
};
} // namespace grid

static bool from_shim(const void *pointer)
{
    return reinterpret_cast<std::uintptr_t>(pointer) - UINT64_C(0x210000000000) < UINT64_C(0x080000000000);
}

double *doubles(std::size_t count);
float *floats(std::size_t count);

/* clang-format off */
#line 100 "/src/solver/doubles.cpp"
__attribute__((noinline)) double *doubles(std::size_t count)
{
    grid::Table<double> table;
    table.grow(count);
    return table.rows;
}

#line 200 "/src/solver/floats.cpp"
__attribute__((noinline)) float *floats(std::size_t count)
{
    grid::Table<float> table;
    table.grow(count);
    return table.rows;
}
#line 48 "lines-cxx.cpp"
/* clang-format on */

int main()
{
    double *first = doubles(1000);
    float *second = floats(1000);
    std::printf("taken:%s%s\n", from_shim(first) ? " doubles" : "", from_shim(second) ? " floats" : "");
    delete[] first;
    delete[] second;
    return 0;
}
