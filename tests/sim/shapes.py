"""The tree as data: which directory of which release holds which files (sysfs-abi, §2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto

from tests.sim import versions
from tests.sim.versions import Version, known


class Kind(Enum):
    """How a file parses what is written to it."""

    ULONG = auto()
    UINT = auto()
    INT = auto()
    BOOL = auto()
    WORD = auto()
    PATH = auto()
    COUNT = auto()
    STATE = auto()
    STATUS = auto()


@dataclass(frozen=True, slots=True)
class FileShape:
    """One file. `words`: accepted keywords, or for a boolean the accepted first letters (yes, no).

    `limit`: largest accepted count; `plain_einval`: ERANGE is reported as EINVAL.
    """

    name: str
    kind: Kind
    default: str = "0"
    words: tuple[str, ...] = ()
    least: int = 0
    limit: int | None = None
    plain_einval: bool = False
    children: Shape | None = None

    @property
    def writable(self) -> bool:
        """Whether the mode has a write bit."""
        return self.kind is not Kind.STATUS

    @property
    def mode(self) -> str:
        """Permission bits as four octal digits."""
        return "0600" if self.writable else "0400"


@dataclass(frozen=True, slots=True)
class Shape:
    """One directory: its files and its fixed subdirectories, by name."""

    files: dict[str, FileShape] = field(default_factory=dict)
    dirs: dict[str, Shape] = field(default_factory=dict)


Since = tuple[Version, FileShape]


def _file(name: str, kind: Kind, since: Version, default: str = "0") -> Since:
    return since, FileShape(name, kind, default)


def _ulongs(since: Version, *names: str) -> list[Since]:
    return [_file(name, Kind.ULONG, since) for name in names]


def _strict(since: Version, *names: str, kind: Kind = Kind.ULONG) -> list[Since]:
    return [(since, FileShape(name, kind, plain_einval=True)) for name in names]


def _uints(since: Version, *names: str) -> list[Since]:
    return [_file(name, Kind.UINT, since) for name in names]


def _statuses(since: Version, *names: str) -> list[Since]:
    return [_file(name, Kind.STATUS, since) for name in names]


def _word(name: str, since: Version, accepted: tuple[str, ...], default: str) -> Since:
    return since, FileShape(name, Kind.WORD, default, accepted)


def _count(name: str, since: Version, children: Shape, limit: int | None = None) -> Since:
    return since, FileShape(name, Kind.COUNT, "0", limit=limit, children=children)


def spelled(shape: FileShape, version: Version) -> FileShape:
    """`shape` with the spellings of booleans that `version` knows."""
    if shape.kind is not Kind.BOOL:
        return shape
    return replace(shape, words=versions.boolean_letters(version))


def _shape(version: Version, files: list[Since], **dirs: tuple[Version, Shape]) -> Shape:
    return Shape(
        {shape.name: spelled(shape, version) for since, shape in files if since <= version},
        {name: shape for name, (since, shape) in dirs.items() if since <= version},
    )


BASE: Version = (5, 18)


def _probe(version: Version) -> Shape:
    types = known(versions.PROBE_FILTERS, version)
    filters = _shape(
        version,
        [
            _word("type", (7, 2), types, "anon"),
            _file("matching", Kind.BOOL, (7, 2), "N"),
            _file("allow", Kind.BOOL, (7, 2), "N"),
            _file("path", Kind.PATH, (7, 2), ""),
        ],
    )
    holder = _shape(version, [_count("nr_filters", (7, 2), filters)])
    return _shape(version, _uints((7, 3), "weight"), filters=((7, 2), holder))


def _attrs(version: Version) -> Shape:
    goal = _shape(version, _ulongs((6, 15), "access_bp", "aggrs", "min_sample_us", "max_sample_us"))
    intervals = _shape(
        version,
        [
            _file("sample_us", Kind.ULONG, BASE, "5000"),
            _file("aggr_us", Kind.ULONG, BASE, "100000"),
            _file("update_us", Kind.ULONG, BASE, "60000000"),
        ],
        intervals_goal=((6, 15), goal),
    )
    counts = _shape(
        version,
        [_file("min", Kind.ULONG, BASE, "10"), _file("max", Kind.ULONG, BASE, "1000")],
    )
    probes = _shape(version, [_count("nr_probes", (7, 2), _probe(version), limit=4)])
    return _shape(
        version,
        [],
        intervals=(BASE, intervals),
        nr_regions=(BASE, counts),
        probes=((7, 2), probes),
    )


def _target(version: Version) -> Shape:
    region = _shape(version, _ulongs(BASE, "start", "end"))
    regions = _shape(version, [_count("nr_regions", BASE, region)])
    return _shape(
        version,
        [
            *_strict(BASE, "pid_target", kind=Kind.INT),
            _file("obsolete_target", Kind.BOOL, (6, 19), "N"),
        ],
        regions=(BASE, regions),
    )


def _filters(version: Version, since: Version, words: tuple[str, ...]) -> tuple[Version, Shape]:
    one = _shape(
        version,
        [
            _word("type", (6, 3), words, "anon"),
            _file("matching", Kind.BOOL, (6, 3), "N"),
            _file("allow", Kind.BOOL, (6, 14), "N"),
            _file("memcg_path", Kind.PATH, (6, 3), ""),
            *_ulongs((6, 6), "addr_start", "addr_end"),
            _file("damon_target_idx", Kind.INT, (6, 6)),
            *_ulongs((6, 15), "min", "max"),
        ],
    )
    return since, _shape(version, [_count("nr_filters", (6, 3), one)])


def _quotas(version: Version) -> Shape:
    goal = _shape(
        version,
        [
            _word("target_metric", (6, 9), known(versions.GOAL_METRICS, version), "user_input"),
            *_ulongs((6, 8), "target_value", "current_value"),
            _file("nid", Kind.INT, (6, 16)),
            _file("path", Kind.PATH, (6, 19), ""),
        ],
    )
    weights = _uints(BASE, "sz_permil", "nr_accesses_permil", "age_permil")
    return _shape(
        version,
        [
            *_strict(BASE, "ms", "bytes", "reset_interval_ms"),
            *_statuses((6, 9), "effective_bytes"),
            _word("goal_tuner", (7, 1), known(versions.TUNERS, version), "consist"),
            *_strict((7, 2), "fail_charge_num", "fail_charge_denom", kind=Kind.UINT),
        ],
        weights=(BASE, _shape(version, weights)),
        goals=((6, 8), _shape(version, [_count("nr_goals", (6, 8), goal)])),
    )


def _scheme(version: Version) -> Shape:
    bounds = _shape(version, _ulongs(BASE, "min", "max"))
    pattern = _shape(version, [], sz=(BASE, bounds), nr_accesses=(BASE, bounds), age=(BASE, bounds))
    metric = _word("metric", BASE, known(versions.WATERMARKS, version), "none")
    marks = [metric, *_ulongs(BASE, "interval_us", "high", "mid", "low")]
    stats = [
        *_statuses(BASE, "nr_tried", "sz_tried", "nr_applied", "sz_applied", "qt_exceeds"),
        *_statuses((6, 14), "sz_ops_filter_passed"),
        *_statuses((7, 0), "nr_snapshots"),
        *_ulongs((7, 0), "max_nr_snapshots"),
    ]
    dest = _shape(version, _uints((6, 17), "id", "weight"))
    core = known(versions.CORE_FILTERS, version)
    ops = known(versions.OPS_FILTERS, version)
    return _shape(
        version,
        [
            _word("action", BASE, known(versions.ACTIONS, version), "stat"),
            _file("target_nid", Kind.INT, (6, 11), "-1"),
            *_ulongs((6, 7), "apply_interval_us"),
        ],
        access_pattern=(BASE, pattern),
        quotas=(BASE, _quotas(version)),
        watermarks=(BASE, _shape(version, marks)),
        filters=_filters(version, (6, 3), core + ops),
        core_filters=_filters(version, (6, 15), core),
        ops_filters=_filters(version, (6, 15), ops),
        dests=((6, 17), _shape(version, [_count("nr_dests", (6, 17), dest)])),
        stats=(BASE, _shape(version, stats)),
        tried_regions=((6, 2), _shape(version, _statuses((6, 6), "total_bytes"))),
    )


def tried_region(version: Version, probes: int = 0) -> Shape:
    """The directory of one tried region."""
    hits = {str(i): _shape(version, _statuses((7, 2), "hits")) for i in range(probes)}
    return _shape(
        version,
        [
            *_statuses((6, 2), "start", "end", "nr_accesses", "age"),
            *_statuses((6, 14), "sz_filter_passed"),
        ],
        probes=((7, 2), Shape(dirs=hits)),
    )


def _context(version: Version, registered: tuple[str, ...]) -> Shape:
    available = "\n".join(w for w in known(versions.OPERATIONS, version) if w in registered)
    targets = _shape(version, [_count("nr_targets", BASE, _target(version))])
    schemes = _shape(version, [_count("nr_schemes", BASE, _scheme(version))])
    return _shape(
        version,
        [
            _file("avail_operations", Kind.STATUS, (5, 19), available),
            _word("operations", BASE, known(versions.OPERATIONS, version), "vaddr"),
            ((6, 18), FileShape("addr_unit", Kind.ULONG, "1", least=1)),
            _file("pause", Kind.BOOL, (7, 2), "N"),
        ],
        monitoring_attrs=(BASE, _attrs(version)),
        targets=(BASE, targets),
        schemes=(BASE, schemes),
    )


def admin(version: Version, registered: tuple[str, ...]) -> Shape:
    """The shape of the `admin` directory; `registered`: operation sets built into the kernel."""
    context = _context(version, registered)
    kdamond = _shape(
        version,
        [
            _file("state", Kind.STATE, BASE, "off"),
            _file("pid", Kind.STATUS, BASE, "-1"),
            *_uints((6, 17), "refresh_ms"),
        ],
        contexts=(BASE, _shape(version, [_count("nr_contexts", BASE, context, limit=1)])),
    )
    kdamonds = _shape(version, [_count("nr_kdamonds", BASE, kdamond)])
    return Shape(dirs={"kdamonds": kdamonds})
