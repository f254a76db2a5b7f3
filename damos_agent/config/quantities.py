"""Field types of the policy language: quantities, names, paths, addresses.

Each reads one YAML scalar into base units and says in JSON Schema what it accepts. A fault is a
`PydanticCustomError` whose type is the finding code, so `translate` needs no guessing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, NoReturn

from pydantic import BeforeValidator, Field, StrictInt, StrictStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from damos_agent.model.errors import UnitError
from damos_agent.model.units import (
    MAX,
    U32_MAX,
    format_share,
    parse_duration_us,
    parse_share_bp,
    parse_size_bytes,
)

_LONGEST: Final = 64
_NUMBER: Final = r"[0-9]+(\.[0-9]+)?"
_TIME: Final = rf"{_NUMBER} ?(us|ms|s|m|min|h|d)"
_SIZE: Final = rf"{_NUMBER} ?(B|KiB|MiB|GiB|TiB)"
_SHARE: Final = rf"{_NUMBER} ?%"
_HEX: Final = r"0[xX][0-9a-fA-F]{1,16}"
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_UNIT_NAME: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,240}\.(service|slice|scope)")
_UID_MAX: Final = U32_MAX - 1  # (uid_t)-1 means "no user", include/linux/uidgid.h
_CONTAINER: Final = re.compile(r"[0-9a-f]{6,64}")


def fail(code: str, message: str, hint: str = "") -> NoReturn:
    """Refuse the value with finding `code`."""
    # Messages quote the user's text, which may hold braces: pass it as context, not template.
    context = {"message": message, "hint": hint}
    raise PydanticCustomError(code, "{message}", context)


def text_of(value: object, what: str, example: str) -> str:
    """The scalar as text; a bare number is text without a unit. DA024/DA026 otherwise."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        fail("DA024", f"expected a {what}, found {kind_of(value)}", f"write it like {example}")
    text = str(value)
    if len(text) > _LONGEST:
        fail("DA026", f"{text[:20]}... is not a {what}", f"write it like {example}")
    return text


def kind_of(value: object) -> str:
    """What a YAML value is, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "a number" if isinstance(value, int) else "text"


def _reader(
    parse: Callable[[str], int], what: str, example: str, *, bound: bool = False
) -> Callable[[Any], int | None]:
    def read(value: Any) -> int | None:
        if value is None:  # only ever a default: null in a file is a finding of its own
            return None
        text = text_of(value, what, example)
        if text == MAX:
            if bound:
                return None
            fail("DA026", f"`max` is no {what} here", f"write it like {example}")
        return _parsed(parse, text)

    return read


def _parsed(parse: Callable[[str], int], text: str) -> int:
    try:
        return parse(text)
    except UnitError as error:
        fail("DA026", error.message, error.hint or "")


def parse_rate_bp(text: str) -> int:
    """`0.2%/min` → 20 basis points per minute."""
    share, slash, per = text.partition("/")
    if not slash or per.strip() not in ("min", "m"):
        raise UnitError(f"{text!r} is not a rate", hint="write it like 0.2%/min")
    return parse_share_bp(share, most_percent=None)


def parse_address(text: str) -> int:
    """A physical or virtual address: `0x100000000` (quoted) or a size such as `4GiB`."""
    if re.fullmatch(_HEX, text):
        return int(text, 16)
    return parse_size_bytes(text)


def _schema(pattern: str, examples: list[str], *, bound: bool = False) -> WithJsonSchema:
    body = f"^({pattern}|max)$" if bound else f"^{pattern}$"
    schema = {"type": "string", "pattern": body, "examples": examples, "maxLength": _LONGEST}
    return WithJsonSchema(schema)


def _quantity(parse: Callable[[str], int], what: str, example: str) -> BeforeValidator:
    return BeforeValidator(_reader(parse, what, example))


def _bound(parse: Callable[[str], int], what: str, example: str) -> BeforeValidator:
    return BeforeValidator(_reader(parse, what, example, bound=True))


_read_share: Final = _reader(parse_share_bp, "percentage", "5%")


def _permil(value: Any) -> int | None:
    share = _read_share(value)
    if share is not None and share % 10:
        rounded = format_share(share // 10 * 10)
        fail("DA071", f"{value!r} is finer than 0.1%", f"write {rounded}")
    return share


def _cap(read: Callable[[Any], int | None]) -> BeforeValidator:
    def positive(value: Any) -> int | None:
        cap = read(value)
        if cap == 0:
            fail("DA051", "zero would mean no limit", "give a limit, or remove the key")
        return cap

    return BeforeValidator(positive)


Duration = Annotated[
    int, _quantity(parse_duration_us, "duration", "100ms"), _schema(_TIME, ["100ms", "5s", "2m"])
]
DurationBound = Annotated[
    int | None,
    _bound(parse_duration_us, "duration", "2m"),
    _schema(_TIME, ["2m", "max"], bound=True),
]
Size = Annotated[
    int, _quantity(parse_size_bytes, "size", "100MiB"), _schema(_SIZE, ["4KiB", "1GiB"])
]
SizeBound = Annotated[
    int | None,
    _bound(parse_size_bytes, "size", "1GiB"),
    _schema(_SIZE, ["1GiB", "max"], bound=True),
]
Share = Annotated[
    int, _quantity(parse_share_bp, "percentage", "5%"), _schema(_SHARE, ["0%", "2.5%"])
]
ShareBound = Annotated[
    int | None,
    _bound(parse_share_bp, "percentage", "5%"),
    _schema(_SHARE, ["5%", "max"], bound=True),
]
Permil = Annotated[int, BeforeValidator(_permil), _schema(r"[0-9]+(\.[0-9])? ?%", ["50%", "2.5%"])]
RatePerMinute = Annotated[
    int, _quantity(parse_rate_bp, "rate", "0.2%/min"), _schema(rf"{_SHARE}/(m|min)", ["0.2%/min"])
]
RateBound = Annotated[
    int | None,
    _bound(parse_rate_bp, "rate", "0.2%/min"),
    _schema(rf"{_SHARE}/(m|min)", ["0.2%/min", "max"], bound=True),
]
Address = Annotated[
    int,
    _quantity(parse_address, "address", "'0x100000000' or 4GiB"),
    _schema(rf"({_HEX}|{_SIZE})", ["0x100000000", "4GiB"]),
]
TimeCap = Annotated[
    int, _cap(_reader(parse_duration_us, "duration", "100ms")), _schema(_TIME, ["10ms", "1s"])
]
SizeCap = Annotated[
    int, _cap(_reader(parse_size_bytes, "size", "100MiB")), _schema(_SIZE, ["100MiB", "1GiB"])
]
U32 = Annotated[StrictInt, Field(ge=0, le=U32_MAX)]
Node = Annotated[StrictInt, Field(ge=0, le=1023)]
Pid = Annotated[StrictInt, Field(ge=1, le=4_194_304)]


def _checked(check: Callable[[str], str], schema: dict[str, Any]) -> Any:
    def read(value: Any) -> Any:
        return check(value) if isinstance(value, str) else value

    return Annotated[StrictStr, BeforeValidator(read), WithJsonSchema({"type": "string"} | schema)]


def _name(text: str) -> str:
    if not _DNS_LABEL.fullmatch(text):
        suggestion = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63]
        hint = f"write {suggestion}" if suggestion else "write something like proactive-reclaim"
        fail("DA028", f"{text[:70]!r} is not a valid name", hint)
    return text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        fail("DA030", f"{text[:70]!r} is not a regular expression: {error}", "quote it in '...'")
    return text


def _cgroup(text: str) -> str:
    if not text.startswith("/"):
        fail("DA031", f"cgroup path {text[:70]!r} is not absolute", f"write /{text[:70]}")
    if text.startswith("/sys/fs/cgroup"):
        rest = text.removeprefix("/sys/fs/cgroup") or "/"
        fail("DA031", "cgroup paths start at the root of the hierarchy", f"write {rest[:70]}")
    if text != "/" and text.endswith("/"):
        fail(
            "DA031", f"cgroup path {text[:70]!r} ends in a slash", f"write {text[:70].rstrip('/')}"
        )
    if ".." in text.split("/") or "//" in text or "\n" in text:
        fail("DA031", f"cgroup path {text[:70]!r} is not in its plain form")
    return text


def _file_path(text: str) -> str:
    if not text.startswith("/") or text.endswith("/") or "\n" in text:
        fail("DA031", f"{text[:70]!r} is not an absolute file path")
    return text


def _unit(text: str) -> str:
    if not _UNIT_NAME.fullmatch(text):
        hint = f"write {text[:70]}.service" if "." not in text else "see systemctl list-units"
        fail("DA032", f"{text[:70]!r} is not a service, slice or scope", hint)
    return text


def _container(text: str) -> str:
    if not _CONTAINER.fullmatch(text):
        hint = "give 6 to 64 of the lower-case hexadecimal digits"
        fail("DA032", f"{text[:70]!r} is not the start of a container id", hint)
    return text


def _executable(text: str) -> str:
    if not text or ("/" in text and not text.startswith("/")) or text.endswith("/"):
        fail("DA032", f"{text[:70]!r} is neither a base name nor an absolute path")
    return text


def _user(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        _check_uid(int(value[:20]))
    elif isinstance(value, int) and not isinstance(value, bool):
        _check_uid(value)
        return str(value)
    elif isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?", value):
        fail("DA032", f"{value[:70]!r} is neither a login name nor a numeric user id")
    return value


def _check_uid(number: int) -> None:
    if not 0 <= number <= _UID_MAX:
        fail("DA027", f"no user has the id {number}", f"ids are 0 to {_UID_MAX}")


Name = _checked(_name, {"pattern": f"^{_DNS_LABEL.pattern}$"})
Regex = _checked(_regex, {"format": "regex", "minLength": 1})
CgroupPath = _checked(_cgroup, {"pattern": "^/", "examples": ["/system.slice/x.service"]})
FilePath = _checked(_file_path, {"pattern": "^/.*[^/]$"})
UnitName = _checked(_unit, {"pattern": r"\.(service|slice|scope)$"})
ContainerId = _checked(_container, {"pattern": f"^{_CONTAINER.pattern}$"})
Executable = _checked(_executable, {"minLength": 1})
_UID_SCHEMA: Final = {"type": ["string", "integer"], "minimum": 0, "maximum": _UID_MAX}
User = Annotated[StrictStr, BeforeValidator(_user), WithJsonSchema(_UID_SCHEMA)]
