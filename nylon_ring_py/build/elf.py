"""Puts a payload into the stub: a segment and a section of its own, as a linker would have laid them out.

The stub carries one spare program header, a PT_NOTE over `.note.nylon`. It becomes the PT_LOAD that maps the
payload, so the program headers keep their place and size. The payload's section follows the last allocated one,
in the file and in the table, which is the order every strip tool keeps.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from nylon_ring_py.build.errors import BuildError

__all__ = ["ElfImage", "Section", "Segment", "add_payload", "extract_payload", "payload_place"]

PAGE = 4096
PAYLOAD_SECTION = ".nylon.payload"
REF_SECTION = ".nylon.ref"
NOTE_SECTION = ".note.nylon"
REF_MAGIC = b"nylon.payload.v1"

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_REF = struct.Struct("<16sQQ")

_PT_LOAD, _PT_NOTE, _PF_R = 1, 4, 4
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS, _SHT_REL = 1, 2, 4, 8, 9
_SHF_ALLOC, _SHF_INFO_LINK = 0x2, 0x40
_SHN_LORESERVE = 0xFF00
_LITTLE_ENDIAN_ELF64 = b"\x7fELF\x02\x01"


@dataclass(frozen=True)
class Segment:
    """One program header, field by field as in the file."""

    type: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    align: int


@dataclass(frozen=True)
class Section:
    """One section header, field by field as in the file, and its name."""

    name_offset: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int
    name: str = ""


class ElfImage:
    """A parsed 64-bit little-endian ELF file.

    Args:
        data: the whole file.

    Raises:
        BuildError: the bytes are no such file, or its tables lie outside it.
    """

    def __init__(self, data: bytes) -> None:
        if data[:6] != _LITTLE_ENDIAN_ELF64 or len(data) < _EHDR.size:
            raise BuildError("not a 64-bit little-endian ELF file")
        self.data = data
        self.header = _EHDR.unpack_from(data)
        self.program_offset, self.section_offset = self.header[5], self.header[6]
        program_count, section_count, self.names_index = self.header[10], self.header[12], self.header[13]
        try:
            self.segments = [
                Segment(*_PHDR.unpack_from(data, self.program_offset + i * _PHDR.size)) for i in range(program_count)
            ]
            raw = [
                Section(*_SHDR.unpack_from(data, self.section_offset + i * _SHDR.size)) for i in range(section_count)
            ]
        except struct.error:
            raise BuildError("its program or section headers lie outside the file: it is truncated") from None
        if self.names_index >= len(raw):
            raise BuildError("it has no section names: section headers were stripped")
        names = self.content(raw[self.names_index])
        self.sections = [replace(s, name=_name_at(names, s.name_offset)) for s in raw]

    def content(self, section: Section) -> bytes:
        """Returns the bytes of a section in the file; none for a section without content such as .bss."""
        if section.type in (0, _SHT_NOBITS):
            return b""
        found = self.data[section.offset : section.offset + section.size]
        if len(found) != section.size:
            raise BuildError(f"section {section.name or '?'} lies outside the file: it is truncated")
        return found

    def find(self, name: str) -> Section | None:
        """Returns the section of that name, or None."""
        return next((s for s in self.sections if s.name == name), None)

    def offset_of(self, address: int, size: int) -> int:
        """Returns where in the file the `size` bytes are that the loader maps at the ELF address `address`.

        Raises:
            BuildError: no segment maps all of them from the file.
        """
        for segment in self.segments:
            start = address - segment.address
            mapped = segment.type == _PT_LOAD and 0 <= start <= segment.file_size - size
            if mapped and segment.offset + start + size <= len(self.data):
                return segment.offset + start
        raise BuildError(f"no segment maps {size} bytes at address {address:#x}: the file is truncated or damaged")


def add_payload(stub: bytes, payload: bytes) -> bytes:
    """Returns the stub's image with the payload mapped, named by a section and referred to by `.nylon.ref`.

    Args:
        stub: the prebuilt stub, without payload.
        payload: what to map; not empty.

    Raises:
        BuildError: the file is not a stub, or has a payload already.
    """
    image = ElfImage(stub)
    ref = _empty_ref(image)
    note = _spare_note(image)
    segments = [s for s in image.segments if s is not note]
    loads = [s for s in segments if s.type == _PT_LOAD]
    alloc_end = max(s.offset + s.file_size for s in loads)
    address = _align(max(s.address + s.memory_size for s in loads), PAGE)

    out = bytearray(stub[:alloc_end])
    _pad(out, PAGE)
    offset = len(out)
    segment = Segment(_PT_LOAD, _PF_R, offset, address, address, len(payload), len(payload), PAGE)
    # The loader wants PT_LOAD entries in ascending order of address.
    segments.insert(segments.index(loads[-1]) + 1, segment)
    out += payload

    names = image.content(image.sections[image.names_index]) + PAYLOAD_SECTION.encode() + b"\0"
    name_offset = len(names) - len(PAYLOAD_SECTION) - 1
    section = Section(name_offset, _SHT_PROGBITS, _SHF_ALLOC, address, offset, len(payload), 0, 0, 1, 0)
    at = 1 + max(i for i, s in enumerate(image.sections) if s.flags & _SHF_ALLOC)
    moved = _move_unmapped_sections(image, out, names, at)
    sections = [_renumbered(s, at) for s in moved[:at]] + [section] + [_renumbered(s, at) for s in moved[at:]]

    _pad(out, 8)
    table = len(out)
    for entry in sections:
        out += _SHDR.pack(*_fields(entry))
    for i, load in enumerate(segments):
        _PHDR.pack_into(out, image.program_offset + i * _PHDR.size, *_fields(load))
    names_index = image.names_index + (image.names_index >= at)
    _EHDR.pack_into(out, 0, *image.header[:6], table, *image.header[7:12], len(sections), names_index)
    _REF.pack_into(out, ref.offset, REF_MAGIC, address, len(payload))
    return bytes(out)


def extract_payload(data: bytes) -> bytes:
    """Returns the payload's bytes from a built plugin.

    Args:
        data: the whole plugin file.

    Raises:
        BuildError: the file is no plugin of ours, or a bare stub.
    """
    offset, size = payload_place(data)
    return data[offset : offset + size]


def payload_place(data: bytes) -> tuple[int, int]:
    """Returns where in a built plugin file its payload begins, and how many bytes it has.

    Args:
        data: the whole plugin file.

    Raises:
        BuildError: the file is no plugin of ours, or a bare stub.
    """
    image = ElfImage(data)
    section = image.find(REF_SECTION)
    if section is None or section.size < _REF.size:
        raise BuildError(f"it has no section {REF_SECTION}: not a nylon-ring plugin in Python")
    magic, address, size = _REF.unpack_from(image.content(section))
    if magic != REF_MAGIC:
        raise BuildError(f"its section {REF_SECTION} is damaged")
    if address == 0:
        raise BuildError("it is the bare stub and holds no plugin")
    return image.offset_of(address, size), size


def _empty_ref(image: ElfImage) -> Section:
    section = image.find(REF_SECTION)
    if section is None or section.size < _REF.size:
        raise BuildError(f"it has no section {REF_SECTION}: not the stub of nylon-ring for Python")
    magic, address, size = _REF.unpack_from(image.content(section))
    if magic != REF_MAGIC:
        raise BuildError(f"section {REF_SECTION} does not start with {REF_MAGIC.decode()!r}: a stub of another version")
    if address or size or image.find(PAYLOAD_SECTION):
        raise BuildError("it has a payload already: start from the bare stub")
    return section


def _spare_note(image: ElfImage) -> Segment:
    section = image.find(NOTE_SECTION)
    notes = [s for s in image.segments if s.type == _PT_NOTE]
    if section is None or len(notes) != 1 or notes[0].offset != section.offset:
        raise BuildError(
            f"it has {len(notes)} note segments where one, over {NOTE_SECTION}, is expected: compile the stub with "
            "--build-id=none, -fcf-protection=none and -Wa,-mx86-used-note=no"
        )
    return notes[0]


def _move_unmapped_sections(image: ElfImage, out: bytearray, names: bytes, at: int) -> list[Section]:
    """Appends to `out`, in file order, what no segment maps; returns all sections with their new places."""
    moved = list(image.sections)
    unmapped = [i for i, s in enumerate(moved) if s.type != 0 and not s.flags & _SHF_ALLOC]
    for i in sorted(unmapped, key=lambda i: moved[i].offset):
        section = moved[i]
        content = names if i == image.names_index else image.content(section)
        if section.type == _SHT_SYMTAB:
            content = _renumbered_symbols(content, at)
        _pad(out, section.align or 1)
        moved[i] = replace(section, offset=len(out), size=section.size if section.type == _SHT_NOBITS else len(content))
        out += content
    return moved


def _renumbered(section: Section, at: int) -> Section:
    """Returns the header with its references to sections `at` and above moved up by one."""
    info_is_section = section.flags & _SHF_INFO_LINK or section.type in (_SHT_REL, _SHT_RELA)
    return replace(
        section,
        link=section.link + (section.link >= at),
        info=section.info + 1 if info_is_section and section.info >= at else section.info,
    )


def _renumbered_symbols(table: bytes, at: int) -> bytes:
    out = bytearray(table)
    for offset in range(0, len(table), _SYMBOL.size):
        name, info, other, section, value, size = _SYMBOL.unpack_from(table, offset)
        if at <= section < _SHN_LORESERVE:
            _SYMBOL.pack_into(out, offset, name, info, other, section + 1, value, size)
    return bytes(out)


def _fields(entry: Segment | Section) -> tuple[int, ...]:
    if isinstance(entry, Segment):
        return (
            entry.type,
            entry.flags,
            entry.offset,
            entry.address,
            entry.physical,
            entry.file_size,
            entry.memory_size,
            entry.align,
        )
    return (
        entry.name_offset,
        entry.type,
        entry.flags,
        entry.address,
        entry.offset,
        entry.size,
        entry.link,
        entry.info,
        entry.align,
        entry.entry_size,
    )


def _name_at(names: bytes, offset: int) -> str:
    return names[offset : names.find(b"\0", offset)].decode("utf-8", "replace")


def _align(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


def _pad(out: bytearray, alignment: int) -> None:
    out += bytes(_align(len(out), alignment) - len(out))
