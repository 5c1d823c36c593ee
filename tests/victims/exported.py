# SPDX-License-Identifier: MIT
#
# Victim: a NumPy program that makes one large array and keeps it until it may go on.
import sys
import numpy

field = numpy.zeros((300, 400), "f4")
field[:] = numpy.arange(120000, dtype="f4").reshape(300, 400)
print("ready", flush=True)
sys.stdin.readline()
