#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Draws a field of a running program while it changes, until the program ends or lets go of it.

    plot.py NAME [--shape ROWS,COLUMNS] [--dtype f8] [--every SECONDS] [--segment SHARED::node] [--job JOB] [--text]

NAME is a block's name, or a shell pattern that one block matches. The program need not know of this: under the shim,

    shmpreload run -p 'export func=make_pond name=pond' -- build/examples/wave < /dev/null &
    examples/plot.py 'pond*' --shape 60,120

In a window where there is matplotlib, else (or with --text) in the terminal. The segment is opened for reading only and
no byte is copied but those that are drawn, so the program is not disturbed; nor is it waited for: a picture may show a
step half done. Without a shape the block is drawn as one line.
"""
import argparse
import fnmatch
import os
import shutil
import sys
import time

try:
    import shmcore
except ImportError:  # not installed: that of this source tree
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bindings", "python"))
    import shmcore

SHADES = " .:-=+*#%@"


def find_block(segment, pattern):
    names = [block.name for block in segment.blocks() if fnmatch.fnmatchcase(block.name, pattern)]
    if len(names) != 1:
        sys.exit(f"plot.py: {len(names)} blocks of {segment.name} match {pattern}: {' '.join(sorted(names))}".rstrip(": "))
    return segment.find(names[0])


def is_there(segment, block):
    """Whether it is the same block still, of a process that lives."""
    try:
        now = segment.find(block.name)
    except shmcore.NotFound:
        return False
    return (now.address, now.owner) == (block.address, block.owner) and os.path.exists(f"/proc/{now.owner}")


def picked(count, most):
    """At most so many of the indices below count, evenly."""
    shown = min(count, most)
    return [index * count // shown for index in range(shown)]


def text_of(field, width, height):
    """The values as shades, between the least and the most of those that are shown."""
    columns = picked(field.shape[-1], width)
    if len(field.shape) == 1:
        lines = [[field[column] for column in columns]]
    else:
        lines = [[field[row, column] for column in columns] for row in picked(field.shape[0], height)]
    least, most = min(map(min, lines)), max(map(max, lines))
    scale = (len(SHADES) - 1) / (most - least) if most > least else 0
    drawn = ["".join(SHADES[int((value - least) * scale)] for value in line) for line in lines]
    return "\n".join(drawn + [f"{least:g} to {most:g}"])


def draw_text(segment, block, field, every):
    clear = "\033[H\033[J" if sys.stdout.isatty() else ""
    while is_there(segment, block):
        width, height = shutil.get_terminal_size()
        print(f"{clear}{block.name}\n{text_of(field, width, height - 3)}", flush=True)
        time.sleep(every)


def draw_window(pyplot, segment, block, field, every):
    figure, axes = pyplot.subplots(num=block.name)
    line = len(field.shape) == 1
    drawn = axes.plot(field)[0] if line else axes.imshow(field)
    while is_there(segment, block) and pyplot.fignum_exists(figure.number):
        if line:
            drawn.set_ydata(field)
            axes.relim()
            axes.autoscale_view()
        else:
            drawn.set_data(field)
            drawn.autoscale()
        pyplot.pause(every)


def find_pyplot():
    """None where there is no matplotlib, or no screen."""
    try:
        import matplotlib
        from matplotlib import pyplot
    except ImportError:
        return None
    return pyplot if matplotlib.get_backend().lower() != "agg" else None


def main():
    parser = argparse.ArgumentParser(description="Draws a field of a running program.")
    parser.add_argument("name")
    parser.add_argument("--shape", type=lambda text: tuple(map(int, text.split(","))))
    parser.add_argument("--dtype", default="f8")
    parser.add_argument("--every", type=float, default=0.2)
    parser.add_argument("--segment", default="SHARED::node")
    parser.add_argument("--job")
    parser.add_argument("--text", action="store_true")
    chosen = parser.parse_args()
    pyplot = None if chosen.text else find_pyplot()
    try:
        with shmcore.open(chosen.segment, read_only=True, job=chosen.job) as segment:
            block = find_block(segment, chosen.name)
            field = segment.array(block.name, chosen.dtype, chosen.shape)
            if pyplot is not None:
                draw_window(pyplot, segment, block, field, chosen.every)
            else:
                draw_text(segment, block, field, chosen.every)
            print(f"{block.name} is gone")
    except (shmcore.Error, ValueError) as error:
        sys.exit(f"plot.py: {error}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
