"""The program's counter-based random numbers (src/base/random.c) in numpy, so that weights and
projections need not be stored."""
import numpy as np

RANDOM_TEST = 6
WORD = np.uint64(0xFFFFFFFF)


def block(counter, key):
    """Philox4x32-10 of an array of counters: their four words, one after another."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = (np.uint64(k) for k in key)
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = ((product1 >> np.uint64(32)) ^ c1 ^ k0, product1 & WORD,
                          (product0 >> np.uint64(32)) ^ c3 ^ k1, product0 & WORD)
        k0 = (k0 + np.uint64(0x9E3779B9)) & WORD
        k1 = (k1 + np.uint64(0xBB67AE85)) & WORD
    return np.stack([c0, c1, c2, c3], axis=-1).ravel()


def uniform(seed, purpose, a, b, count):
    """The first `count` numbers that random_uniform() draws from random_stream(seed, purpose, a, b)."""
    key = (seed & 0xFFFFFFFF, (seed >> 32) ^ (purpose * 0x85EBCA6B & 0xFFFFFFFF))
    number = np.arange((count + 1) // 2, dtype=np.uint64)
    ones = np.ones_like(number)
    bits = block((number & WORD, number >> np.uint64(32), ones * np.uint64(a), ones * np.uint64(b)),
                  key)
    high, low = bits[0::2] >> np.uint64(5), bits[1::2] >> np.uint64(6)
    return ((high * np.uint64(67108864) + low) / 9007199254740992.0)[:count]


def uniform_range(seed, purpose, a, b, count, low, high):
    """The same through random_range(): float64."""
    return low + (high - low) * uniform(seed, purpose, a, b, count)
