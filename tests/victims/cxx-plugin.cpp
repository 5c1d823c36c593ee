/* SPDX-License-Identifier: MIT
 *
 * A plug-in in C++ for a program in C.
 */
#include <cstdint>
#include <new>
#include <string>
#include <vector>

extern "C" int plugin_run(int seed);
extern "C" void *plugin_make(std::size_t bytes);
extern "C" void plugin_drop(void *block);

static void *volatile kept; /* so that the call is not left out */

int plugin_run(int seed)
{
    std::vector<std::string> words;
    volatile std::size_t absurd = SIZE_MAX / 2;
    int thrown = 0;
    for (int i = 0; i < 2000; i++)
        words.push_back(std::string(static_cast<std::size_t>(i % 300), 'x') + std::to_string(seed));
    try {
        kept = ::operator new(absurd);
    } catch (const std::bad_alloc &) {
        thrown = 1;
    }
    std::size_t total = 0;
    for (const std::string &word : words)
        total += word.size();
    return static_cast<int>(total) + thrown;
}

void *plugin_make(std::size_t bytes)
{
    return ::operator new(bytes);
}

void plugin_drop(void *block)
{
    ::operator delete(block);
}
