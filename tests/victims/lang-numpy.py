# SPDX-License-Identifier: MIT
#
# Victim: arrays of NumPy and of Python itself. Says which of them the shim took.
import ctypes
import numpy


def taken(address):
    return 0x210000000000 <= address < 0x290000000000


made = {
    "zeros": numpy.zeros(50000),
    "empty": numpy.empty(50000),
    "product": numpy.arange(50000.0) * 2,
    "matrix": numpy.ones((300, 300)).copy(),
    "resized": numpy.zeros(10),
}
made["resized"].resize(50000, refcheck=False)
raw = bytearray(400000)
addresses = {name: array.ctypes.data for name, array in made.items()}
addresses["bytearray"] = ctypes.addressof(ctypes.c_char.from_buffer(raw))
print("taken:", *(name for name, address in addresses.items() if taken(address)))
made["empty"][:] = 3
print(int(made["empty"].sum() + made["product"].sum() + made["resized"].sum() + made["matrix"].sum()), len(raw))
