"""Changes of a file's content: bytes of any kind of file, parts of a kind whose checksums then fit again."""

import io
import json
import math
import struct
import tarfile
import zipfile
import zlib

import numpy as np

CANARY = "fuzz_canary"  # a module that a reader must not import
WORDS = ["", "\0", "a\nb", "../x", "/x", "é" * 300, "x" * 5000, "nan", "-1", "\u2028", "\ud800", f"{CANARY}:Thing"]
NUMBERS = [0, -1, 1, 2, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**400, 10**5000]
NUMBERS += [0.5, -0.0, 1e308, 1e-320, math.nan, math.inf, -math.inf]
# What other kinds of files begin with.
STARTS = [b"PK\x03\x04", b"\x80\x04}.", b"\x93NUMPY\x01\x00", b"PAR1", b"ARROW1", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
STARTS += [b"RIFF\x10\0\0\0WEBPVP8 ", b"\xef\xbb\xbf", b"\xff\xfe", b"<!doctype html>", b"version https://git-lfs", b""]


def some_bytes(random, content):
    """The content with bytes cut, flipped, repeated, removed, overwritten by limits of numbers, or of another kind."""
    found = bytearray(content)
    for _ in range(random.choice([1, 1, 1, 2, 4, 16])):
        place = random.randrange(len(found) + 1)
        length = min(random.choice([1, 1, 2, 4, 8, 64, 512]), len(found) - place)
        match random.randrange(8):
            case 0:
                del found[place:]
            case 1 | 2 if length:
                found[place] = random.choice([0, 255, found[place] ^ (1 << random.randrange(8)), random.randrange(256)])
            case 3:
                found[place:place] = found[place : place + length] * random.choice([1, 2, 50])
            case 4:
                del found[place : place + length]
            case 5:
                size = random.choice([1, 2, 4, 8])
                number = random.choice([0, 1, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
                found[place : place + size] = (number % 256**size).to_bytes(size, random.choice(["little", "big"]))
            case 6:
                found[place : place + length] = random.randbytes(length)
            case 7 if random.random() < 0.3:
                start = random.choice(STARTS)
                found[: len(start)] = start
    return bytes(found)


def some_value(random, value, deep=0):
    """A value of JSON with one part of it replaced, removed, repeated, or under another name."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        found, key = dict(value), random.choice(list(value))
        match random.randrange(10):
            case 0:
                del found[key]
            case 1:
                found[random.choice(WORDS)] = found[key]
            case 2:
                found = {random.choice(WORDS) if name == key else name: part for name, part in found.items()}
            case _:
                found[key] = some_value(random, found[key], deep + 1)
        return found
    if isinstance(value, list) and value and random.random() < 0.7:
        place = random.randrange(len(value))
        changed = some_value(random, value[place], deep + 1)
        part = random.choice([[], [value[place]] * 2, [value[place]] * 300, [changed]])
        return [*value[:place], *part, *value[place + 1 :]]
    nested = []
    for _ in range(random.choice([3, 40, 900])):
        nested = [nested]
    one = [None, True, [], {}, {"x": 1}, [1, "a"], nested, random.choice(WORDS), random.choice(NUMBERS)]
    return random.choice([*one, *WORDS[:4], *NUMBERS[:8]])


def some_json(random, content):
    """The text of a changed value of JSON, or changed text."""
    if random.random() < 0.3:
        return some_bytes(random, content)
    with np.errstate(all="ignore"):
        value = some_value(random, json.loads(content))
    return as_json(value)


def as_json(value):
    """The value as text; integers of thousands of digits, too, and lone surrogates."""
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return b"[" * 5000 + b"9" * 5000


def some_lines(random, content):
    """Text with lines removed, repeated, joined, or ended otherwise, or words replaced."""
    if random.random() < 0.4:
        return some_bytes(random, content)
    lines = content.split(b"\n")
    place = random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            del lines[place]
        case 1:
            lines[place:place] = [lines[place]] * random.choice([1, 1000])
        case 2:
            return random.choice([b"\r", b"\r\n", b"\x0b", b"\0", b"\xe2\x80\xa8"]).join(lines)
        case 3:
            lines[place] += random.choice(WORDS).encode("utf-8", "surrogatepass")
        case _:
            words = lines[place].split(b" ")
            others = [b"[" * 50, b"*a", b"&a [*a, *a]", b"!!python/object/apply:os.system", b"<<: {a: 1}", b"1e999"]
            others += [str(random.choice(NUMBERS[:15])).encode(), b"9" * 5000]
            others += [word.encode("utf-8", "surrogatepass") for word in WORDS]
            words[random.randrange(len(words))] = random.choice(others)
            lines[place] = b" ".join(words)
    return b"\n".join(lines)


def some_npy(random, content):
    """An npy file with another header over the same numbers, or changed bytes."""
    if random.random() < 0.5:
        return some_bytes(random, content)
    descr = ["<u2", "<f4", "|O", ">u2", "<f2", "|u1", "<i8", "<U9", "|V2", "|b1", "<M8[s]", "<c8", [("label", "<u2")]]
    descr += [[("label", "<u2"), ("grid", "<u2", (2, 2**40))], [("label", "<u2"), ("grid", "|O", (2, 3))], "x" * 3000]
    shapes = [(), (0,), (2, 3), (2**40, 2**40), (-1,), (3, 2, 2), (1,) * 40, (0, 2**62), (4,), (True,), "x"]
    shape = random.choice(shapes)
    order = random.choice([False, True, 0, None])
    header = repr({"descr": random.choice(descr), "fortran_order": order, "shape": shape})
    header = random.choice([header, header[:-1], "(" * 300, header.replace("}", ", 'more': 1}"), "__import__('os')"])
    version = random.choice([b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"])
    length = struct.pack("<H" if version[0] == 1 else "<I", len(header) + random.choice([0, 0, 0, 9000]))
    return b"\x93NUMPY" + version + length + header.encode() + content[-random.randrange(1, 200) :]


def some_tar(random, content):
    """A tar with members of other names, kinds, sizes and contents, with extended headers, and right checksums."""
    if random.random() < 0.25:
        return some_bytes(random, content)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    place = random.randrange(len(members))
    chosen, inside = members[place]
    how, written = random.randrange(9), io.BytesIO()
    if how == 0:
        del members[place]
    elif how == 1:
        members.insert(random.randrange(len(members)), members[place])
    elif how == 2:
        random.shuffle(members)
    elif how <= 5:
        change = some_npy if chosen.name.endswith(".npy") else some_json if chosen.name.endswith("json") else some_bytes
        members[place] = chosen, change(random, inside)
    for member, part in members:
        header = tarfile.TarInfo(member.name)
        header.size = len(part)
        if member is chosen and how == 6:
            names = ["a" * 99 + ".cls", f"{member.name}.x", "0.png", ".cls", f"d/{member.name}"]
            header.name = random.choice([*WORDS[1:10], *names])
        if member is chosen and how == 7:
            header.type = random.choice([b"1", b"2", b"3", b"5", b"6", b"7", b"S", b"x", b"L", b"g", b"K"])
        if member is chosen and how == 8:
            keys = {"path": random.choice(WORDS[:9]), "size": "9", "GNU.sparse.size": "1", "mtime": "nan"}
            keys["x" * 900] = "y"
            header.pax_headers = dict([random.choice(list(keys.items()))])
        block = header.tobuf(random.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), "utf-8", "surrogateescape")
        if member is chosen and how == 7:
            block = _with_size(random, block)
        written.write(block + part + bytes(-len(part) % 512))
    return written.getvalue() + bytes(1024 if random.random() < 0.9 else 0)


def _with_size(random, block):
    """A header with another size, and its checksum."""
    sizes = [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-0000000001\0", b"00000000000\0", b"9" * 12]
    head = bytearray(block[-512:])
    head[124:136] = random.choice(sizes)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return block[:-512] + bytes(head)


def some_png(random, content):
    """A PNG with chunks removed, repeated, moved or changed, their checksums right."""
    if random.random() < 0.3:
        return some_bytes(random, content)
    chunks, place = [], 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    place = random.randrange(len(chunks))
    kind, part = chunks[place]
    match random.randrange(6):
        case 0:
            del chunks[place]
        case 1:
            chunks += [chunks[place]] * random.choice([1, 200])
        case 2:
            random.shuffle(chunks)
        case 3:
            names = [b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"acTL", b"tRNS", b"PLTE", b"gAMA", b"\xff" * 4, b"IDAT"]
            large = zlib.compress(bytes(1 << 22))
            noise = random.choice([large, random.randbytes(40), b"", b"a\0\0" + large])
            chunks.insert(random.randrange(1, len(chunks) + 1), (random.choice(names), noise))
        case 4 if kind == b"IDAT":
            chunks[place] = kind, zlib.compress(some_bytes(random, zlib.decompress(part)))
        case _:
            chunks[place] = kind, some_bytes(random, part)
    body = (len(p).to_bytes(4) + k + p + zlib.crc32(k + p).to_bytes(4) for k, p in chunks)
    return content[:8] + b"".join(body)


def some_zip(random, content):
    """A zip with members removed, renamed, compressed or changed, their checksums right."""
    if random.random() < 0.3:
        return some_bytes(random, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    place = 0 if random.random() < 0.6 else random.randrange(len(members))  # the pickle is the first
    name, part = members[place]
    match random.randrange(6):
        case 0:
            del members[place]
        case 1:
            members[place] = random.choice(["x", "../x", "x/data.pkl", "a/data/0"]), part
        case _:
            members[place] = name, some_pickle(random, part) if name.endswith(".pkl") else some_bytes(random, part)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", random.choice([zipfile.ZIP_STORED] * 5 + [zipfile.ZIP_DEFLATED])) as archive:
        for name, part in members:
            archive.writestr(name, part)
    return written.getvalue()


def some_pickle(random, content):
    """A pickle with opcodes that build much, name modules, or nest deeply, put into it."""
    if random.random() < 0.4:
        return some_bytes(random, content)
    bombs = [b"(" * 3000, b"]" * 3000 + b"a" * 2999, b"\x8a\xff" + b"\x7f" * 255, b"(l" + b"2" * 200 + b"l" * 3]
    bombs += [f"c{CANARY}\nThing\n".encode() + b"(tR", f"\x8c\x0b{CANARY}\x8c\x05Thing\x93".encode("latin1") + b")R"]
    bombs += [b"r\xff\xff\xff\x7f", b"K\x00\x85" * 100 + b"0", b"I" + b"9" * 6000 + b"\n", b")" + b"\x85" * 2000 + b"0"]
    bombs += [b"\x96" + b"\xff" * 7 + b"\x7f", b"\x8d" + b"\xff" * 8, b"V\\ud800\n0", b"}\x94]" + b"h\x00a" * 9]
    bombs += [b"\x95\xff\xff\xff\xff\xff\xff\xff\xff", b"N" * 2000, b"0", b".", b"\x82\x01", b"P1\n", b"\x97\x98"]
    place = random.randrange(2, len(content))
    return content[:place] + random.choice(bombs) + content[place + random.choice([0, 0, 1, 4]) :]


def some_safetensors(random, content):
    """A safetensors file with a changed header, which its length fits."""
    if random.random() < 0.3:
        return some_bytes(random, content)
    length = int.from_bytes(content[:8], "little")
    header = some_json(random, content[8 : 8 + length])
    if random.random() < 0.4:
        header = _with_metadata(random, content[8 : 8 + length])
    header += b" " * (-len(header) % 8)
    data = content[8 + length :]
    if random.random() < 0.2:
        size = random.choice([2, 4])
        extreme = random.choice([b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f"])
        data = extreme[-size:] * (len(data) // size)
    return len(header).to_bytes(8, "little") + header + data


def _with_metadata(random, header):
    """A header with changed text in its metadata, which is often JSON itself."""
    value = json.loads(header)
    stated = value.get("__metadata__") or {"x": "{}"}
    name = random.choice(list(stated))
    try:
        changed = as_json(some_value(random, json.loads(stated[name]))).decode("utf-8", "replace")
    except ValueError:
        changed = random.choice([*WORDS[:9], WORDS[-1], stated[name] + "x"])
    return as_json(value | {"__metadata__": stated | {name: changed}})
