/* SPDX-License-Identifier: MIT
 *
 * What C++ does with memory: an index of words to the lines they stand on, of strings, vectors, maps and
 * shared objects, which is built, asked, thinned out and dropped, again and again. All of it is had with new.
 *
 *     containers ROUNDS
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace
{
constexpr int LINES = 2000, WORDS_EACH = 6, WORDS = 1500;

struct Line {
    int number;
    std::string text;
};

struct Index {
    std::list<std::shared_ptr<Line>> lines;
    std::unordered_map<std::string, std::vector<std::shared_ptr<Line>>> by_word;
    std::map<int, std::shared_ptr<Line>> by_number;
};

/* xorshift: Marsaglia, Xorshift RNGs, 2003. */
std::uint64_t next(std::uint64_t &seed)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

std::string some_word(std::uint64_t &seed)
{
    return "a-word-that-is-somewhat-long-" + std::to_string(next(seed) % WORDS);
}

std::unique_ptr<Index> build(std::uint64_t &seed)
{
    auto index = std::make_unique<Index>();
    for (int number = 0; number < LINES; number++) {
        auto line = std::make_shared<Line>(Line{number, {}});
        for (int i = 0; i < WORDS_EACH; i++) {
            const std::string word = some_word(seed);
            line->text += word + ' ';
            index->by_word[word].push_back(line);
        }
        index->by_number.emplace(number, line);
        index->lines.push_back(std::move(line));
    }
    return index;
}

std::size_t thin_out(Index &index, std::uint64_t &seed)
{
    std::size_t found = 0;
    for (int i = 0; i < LINES / 2; i++) {
        const auto word = index.by_word.find(some_word(seed));
        if (word == index.by_word.end())
            continue;
        for (const auto &line : word->second)
            found += line->text.size();
        index.by_word.erase(word);
        index.by_number.erase(static_cast<int>(next(seed) % LINES));
    }
    return found;
}
} // namespace

int main(int count, char **words)
{
    const int rounds = count > 1 ? std::atoi(words[1]) : 10;
    std::uint64_t seed = 1;
    std::size_t found = 0;
    for (int round = 0; round < rounds; round++) {
        const auto index = build(seed);
        found += thin_out(*index, seed);
    }
    std::printf("%zu\n", found);
    return found == 0 && rounds > 0;
}
