/* SPDX-License-Identifier: MIT
 *
 * Victim: what functions in C++ keep in containers, arrays and aligned objects. Says which of them the shim
 * took.
 */
#include <cstdint>
#include <cstdio>
#include <deque>
#include <map>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

struct alignas(256) wide {
    double values[64];
};

static bool taken(const void *pointer)
{
    return reinterpret_cast<std::uintptr_t>(pointer) - UINT64_C(0x210000000000) < UINT64_C(0x080000000000);
}

static void say(const char *name, const void *pointer)
{
    if (taken(pointer))
        std::printf(" %s", name);
}

namespace mesh
{
std::vector<double> make_vector(std::size_t count)
{
    std::vector<double> values;
    for (std::size_t i = 0; i < count; i++)
        values.push_back(static_cast<double>(i));
    return values;
}

std::map<int, std::string> make_map(int count)
{
    std::map<int, std::string> words;
    for (int i = 0; i < count; i++)
        words[i] = std::string(200, 'w');
    return words;
}

std::unordered_map<int, int> make_table(int count)
{
    std::unordered_map<int, int> table;
    for (int i = 0; i < count; i++)
        table[i * 7] = i;
    return table;
}

int *make_array(std::size_t count)
{
    return new int[count]();
}

wide *make_wide()
{
    return new wide();
}

wide *make_quiet()
{
    return new (std::nothrow) wide();
}
} // namespace mesh

int main()
{
    const auto vector = mesh::make_vector(1000);
    const auto map = mesh::make_map(20);
    const auto table = mesh::make_table(300);
    int *array = mesh::make_array(1000);
    wide *one = mesh::make_wide(), *two = mesh::make_quiet();
    std::printf("taken:");
    say("vector", vector.data());
    say("map", &map.at(7));
    say("string", map.at(7).data());
    say("table", &table.at(70));
    say("array", array);
    say("wide", one);
    say("quiet", two);
    std::printf("\n%s\n", reinterpret_cast<std::uintptr_t>(one) % 256 == 0 && array[999] == 0 ? "yes" : "NO");
    delete[] array;
    delete one;
    delete two;
}
