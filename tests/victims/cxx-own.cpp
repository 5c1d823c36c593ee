/* SPDX-License-Identifier: MIT
 *
 * Victim: a program with operators of its own; it counts what goes through them.
 */
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

static unsigned made, deleted;

void *operator new(std::size_t bytes)
{
    made++;
    void *block = std::malloc(bytes != 0 ? bytes : 1);
    if (block == nullptr)
        throw std::bad_alloc();
    return block;
}

void operator delete(void *block) noexcept
{
    deleted += block != nullptr;
    std::free(block);
}

void operator delete(void *block, std::size_t) noexcept
{
    deleted += block != nullptr;
    std::free(block);
}

int main()
{
    {
        std::vector<std::string> words;
        for (int i = 0; i < 1000; i++)
            words.push_back("a word that is too long to be kept in place, number " + std::to_string(i));
        int *numbers = new int[1000];
        numbers[7] = 7;
        delete[] numbers;
    }
    std::printf("made %u, deleted %u\n", made, deleted);
    return made == deleted ? 0 : 1;
}
