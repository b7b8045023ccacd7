"""Ways to damage a file: hypothesis strategies that start from whole ones.

JSON is damaged as a tree, so that what comes out still parses and is wrong further in: values of other types, keys
twice, numbers without end, nesting without end, half characters. Then, or instead, bytes are damaged as any file's are.
"""

import copy
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Files = st.SearchStrategy[bytes]


class Raw(str):
    """A part of a document as it is written, valid or not."""

    __slots__ = ()


class Members(list[Any]):
    """A JSON object as [key, value] pairs, so that a key can stand twice."""


#: What may stand where another value stood; the last ones are no JSON.
VALUES: tuple[Raw, ...] = tuple(
    map(
        Raw,
        (
            *("null", "true", "false", "0", "-1", "1", "7", "0.5", "-0.0", "1e400", "-1e400", "1e-400", "1e22"),
            *("2147483648", "9223372036854775808", "18446744073709551616", "-9223372036854775809", "9" * 400),
            *('""', '" "', '"0"', '"1"', '"01"', '"-1"', '"1e3"', '"NaN"', '"null"', '"None"', '"true"', '"a"'),
            *('"."', '".."', '"../x"', '"/etc/hostname"', '"a/b"', '"C:\\\\x"', '"a\\u0000b"', '"~"', '"file:///x"'),
            *('"\\ud800"', '"\\udc00\\ud800"', '"\\u202e"', '"\\u001b[2J"', '"\\n"', '"\\u200b"', '"\\ufeff"', '"ﬁ"'),
            *('"٣"', '"²"', '"' + "x" * 300 + '"', '"' + "x" * 70_000 + '"', '"' + "9" * 5000 + '"'),
            *("[]", "{}", "[[]]", "[{}]", "[null]", '{"a": 1}', '["a", "a"]', "[0, 0]", '[""]', "[-1]", '{"": {}}'),
            *('{"a": 1, "a": 2}', '{"\\ud800": 1}', '{"' + "k" * 300 + '": 1}', '{"\\u001b[2J": []}'),
            *("[" * 90 + "]" * 90, "[" * 5000 + "]" * 5000, '{"a":' * 900 + "1" + "}" * 900),
            *("NaN", "Infinity", "-Infinity", "9" * 5000, "01", "'a'", "[1,]", "[" * 100_000),
        ),
    )
)

#: What YAML takes beyond JSON.
YAML_VALUES: tuple[Raw, ...] = tuple(
    map(
        Raw,
        (
            *("2001-13-45", "2001-01-01", "2001-01-01 00:00:00 +25:00", "1:1:1:1", "0x" + "f" * 5000, "0o17", "~", "="),
            *(".inf", ".nan", "1_000", "yes", "!!python/object:os.system x", "!!binary x", "!!binary aGk=", "!!int a"),
            *("!!float x", "!!timestamp x", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!x y", "&a [*a]", "*b"),
            *("{<<: 1}", "{<<: {a: 1}}", "{[a]: b}", "{{a: 1}: b}", "{1: 2}", "{null: 1}", "{1.5: 1, true: 2}"),
            *("&a [x, x]", "[&a [x], *a, *a]", '"\\ud800"', '"\\U00110000"', "{a: 1, a: 2}", "{? a : 1}", "|\n  x"),
            "[&a [" + "x, " * 9 + "x], &b [" + "*a, " * 9 + "*a], &c [" + "*b, " * 9 + "*b], [" + "*c, " * 99 + "*c]]",
        ),
    )
)


#: How a part of a document is changed.
KINDS = (*["value"] * 4, "text", "number", "remove", "repeat", "swap", "key", "wrap")


@st.composite
def damaged_bytes(draw: Draw, seeds: Sequence[bytes]) -> bytes:
    """One of the files with up to four places cut, overwritten, repeated or moved; at times any bytes at all."""
    if draw(st.integers(0, 30)) == 30:
        return draw(st.binary(max_size=64))
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        _damage(draw, content, seeds)
    return bytes(content)


def _damage(draw: Draw, content: bytearray, seeds: Sequence[bytes]) -> None:
    at = draw(st.integers(0, max(0, len(content) - 1)))
    kind = draw(st.sampled_from(("overwrite", "number", "bit", "cut", "remove", "insert", "repeat", "splice")))
    length = draw(st.sampled_from((1, 2, 4, 8, 16, 64, 256)))
    if kind == "overwrite":
        content[at : at + length] = draw(st.binary(min_size=length, max_size=length))
    elif kind == "number":
        width, order = draw(st.sampled_from((1, 2, 4, 8))), draw(st.sampled_from(("little", "big")))
        value = draw(st.sampled_from((0, 1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63)))
        content[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, order)
    elif kind == "bit" and content:
        content[at] ^= 1 << draw(st.integers(0, 7))
    elif kind == "cut":
        del content[at:]
    elif kind == "remove":
        del content[at : at + length]
    elif kind == "insert":
        content[at:at] = draw(st.binary(max_size=length))
    elif kind == "repeat":
        content[at:at] = content[at : at + length] * draw(st.integers(1, 3))
    elif kind == "splice":
        other = draw(st.sampled_from(seeds))
        start = draw(st.integers(0, max(0, len(other) - 1)))
        content[at:] = other[start:]


@st.composite
def damaged_json(draw: Draw, seeds: Sequence[bytes], more: Sequence[Raw] = ()) -> bytes:
    """One of the documents with up to three of its parts changed; at times its bytes are damaged instead.

    Args:
        draw: given by hypothesis.
        seeds: documents; those that are no JSON are damaged as bytes alone.
        more: further values that may stand anywhere.
    """
    seed = draw(st.sampled_from(seeds))
    try:
        document = json.loads(seed, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        return draw(damaged_bytes(seeds))
    if draw(st.integers(0, 9)) == 9:
        return draw(damaged_bytes(seeds))
    return written(draw(_damaged_document(document, more))).encode("utf-8", "surrogatepass")


@st.composite
def _damaged_document(draw: Draw, document: Any, more: Sequence[Raw]) -> Any:
    root = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, 3))):
        _damage_node(draw, root, more)
    return root[0]


def _damage_node(draw: Draw, root: list[Any], more: Sequence[Raw]) -> None:
    places = _places(root)
    holder, index = places[draw(st.integers(0, len(places) - 1))]
    is_member = isinstance(holder, Members)
    kind = draw(st.sampled_from(KINDS))
    node = holder[index][1] if is_member else holder[index]
    if kind == "remove" and holder is not root:
        del holder[index]
        return
    if kind == "repeat" and holder is not root:
        holder.insert(index, copy.deepcopy(holder[index]))
        return
    if kind == "key" and is_member:
        holder[index] = [draw(st.text(max_size=6) | st.sampled_from(["\ud800", "x" * 300, "a/b", ""])), node]
        return
    if kind == "wrap":
        value: Any = draw(st.sampled_from(([node], [node, node], Members([["a", node]]))))
    elif kind == "swap":
        other, place = places[draw(st.integers(0, len(places) - 1))]
        value = copy.deepcopy(other[place][1] if isinstance(other, Members) else other[place])
    elif kind == "text":
        value = _damaged_text(draw, node) if isinstance(node, str) else draw(st.text(max_size=10))
    elif kind == "number":
        near = st.sampled_from((-1, 1, 2, 1000))
        value = node + draw(near) if type(node) is int else draw(st.integers() | st.floats())
    else:
        value = draw(st.sampled_from((*VALUES, *more)))
    if is_member:
        holder[index] = [holder[index][0], value]
    else:
        holder[index] = value


def _damaged_text(draw: Draw, text: str) -> str:
    """A text with a part removed or put in; one that holds JSON, as headers do, is damaged as JSON."""
    if text[:1] in ("[", "{") and draw(st.booleans()):
        try:
            return written(draw(_damaged_document(json.loads(text, object_pairs_hook=_members), ())))
        except (ValueError, RecursionError):
            pass
    at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 3))
    return text[:at] + draw(st.text(max_size=3)) + text[at + length :]


def _places(node: Any) -> list[tuple[Any, int]]:
    """Every (list or object, index) of a document, the root's own first."""
    found, waiting = [], [node]
    while waiting:
        holder = waiting.pop()
        for index, item in enumerate(holder):
            found.append((holder, index))
            value = item[1] if isinstance(holder, Members) else item
            if isinstance(value, list):
                waiting.append(value)
    return found


def _members(pairs: list[tuple[str, Any]]) -> Members:
    return Members([key, value] for key, value in pairs)


def written(node: Any) -> str:
    """A document as text: as `json.dumps` would write it, but for raw parts and keys that stand twice."""
    if isinstance(node, Raw):
        return str(node)
    if isinstance(node, Members):
        return "{" + ", ".join(f"{json.dumps(key)}: {written(value)}" for key, value in node) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(written(item) for item in node) + "]"
    return json.dumps(node)


def damaged_yaml(seeds: Sequence[bytes]) -> Files:
    """JSON is YAML too: a document damaged as a tree, with what only YAML knows; or damaged bytes."""
    return damaged_json(seeds, YAML_VALUES) | damaged_bytes(seeds)


@st.composite
def damaged_safetensors(draw: Draw, seeds: Sequence[bytes]) -> bytes:
    """A file whose header, a JSON document, is damaged as one, behind a length that fits; or damaged bytes."""
    seed = draw(st.sampled_from(seeds))
    (length,) = struct.unpack("<Q", seed[:8]) if len(seed) >= 8 else (2**63,)
    if length > len(seed) or draw(st.integers(0, 3)) == 3:
        return draw(damaged_bytes(seeds))
    header = draw(damaged_json([seed[8 : 8 + length]]))
    return struct.pack("<Q", len(header)) + header + seed[8 + length :]


@st.composite
def damaged_png(draw: Draw, seeds: Sequence[bytes]) -> bytes:
    """A PNG with a damaged chunk whose checksum fits all the same: what is behind the checksum is looked at then."""
    chunks = _chunks(draw(st.sampled_from(seeds)))
    at = draw(st.integers(0, len(chunks) - 1))
    kind, data = chunks[at]
    if kind == b"IDAT" and draw(st.booleans()):
        data = zlib.compress(draw(damaged_bytes([zlib.decompress(data)])))
    else:
        data = draw(damaged_bytes([data])) if data else draw(st.binary(max_size=20))
    names = (kind, kind, b"tRNS", b"PLTE", b"gAMA", b"iCCP", b"eXIf", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"fdAT")
    chunks[at : at + draw(st.integers(0, 1))] = [(draw(st.sampled_from(names)), data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(one)) + name + one + struct.pack(">I", zlib.crc32(name + one)) for name, one in chunks
    )


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    place, found = 8, []
    while place + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        found.append((kind, png[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


@st.composite
def damaged_zip(draw: Draw, seeds: Sequence[bytes]) -> bytes:
    """An archive with one damaged member, packed again as a whole one; or damaged bytes."""
    seed = draw(st.sampled_from(seeds))
    if not zipfile.is_zipfile(io.BytesIO(seed)) or draw(st.integers(0, 4)) == 4:
        return draw(damaged_bytes(seeds))
    with zipfile.ZipFile(io.BytesIO(seed)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = draw(st.sampled_from([name for name in members if name.endswith(".pkl")] * 3 + list(members)))
    members[chosen] = draw(damaged_bytes([members[chosen] or b"0"]))
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return output.getvalue()
