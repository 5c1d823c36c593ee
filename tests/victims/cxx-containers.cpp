/* SPDX-License-Identifier: MIT
 *
 * Victim: the containers of the standard library, and exceptions.
 */
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static long fill_and_sum(int seed)
{
    std::vector<std::string> words;
    std::map<std::string, std::vector<int>> index;
    for (int i = 0; i < 3000; i++) {
        words.push_back("word number " + std::to_string(i * seed) +
                        std::string(static_cast<std::size_t>(i % 90), '.'));
        index[words.back()].push_back(i);
    }
    long sum = 0;
    for (const auto &entry : index)
        for (int number : entry.second)
            sum += number * static_cast<long>(entry.first.size());
    return sum;
}

static void deeper(int depth)
{
    const auto block = std::make_unique<std::vector<int>>(1000, depth);
    if (depth == 0)
        throw std::runtime_error("from " + std::to_string(block->size()) + " numbers");
    deeper(depth - 1);
}

int main()
{
    long sums[2] = {0, 0};
    std::thread other([&] { sums[0] = fill_and_sum(3); });
    sums[1] = fill_and_sum(5);
    other.join();
    std::cout << sums[0] << " " << sums[1] << "\n";
    try {
        deeper(20);
    } catch (const std::exception &problem) {
        std::cout << "caught: " << problem.what() << std::endl;
    }
    std::ostringstream text;
    for (int i = 0; i < 20000; i++)
        text << i << ',';
    std::cout << text.str().size() << std::endl;
    return 0;
}
