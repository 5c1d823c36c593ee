# SPDX-License-Identifier: MIT
#
# Where things are: what the build has made, and the peers that Debian ships. One that is missing is named, with the
# package that has it; its contenders are left out.

import glob
import os

LIBRARY_PLACES = ("/usr/lib/*/", "/usr/lib/", "/usr/local/lib/*/", "/usr/local/lib/", "/usr/lib64/")


class Peers:
    def __init__(self, build):
        self.build = build
        self.missing = {}  # name: how to get it
        self.mimalloc = self._library("mimalloc", "libmimalloc.so.2*", "libmimalloc2.0")
        self.jemalloc = self._library("jemalloc", "libjemalloc.so.2", "libjemalloc2")
        self.heaptrack = self._library("heaptrack", "heaptrack/libheaptrack_preload.so", "libheaptrack")
        self.containers = self._built("bench-containers")
        if self.containers is None:
            self.missing["a program in C++"] = "g++, then meson setup --reconfigure and ninja"
        self.boost = self._built("bench-names-boost")
        if self.boost is None:
            self.missing["Boost.Interprocess"] = "libboost-dev and g++, then meson setup --reconfigure and ninja"
        self.gcc = self._command("gcc", "gcc")
        self.python = self._command("/usr/bin/python3", "python3")

    def bench(self, name):
        return os.path.join(self.build, "bench", "bench-" + name)

    def shim(self):
        return os.path.join(self.build, "preload", "libshmpreload.so")

    def passthrough(self):
        return self.bench("passthrough.so")

    def nothing(self):
        return self.bench("nothing.so")

    def not_built(self):
        needed = [self.shim(), self.passthrough(), self.nothing(), self.bench("blocks"), self.bench("names")]
        return [path for path in needed if not os.path.exists(path)]

    def _built(self, name):
        path = os.path.join(self.build, "bench", name)
        return path if os.path.exists(path) else None

    def _library(self, name, file, package):
        for place in LIBRARY_PLACES:
            found = sorted(glob.glob(place + file))
            if found:
                return found[0]
        self.missing[name] = package
        return None

    def _command(self, name, package):
        for directory in os.environ.get("PATH", os.defpath).split(":"):
            path = os.path.join(directory, name)  # an absolute name stays what it is
            if os.access(path, os.X_OK):
                return path
        self.missing[name] = package
        return None
