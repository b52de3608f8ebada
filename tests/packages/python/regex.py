# What the standard library's `re` cannot: recursion, fuzzy matches, properties, overlaps, and work outside of the interpreter's lock.
import random
from concurrent.futures import ThreadPoolExecutor

import regex

text = "ab" * 5000
with ThreadPoolExecutor(4) as pool:
    counts = list(pool.map(lambda pattern: len(regex.findall(pattern, text, concurrent=True)), ["a", "b", "ab", "ba"]))

{
    "value": {
        "nested": regex.search(r"\((?:[^()]|(?R))*\)", "x (a (b) c) y")[0],
        "fuzzy": bool(regex.fullmatch(r"(?:belljar){e<=1}", "beljar")),
        "greek": regex.findall(r"\p{Script=Greek}+", "a αβγ b δ"),
        "overlapped": regex.findall(r"..", "abcd", overlapped=True),
        "clusters": len(regex.findall(r"\X", "e\u0301👩\u200d👧")),
        "counts": counts,
    },
    "random": [random.random()],
}
