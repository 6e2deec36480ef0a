"""Prints the tables of src/text/pretokenize_unicode.cpp: where the Rust library's Unicode data differ from ours.

Needs a Python whose unicodedata is 14.0 (that of 3.11: the version of PCRE2 10.42 and utf8proc 2.8) and `tokenizers`.
"""
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
assert unicodedata.unidata_version == "14.0.0"


def matching(pattern):
    """The code points that the library's regex engine matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    out = set()
    for i in range(0, len(CODES), 4096):
        block = CODES[i : i + 4096]
        kept = {ord(c) for text, _ in split.pre_tokenize_str("".join(map(chr, block))) for c in text}
        out.update(c for c in block if c not in kept)
    return out


def ranges(codes, key=lambda c: None):
    out = []
    for c in sorted(codes):
        if out and out[-1][1] == c - 1 and out[-1][2] == key(c):
            out[-1][1] = c
        else:
            out.append([c, c, key(c)])
    return out


def utf8_length(c):
    return len(chr(c).encode())


def print_stand_ins():
    category = {}
    for name in "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split():
        for c in matching(r"\p{%s}" % name):
            category[c] = name
    ours = {c: unicodedata.category(chr(c)) for c in CODES}
    newer = {c: category[c] for c in CODES if category.get(c, "Cn") != ours[c]}
    assert all(ours[c] in ("Cn", "Mn") for c in newer)
    # The nearest older character of the same category and length; Kana by hand, to keep their script.
    by_hand = {0x1B132: 0x1B150, 0x1B155: 0x1B164}
    stand_in = {}
    for c, name in newer.items():
        stand_in[c] = by_hand.get(c) or next(
            d for step in range(1, 0x110000) for d in (c - step, c + step)
            if ours.get(d) == name and d not in newer and utf8_length(d) == utf8_length(c)
        )
    print("constexpr StandIn kStandIns[] = {")
    for first, last, to in ranges(newer, stand_in.get):
        print("    {0x%04X, 0x%04X, 0x%04X}," % (first, last, to))
    print("};")
    return newer


def print_inert(newer):
    nfc = normalizers.NFC().normalize_str
    # The one composition that is younger than the library's data; and the jamo that utf8proc takes for a final one.
    inert = {0x11930, 0x11935, 0x11938, 0x11A7}
    for c in CODES:
        for mark in ("\u0334", "\u0301", "\u0345", "\u0327"):
            if any(nfc(s) != unicodedata.normalize("NFC", s) for s in ("q" + mark + chr(c), "q" + chr(c) + mark)):
                inert.add(c)
    print("constexpr Range kInert[] = {")
    for first, last, _ in ranges(inert - set(newer)):
        print("    {0x%04X, 0x%04X}," % (first, last))
    print("};")


if __name__ == "__main__":
    print_inert(print_stand_ins())
