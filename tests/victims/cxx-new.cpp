/* SPDX-License-Identifier: MIT
 *
 * Victim: every form of new and delete.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

static int failures;

static void check(bool good, const char *what)
{
    failures += !good;
    std::printf("%s %s\n", good ? "yes" : "NO ", what);
}

static bool from_shim(const void *pointer)
{
    return reinterpret_cast<std::uintptr_t>(pointer) - UINT64_C(0x210000000000) < UINT64_C(0x080000000000);
}

/* Aligned as it should be, writable, and from where the test expects it. */
static void use(void *pointer, std::size_t bytes, std::size_t alignment, const char *what)
{
    const bool good = pointer != nullptr && reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0 &&
                      (std::getenv("VICTIM_ROUTED") == nullptr || from_shim(pointer));
    if (pointer != nullptr)
        std::memset(pointer, 0x31, bytes);
    check(good, what);
}

static void plain(std::size_t bytes)
{
    void *block[8];
    block[0] = ::operator new(bytes);
    block[1] = ::operator new(bytes);
    block[2] = ::operator new[](bytes);
    block[3] = ::operator new[](bytes);
    block[4] = ::operator new(bytes, std::nothrow);
    block[5] = ::operator new[](bytes, std::nothrow);
    block[6] = ::operator new(bytes, std::nothrow);
    block[7] = ::operator new[](bytes, std::nothrow);
    for (void *each : block)
        use(each, bytes, 16, "new, new[] and nothrow");
    ::operator delete(block[0]);
    ::operator delete(block[1], bytes);
    ::operator delete[](block[2]);
    ::operator delete[](block[3], bytes);
    ::operator delete(block[4], std::nothrow);
    ::operator delete[](block[5], std::nothrow);
    ::operator delete(block[6]);
    ::operator delete[](block[7]);
}

static void aligned(std::size_t bytes, std::size_t alignment)
{
    const std::align_val_t to{alignment};
    void *block[8];
    block[0] = ::operator new(bytes, to);
    block[1] = ::operator new(bytes, to);
    block[2] = ::operator new[](bytes, to);
    block[3] = ::operator new[](bytes, to);
    block[4] = ::operator new(bytes, to, std::nothrow);
    block[5] = ::operator new[](bytes, to, std::nothrow);
    block[6] = ::operator new(bytes, to);
    block[7] = ::operator new[](bytes, to);
    for (void *each : block)
        use(each, bytes, alignment, "aligned new, new[] and nothrow");
    ::operator delete(block[0], to);
    ::operator delete(block[1], bytes, to);
    ::operator delete[](block[2], to);
    ::operator delete[](block[3], bytes, to);
    ::operator delete(block[4], to, std::nothrow);
    ::operator delete[](block[5], to, std::nothrow);
    ::operator delete(block[6], to);
    ::operator delete[](block[7], to);
}

int main()
{
    for (std::size_t bytes = 1; bytes < 400000; bytes = bytes * 9 + 3) {
        plain(bytes);
        for (std::size_t alignment = 32; alignment <= 8192; alignment *= 4)
            aligned(bytes, alignment);
    }
    plain(0);
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    return failures == 0 ? 0 : 1;
}
