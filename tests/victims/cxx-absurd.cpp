/* SPDX-License-Identifier: MIT
 *
 * Victim: sizes that cannot be: bad_alloc, NULL with nothrow, and the new_handler before that; then
 * everything goes on.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

static int failures, handled;
static void *volatile kept; /* so that no call is left out */

static void check(bool good, const char *what)
{
    failures += !good;
    std::printf("%s %s\n", good ? "yes" : "NO ", what);
}

static bool from_shim(const void *pointer)
{
    return reinterpret_cast<std::uintptr_t>(pointer) - UINT64_C(0x210000000000) < UINT64_C(0x080000000000);
}

/* What fails leaves nothing behind: the very next request is served as ever. */
static void sane_again()
{
    void *block = std::malloc(500), *object = ::operator new(500);
    if (std::getenv("VICTIM_ROUTED") != nullptr)
        check(from_shim(block) && from_shim(object), "the next requests are routed");
    else
        check(block != nullptr && object != nullptr, "the next requests are routed");
    std::free(block);
    ::operator delete(object);
}

template <typename Function> static void throws(const char *what, Function function)
{
    bool thrown = false;
    try {
        function();
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    check(thrown, what);
    sane_again();
}

static void handler()
{
    if (++handled == 3)
        std::set_new_handler(nullptr);
}

static void plain(std::size_t bytes)
{
    throws("new", [=] { kept = ::operator new(bytes); });
    throws("new[]", [=] { kept = ::operator new[](bytes); });
    check(::operator new(bytes, std::nothrow) == nullptr, "nothrow new");
    check(::operator new[](bytes, std::nothrow) == nullptr, "nothrow new[]");
    sane_again();
}

static void aligned(std::size_t bytes)
{
    const std::align_val_t to{64};
    throws("aligned new", [=] { kept = ::operator new(bytes, to); });
    throws("aligned new[]", [=] { kept = ::operator new[](bytes, to); });
    check(::operator new(bytes, to, std::nothrow) == nullptr, "aligned nothrow new");
    check(::operator new[](bytes, to, std::nothrow) == nullptr, "aligned nothrow new[]");
    sane_again();
}

int main()
{
    volatile std::size_t most = SIZE_MAX;
    plain(most / 2);
    plain(most - 5000);
    plain(most);
    aligned(most / 2); /* some libraries round what is larger up to nothing */
    aligned(most - 5000);
    std::set_new_handler(handler);
    throws("new with a handler", [=] { kept = ::operator new(most / 2); });
    check(handled == 3, "the handler is called until it gives up");
    return failures == 0 ? 0 : 1;
}
