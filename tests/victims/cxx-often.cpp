/* SPDX-License-Identifier: MIT
 *
 * Victim: asks for the same with new in every form, again and again, from one function each, and says how
 * many blocks the shim took of each form.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <new>

constexpr int ROUNDS = 100;
constexpr std::size_t sizes[] = {0, 1, 1000, 1023, 1024, 5000};
constexpr std::align_val_t alignment{64};

static bool from_shim(const void *pointer)
{
    return reinterpret_cast<std::uintptr_t>(pointer) - UINT64_C(0x210000000000) < UINT64_C(0x080000000000);
}

static void *make_one(std::size_t bytes)
{
    return ::operator new(bytes);
}

static void *make_array(std::size_t bytes)
{
    return ::operator new[](bytes);
}

static void *make_nothrow(std::size_t bytes)
{
    return ::operator new(bytes, std::nothrow);
}

static void *make_nothrow_array(std::size_t bytes)
{
    return ::operator new[](bytes, std::nothrow);
}

static void *make_aligned(std::size_t bytes)
{
    return ::operator new(bytes, alignment);
}

static void *make_aligned_array(std::size_t bytes)
{
    return ::operator new[](bytes, alignment);
}

static void *make_aligned_nothrow(std::size_t bytes)
{
    return ::operator new(bytes, alignment, std::nothrow);
}

static void *make_aligned_nothrow_array(std::size_t bytes)
{
    return ::operator new[](bytes, alignment, std::nothrow);
}

/* Two forms by one call instruction: the caller is known from the first one. */
using NothrowForm = void *(std::size_t bytes, const std::nothrow_t &);
[[gnu::noinline]] static void *by_either(NothrowForm *form, std::size_t bytes)
{
    void *pointer = form(bytes, std::nothrow);
    *static_cast<volatile char *>(pointer) = 1; /* not a jump */
    return pointer;
}

static int taken_by_either()
{
    int taken = 0;
    NothrowForm *volatile one = ::operator new, *volatile array = ::operator new[];
    ::operator delete(by_either(one, 5000));
    for (std::size_t bytes : {0, 5000}) {
        void *pointer = by_either(array, bytes);
        taken += from_shim(pointer);
        ::operator delete[](pointer);
    }
    return taken;
}

struct Form {
    const char *name;
    void *(*make)(std::size_t bytes);
    bool array, aligned;
};

static const Form forms[] = {
    {"one", make_one, false, false},
    {"array", make_array, true, false},
    {"nothrow", make_nothrow, false, false},
    {"nothrow-array", make_nothrow_array, true, false},
    {"aligned", make_aligned, false, true},
    {"aligned-array", make_aligned_array, true, true},
    {"aligned-nothrow", make_aligned_nothrow, false, true},
    {"aligned-nothrow-array", make_aligned_nothrow_array, true, true},
};

static void drop(const Form &form, void *pointer, std::size_t bytes)
{
    if (form.aligned)
        form.array ? ::operator delete[](pointer, alignment) : ::operator delete(pointer, bytes, alignment);
    else
        form.array ? ::operator delete[](pointer) : ::operator delete(pointer, bytes);
}

int main()
{
    std::printf("taken:");
    if (const int taken = taken_by_either(); taken > 0)
        std::printf(" either=%d", taken);
    for (const Form &form : forms) {
        int taken = 0;
        for (int round = 0; round < ROUNDS; round++)
            for (std::size_t bytes : sizes) {
                void *pointer = form.make(bytes);
                taken += from_shim(pointer);
                drop(form, pointer, bytes);
            }
        if (taken > 0)
            std::printf(" %s=%d", form.name, taken);
    }
    std::printf("\n");
    return 0;
}
