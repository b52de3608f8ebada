"""Renews the state that must differ between two forks of one zygote: every random generator that
user code can draw from.

`ssl.RAND_bytes` and similar functions belong to OpenSSL, which the native library reseeds, or
makes reseed itself. `os.urandom` and `secrets` use the kernel's generator. The seed of `hash()`
is fixed when the interpreter starts, so all forks of a zygote share it.
"""

from belljar_driver import originals as __builtins__

import sys

from belljar_driver import after_import, packages


#: Generators of imported packages that seeded themselves when they were created.
_generators = []


def draw_before_forks():
    """Makes OpenSSL create its generator, so that no sandbox has to, and so that the self-test
    of a runtime covers a generator that was used before the fork."""
    ssl = sys.modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_bytes(1)


def note_generators():
    """Records generators that seed themselves from now on, for `renew`. Returns a function that
    ends this. A generator that a package gave a seed keeps it."""
    from random import Random
    from weakref import ref

    seed, made = Random.seed, []

    def note_and_seed(self, a=None, version=2):
        seed(self, a, version)
        made[:] = [reference for reference in made if reference() is not self]
        if a is None:
            made.append(ref(self))

    Random.seed = note_and_seed

    def end():
        Random.seed = seed
        _generators.extend(generator for generator in (reference() for reference in made) if generator is not None)
        _generators.extend(_numpy_generators())

    return end


def _numpy_generators():
    module = packages.advance_module("numpy.random.bit_generator")
    if module is None:
        return []
    from gc import get_objects

    return [thing for thing in get_objects() if issubclass(type(thing), module.BitGenerator) and _seeded_itself(thing)]


def _seeded_itself(generator):
    """Returns whether a generator seeded itself. A seed that numpy takes from the system has 128
    bits."""
    # Before numpy 1.24 there is no public name.
    sequence = getattr(generator, "seed_seq", None) or getattr(generator, "_seed_seq", None)
    entropy = getattr(sequence, "entropy", None)
    return isinstance(entropy, int) and entropy.bit_length() > 64


def renew(random_bytes):
    """Reseeds every generator that is already imported. Must be called before any user code
    runs."""
    modules = sys.modules
    for generator in _generators:
        if hasattr(type(generator), "state"):
            generator.state = type(generator)(list(random_bytes(32))).state
        else:
            generator.seed(random_bytes(32))
    if "random" in modules:
        modules["random"].seed(random_bytes(32))
    numpy_random = packages.advance_module("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(list(random_bytes(64)))
    if "tempfile" in modules:
        # Both generators of names are created again at their next use. Their own detection of forks
        # compares process ids, which are equal here.
        modules["tempfile"]._name_sequence = None
        modules["tempfile"].tempdir = None
    if "uuid" in modules:
        modules["uuid"]._node = None
        modules["uuid"]._last_timestamp = None
    process = modules.get("multiprocessing.process")
    if process is not None:
        process.current_process().authkey = random_bytes(32)
    synchronize = modules.get("multiprocessing.synchronize")
    if synchronize is not None and hasattr(synchronize.SemLock._rand, "_rng_pid"):
        synchronize.SemLock._rand._rng_pid = None


def repeat(seed):
    """Makes the run's pseudo-random numbers a function of its seed, whenever the generators are
    imported."""
    import random

    random.seed(seed)
    after_import.call("numpy.random", lambda module: module.seed(_numpy_seed(seed)))


def _numpy_seed(seed):
    """Returns a seed for numpy, which takes 32 bits. Anything else is reduced to them as
    `random` does it, by hashing the text."""
    if isinstance(seed, int):
        return seed & 0xFFFFFFFF
    from zlib import crc32

    return crc32(str(seed).encode())
