/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of shared memory: waves on a pond.
 *
 *     wave [STEPS [MILLISECONDS]]
 *
 * Three stones fall into a square pond of 60 x 120 points, and their waves run for STEPS (default 1000)
 * steps, with so many milliseconds (default 20) between them. Then the program prints how high the water
 * stands at the middle, and keeps the pond until standard input ends. Another process can look on:
 *
 *     shmpreload run -p 'export func=make_pond name=pond' -- build/examples/wave < /dev/null &
 *     examples/plot.py 'pond*' --shape 60,120
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROWS    60
#define COLUMNS 120

typedef double plane[ROWS][COLUMNS];

/* Not inlined, so that the call of calloc has this function's name in a release build as well. */
__attribute__((noinline)) static plane *make_pond(void)
{
    plane *pond = calloc(1, sizeof *pond);
    if (pond == NULL) {
        perror("wave");
        return NULL;
    }
    return pond;
}

/* The water around it rises, smoothly, for waves as short as the points are apart look like noise. */
static void drop_stone(plane *pond, int row, int column, double height)
{
    for (int i = -7; i <= 7; i++)
        for (int j = -7; j <= 7; j++) {
            const double inside = 1 - (i * i + j * j) / 64.0;
            if (inside > 0)
                (*pond)[row + i][column + j] += height * inside * inside;
        }
}

/* The speed changes with the curve of the surface, and the surface with the speed. The shore stands still. */
static void step(plane *pond, plane *speed)
{
    for (int i = 1; i < ROWS - 1; i++)
        for (int j = 1; j < COLUMNS - 1; j++)
            (*speed)[i][j] += 0.2 * ((*pond)[i - 1][j] + (*pond)[i + 1][j] + (*pond)[i][j - 1] +
                                     (*pond)[i][j + 1] - 4 * (*pond)[i][j]);
    for (int i = 1; i < ROWS - 1; i++)
        for (int j = 1; j < COLUMNS - 1; j++)
            (*pond)[i][j] += (*speed)[i][j];
}

int main(int argc, char **argv)
{
    static plane speed;
    long steps = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
    long milliseconds = argc > 2 ? strtol(argv[2], NULL, 10) : 20;
    const struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    if (argc > 3 || steps < 0 || milliseconds < 0) {
        fprintf(stderr, "usage: wave [STEPS [MILLISECONDS]]\n");
        return 2;
    }
    plane *pond = make_pond();
    if (pond == NULL)
        return EXIT_FAILURE;
    drop_stone(pond, 15, 30, 1);
    drop_stone(pond, 42, 20, 1);
    drop_stone(pond, 30, 90, -1.5);
    for (long i = 0; i < steps; i++) {
        step(pond, &speed);
        if (milliseconds > 0)
            nanosleep(&pause, NULL);
    }
    printf("%.6f\n", (*pond)[ROWS / 2][COLUMNS / 2]);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    free(pond);
    return EXIT_SUCCESS;
}
