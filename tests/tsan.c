/* SPDX-License-Identifier: MIT
 *
 * What ThreadSanitizer does not know of: without this it does not see that a lock was taken that had to be
 * waited for, and finds fault with everything that is done under it. Linked with the tests in its build only.
 */
#include <pthread.h>
#include <time.h>

/* Another clock's end of patience, on the clock that is known. */
__attribute__((visibility("default"))) int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
                                                                   const struct timespec *until)
{
    struct timespec now, real;
    clock_gettime(clock, &now);
    clock_gettime(CLOCK_REALTIME, &real);
    real.tv_sec += until->tv_sec - now.tv_sec;
    real.tv_nsec += until->tv_nsec - now.tv_nsec;
    if (real.tv_nsec < 0) {
        real.tv_sec--;
        real.tv_nsec += 1000000000;
    } else if (real.tv_nsec >= 1000000000) {
        real.tv_sec++;
        real.tv_nsec -= 1000000000;
    }
    return pthread_mutex_timedlock(mutex, &real);
}
