/* SPDX-License-Identifier: MIT
 *
 * Factors large numbers with Pollard's rho, as a program does whose numbers are objects: each result of each
 * operation is a block of its own, and hardly any lives for long.
 *
 *     factor NUMBERS
 */
#include "../measure.h"

struct number {
    uint64_t value;
    uint64_t sign; /* an object has more than one word */
};

static __attribute__((noinline)) struct number *take(uint64_t value)
{
    struct number *volatile number = malloc(sizeof *number);
    if (number == NULL)
        exit(1);
    *number = (struct number){.value = value};
    return number;
}

static struct number *multiply(const struct number *a, const struct number *b, const struct number *modulus)
{
    return take((uint64_t)((unsigned __int128)a->value * b->value % modulus->value));
}

static struct number *add(const struct number *a, const struct number *b, const struct number *modulus)
{
    return take((a->value + b->value) % modulus->value);
}

static struct number *difference(const struct number *a, const struct number *b)
{
    return take(a->value > b->value ? a->value - b->value : b->value - a->value);
}

static struct number *common_divisor(const struct number *a, const struct number *b)
{
    struct number *x = take(a->value), *y = take(b->value);
    while (y->value != 0) {
        struct number *rest = take(x->value % y->value);
        free(x);
        x = y;
        y = rest;
    }
    free(y);
    return x;
}

/* Lets go of what `number` was. */
static void become(struct number **number, struct number *other)
{
    free(*number);
    *number = other;
}

static void step(struct number **x, const struct number *constant, const struct number *modulus)
{
    struct number *square = multiply(*x, *x, modulus);
    become(x, add(square, constant, modulus));
    free(square);
}

/* A proper divisor, or the number itself: then another constant may do. */
static uint64_t divisor(uint64_t value, uint64_t with)
{
    struct number *modulus = take(value), *constant = take(with), *slow = take(2), *fast = take(2),
                  *found = take(1);
    while (found->value == 1) {
        step(&slow, constant, modulus);
        step(&fast, constant, modulus);
        step(&fast, constant, modulus);
        struct number *apart = difference(slow, fast);
        become(&found, common_divisor(apart, modulus));
        free(apart);
    }
    const uint64_t result = found->value;
    free(modulus);
    free(constant);
    free(slow);
    free(fast);
    free(found);
    return result;
}

/* The products of these are what is factored. */
static const uint64_t primes[] = {1000003, 1299709, 1500007, 2000003, 2750161, 3000017, 3999971, 5000011};

enum { PRIMES = sizeof primes / sizeof primes[0] };

int main(int count, char **words)
{
    const size_t numbers = number_in(count, words, 1, 100);
    uint64_t sum = 0;
    for (size_t i = 0; i < numbers; i++) {
        const uint64_t one = primes[i % PRIMES], other = primes[(i / PRIMES + i + 1) % PRIMES];
        uint64_t found, constant = 1 + i % 7;
        do
            found = divisor(one * other, constant++);
        while (found == one * other && one != other);
        if (found == 0 || one * other % found != 0)
            return 1;
        sum += found;
    }
    print_figure("sum", (double)sum);
    return 0;
}
