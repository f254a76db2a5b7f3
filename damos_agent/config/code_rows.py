"""The rows behind `codes.CODES`: code, severity, summary, why it matters, what to do."""

from __future__ import annotations

from typing import Final

Row = tuple[str, str, str, str, str]

YAML_CODES: Final[tuple[Row, ...]] = (
    (
        "DA001",
        "error",
        "The file cannot be read",
        "It is missing, a directory, a dangling link, not a regular file, or forbidden to us.",
        "Make it a regular file that root can read, or remove it.",
    ),
    (
        "DA002",
        "error",
        "The file is larger than 256 KiB",
        "Policies are a page long; a huge file is a mistake or an attack on the parser.",
        "Split it, or check that the right file was copied here.",
    ),
    (
        "DA003",
        "error",
        "The file is not plain UTF-8 text",
        "Invalid bytes, NUL and control characters have no place in a policy.",
        "Save the file as UTF-8.",
    ),
    (
        "DA004",
        "error",
        "The file is not YAML",
        "The parser could not make sense of it at the given place.",
        "Look at the line named and the one before: indentation, a colon, a quote or a bracket.",
    ),
    (
        "DA005",
        "error",
        "The file holds no document",
        "Only comments or separators were found. (A file of zero bytes masks, on purpose.)",
        "Write a policy, or make the file truly empty to mask lower ones of the same name.",
    ),
    (
        "DA006",
        "error",
        "The file holds more than one document",
        "One file is one policy, so that it can be overridden, masked and rejected alone.",
        "Put what follows `---` into a file of its own.",
    ),
    (
        "DA007",
        "error",
        "A key is given twice",
        "YAML parsers silently keep one of the two; which one is anybody's guess.",
        "Remove one of them.",
    ),
    (
        "DA008",
        "error",
        "Anchors and aliases are not accepted",
        "They can grow a small file to gigabytes, and hide what a policy says.",
        "Write the value out where it is used.",
    ),
    (
        "DA009",
        "error",
        "Tags are not accepted",
        "A tag such as `!!int` or `!Ref` changes the type of a value behind the reader's back.",
        "Remove the tag; quote the value if it must be text.",
    ),
    (
        "DA010",
        "error",
        "Nested too deeply or too many values",
        "No policy needs more than a dozen levels; such a file is broken or hostile.",
        "Check the indentation and brackets.",
    ),
    (
        "DA011",
        "error",
        "A key is not a word",
        "Keys must be text: numbers, lists, empty keys and YAML 1.1 booleans are not.",
        "Quote the key if it really is meant.",
    ),
    (
        "DA012",
        "error",
        "This value means different things to different YAML parsers",
        (
            "YAML 1.1 reads `on` as true, `010` as 8, `12:30` as 750 and `1_000` as 1000; YAML 1.2 "
            "does not."
        ),
        "Quote it if text is meant; write true, false or a plain decimal number otherwise.",
    ),
    (
        "DA013",
        "error",
        "The key has no value",
        "An empty value is null, and null could mean a default, zero or a forgotten edit.",
        "Give a value, write {} for an empty mapping, or remove the key.",
    ),
)

SHAPE_CODES: Final[tuple[Row, ...]] = (
    (
        "DA020",
        "error",
        "apiVersion is missing or unknown",
        "It says which version of the policy language the file is written in.",
        "Write apiVersion: damos-agent/v1.",
    ),
    (
        "DA021",
        "error",
        "kind is missing, unknown or in the wrong place",
        "policies.d holds documents of kind Policy, agent.yaml one of kind Agent.",
        "Write kind: Policy (or kind: Agent in agent.yaml).",
    ),
    (
        "DA022",
        "error",
        "Unknown key",
        "A misspelt key would otherwise be ignored, and with it a limit.",
        "Use one of the keys of docs/policy-reference.md.",
    ),
    (
        "DA023",
        "error",
        "A required key is missing",
        "There is no safe default for it.",
        "Add the key.",
    ),
    (
        "DA024",
        "error",
        "A value has the wrong type",
        "For example a list where a mapping belongs, or a number where text belongs.",
        "See docs/policy-reference.md for the type; quote numbers that are meant as text.",
    ),
    (
        "DA025",
        "error",
        "Unknown word",
        "The value must be one of a fixed set of words.",
        "Use one of the words named in the message.",
    ),
    (
        "DA026",
        "error",
        "A quantity cannot be read",
        "Times, sizes and shares need an unambiguous unit: 4K is 4000 to some and 4096 to others.",
        "Write 100ms, 5s, 2m, 1h; B, KiB, MiB, GiB, TiB; 5%; or max where no upper bound is meant.",
    ),
    (
        "DA027",
        "error",
        "A number is out of range",
        "The kernel would refuse it, or silently cut it to 32 bits.",
        "Use a number within the range named in the message.",
    ),
    (
        "DA028",
        "error",
        "A name is not a valid name",
        "metadata.name becomes a metric label and a key of the state file.",
        (
            "Use 1 to 63 lower-case letters, digits and dashes; the first and last must not be a "
            "dash."
        ),
    ),
    (
        "DA029",
        "error",
        "Exactly one of these keys must be given",
        "A target, a filter and a goal are each one thing, and which one must be clear.",
        "Keep one of the keys; use several policies or list items for several things.",
    ),
    (
        "DA030",
        "error",
        "The regular expression is not valid",
        "It is searched in the command line of every process.",
        "Correct the expression (Python's syntax); quote it in single quotes.",
    ),
    (
        "DA031",
        "error",
        "The path is not valid",
        (
            "Paths are absolute. Cgroup paths start at the root of the hierarchy, as in "
            "/proc/PID/cgroup, not at /sys/fs/cgroup, and have no trailing slash."
        ),
        "Write an absolute path such as /system.slice/x.service.",
    ),
    (
        "DA032",
        "error",
        "The identifier is not valid",
        (
            "Unit names end in .service, .slice or .scope; container ids are hexadecimal; "
            "executables are a base name or an absolute path."
        ),
        "Copy it from systemctl, the container runtime or /proc/PID/exe.",
    ),
    (
        "DA033",
        "error",
        "The list or mapping is empty",
        "It must name at least one thing to have any meaning.",
        "Add an item, or remove the key.",
    ),
)

SENSE_CODES: Final[tuple[Row, ...]] = (
    (
        "DA034",
        "error",
        "The monitor's budget is zero",
        "Without time to look, the agent's own monitor would never see anything.",
        "Write cpu: 1%, or leave it out.",
    ),
    (
        "DA035",
        "error",
        "User space cannot do this",
        (
            "The policy asks for backend userspace, and there is no system call by which one "
            "process could do this to another, or the probe it names does not tell what it takes."
        ),
        "Use backend: auto or kernel, or another action, filter, target or probe.",
    ),
    (
        "DA040",
        "error",
        "min is greater than max",
        "The kernel accepts such a range and then never matches anything.",
        "Swap the two.",
    ),
    (
        "DA041",
        "error",
        "The sampling interval is longer than the aggregation interval",
        "The kernel refuses it: every aggregation needs at least one sample.",
        "Lengthen aggregation_interval, or shorten sampling_interval.",
    ),
    (
        "DA042",
        "error",
        "Fewer than three regions",
        "The kernel refuses less than 3 (the areas around heap, mmap and stack).",
        "Write min_regions: 10, the kernel's default.",
    ),
    (
        "DA043",
        "warning",
        "More than 255 samples per aggregation",
        "It costs much CPU for precision nobody uses, and the kernel's 8-bit probe counters wrap.",
        "Lengthen sampling_interval, or shorten aggregation_interval.",
    ),
    (
        "DA044",
        "error",
        "The interval must not be zero",
        "Zero would make the kernel thread or the agent spin.",
        "Give a positive interval.",
    ),
    (
        "DA045",
        "error",
        "The intervals goal is inconsistent",
        (
            "The kernel refuses it unless min_sampling_interval <= sampling_interval <= "
            "max_sampling_interval, and ignores it with zero aggregations."
        ),
        "Bring sampling_interval within the bounds.",
    ),
    (
        "DA046",
        "error",
        "The pattern can never match",
        "After conversion to the kernel's counts (samples and aggregations) the range is empty.",
        "Widen the range, or lengthen the intervals so that it covers a whole count.",
    ),
    (
        "DA047",
        "error",
        "The pattern matches all memory, and the action hurts memory in use",
        "Paging out, deprioritising or demoting everything stalls the workload.",
        "Bound the pattern: access_rate with max 0% and age with a min, for example.",
    ),
    (
        "DA048",
        "warning",
        "The action has no quota",
        "Nothing limits how much is done at once, nor the CPU time spent on it.",
        "Add quota with time or size, and interval.",
    ),
    (
        "DA049",
        "error",
        "A goal without a cap",
        "The kernel's tuner grows the quota without bound while the goal is unmet.",
        "Add quota.size, quota.time or both.",
    ),
    (
        "DA050",
        "error",
        "The quota time is not whole milliseconds",
        "The kernel counts it in milliseconds; anything below 1 ms would become no limit at all.",
        "Write at least 1ms, without fractions.",
    ),
    (
        "DA051",
        "error",
        "The quota limits nothing",
        "To the kernel, zero means no limit.",
        "Give time, size or both a value greater than zero, or remove the quota.",
    ),
    (
        "DA052",
        "warning",
        "The quota time is not shorter than its interval",
        "A single kernel thread cannot spend more time than passes, so this limits nothing.",
        "Shorten time, or lengthen interval.",
    ),
    (
        "DA053",
        "warning",
        "All weights are zero",
        "Without weights nothing is prioritised: memory is worked on in address order.",
        "Set access_rate or age (their ratio matters), or remove weights.",
    ),
    (
        "DA054",
        "error",
        "The quota interval is zero or not whole milliseconds",
        "The kernel counts it in milliseconds; with zero every application is a new window.",
        "Write 1s, the usual choice.",
    ),
    (
        "DA055",
        "warning",
        "The temporal tuner without a goal, or known to be fragile",
        "temporal needs a goal to reach; before Linux 7.2.9 its stop could act as no limit.",
        "Add a goal, or use consist.",
    ),
    (
        "DA056",
        "warning",
        "The PSI goal is measured over a short interval",
        "Pressure is measured once per quota interval; below 1 s the readings are mostly noise.",
        "Write interval: 1s or longer.",
    ),
    (
        "DA057",
        "warning",
        "Nobody feeds this user_input goal",
        "Without a current value the goal reads as not met at all, and the quota grows to its cap.",
        "Give current, and keep it up to date.",
    ),
    (
        "DA058",
        "note",
        "Nobody measures this metric yet",
        "The goal is accepted, but the policy is reported unsupported.",
        "Use rss or memory_current in its place.",
    ),
    (
        "DA059",
        "error",
        "The goal's target is zero",
        "The kernel silently skips such a goal, and the quota is not tuned at all.",
        "Give a target greater than zero.",
    ),
    (
        "DA060",
        "error",
        "A goal lacks an argument or has one too many",
        (
            "node_* metrics need a node, node_memcg_* also a cgroup, only user_input a current, "
            "and memory_current is of a control group."
        ),
        "See the table of goals in docs/policy-reference.md.",
    ),
    (
        "DA061",
        "error",
        "node_eligible_mem needs a physical target",
        "The kernel refuses it (EINVAL) for the virtual memory of processes.",
        "Use target.physical, or another metric.",
    ),
    (
        "DA062",
        "error",
        "The share charged for failures is not a share",
        "numerator/denominator must be at most one, and a denominator of zero switches it off.",
        "Write {numerator: 1, denominator: 1024}, for example.",
    ),
    (
        "DA063",
        "warning",
        "The size cap is smaller than a page",
        "The kernel works on whole pages, so nothing would ever be done.",
        "Write at least 4KiB; MiB are usual.",
    ),
    (
        "DA064",
        "warning",
        "The apply interval is shorter than the sampling interval",
        "The kernel rounds it to whole sampling intervals: once per sample.",
        "Lengthen apply_interval.",
    ),
    (
        "DA065",
        "warning",
        "The action is meant for cold memory, but the pattern lets memory in use through",
        "Without an upper bound on access_rate or a lower bound on age, hot memory is hit too.",
        "Write access_rate: {max: 0%} and age: {min: 2m}, for example.",
    ),
    (
        "DA066",
        "warning",
        "The action is meant for hot memory, but the pattern lets idle memory through",
        "Without a lower bound on access_rate, untouched memory is promoted or inflated too.",
        "Write access_rate: {min: 5%}, for example.",
    ),
    (
        "DA067",
        "warning",
        "The scheme may hardly ever be applied",
        (
            "Each time the kernel tunes its intervals, every `aggregations` aggregations, it also "
            "starts to wait for the next application anew. A longer apply_interval never ends "
            "while tuning goes on."
        ),
        "Leave apply_interval out: the scheme is then applied after each aggregation.",
    ),
    (
        "DA068",
        "warning",
        "The pattern of command lines matches every process",
        "It asks for nothing that only some have, so the policy works on all processes.",
        "Name part of the command, or add exe or user; for all processes use target.physical.",
    ),
    (
        "DA070",
        "error",
        "The watermarks are not in order",
        "The scheme would never be active, or never stop: high >= mid >= low is required.",
        "Order them high, mid, low.",
    ),
    (
        "DA071",
        "error",
        "The watermark is finer than 0.1%",
        "The kernel keeps watermarks in thousandths of the memory.",
        "Round it to a tenth of a percent.",
    ),
    (
        "DA072",
        "error",
        "age: auto is not possible here",
        "It is found out by how much idle memory is needed again, with all regions seen.",
        "Give an age, or write action pageout, access_rate {max: 0%}, and no watermarks.",
    ),
    (
        "DA073",
        "note",
        "Regions are too large to find out an age",
        (
            "One page in use makes a whole region young. With few, large regions nearly all idle "
            "memory seems to be needed again, and no age keeps within the budget."
        ),
        "Raise monitoring.min_regions: 500 is good, 100 the least that may do.",
    ),
    (
        "DA080",
        "error",
        "The migration has no destination",
        "migrate_hot and migrate_cold need to know where to.",
        "Add destinations: [{node: 1}].",
    ),
    (
        "DA081",
        "error",
        "Destinations without a migration",
        "Only migrate_hot and migrate_cold use destinations.",
        "Remove destinations, or change the action.",
    ),
    (
        "DA082",
        "error",
        "The destinations do not make sense",
        (
            "A node listed twice, weights that are all zero, or several nodes for physical memory, "
            "where the kernel takes exactly one."
        ),
        "List each node once with a weight; one node for a physical target.",
    ),
    (
        "DA090",
        "error",
        "The action cannot be done on this target",
        (
            "The kernel would accept it and do nothing: lru_prio and lru_deprio need physical "
            "memory; willneed, cold, hugepage, nohugepage and collapse need processes."
        ),
        "Change the action, or the target.",
    ),
    (
        "DA091",
        "error",
        "The filter would be ignored",
        (
            "For processes the kernel honours page filters only with migrate_* and stat. With any "
            "other action it would silently work on what the filter excludes."
        ),
        "Use target.physical, an addr or target filter, or remove the filter.",
    ),
    (
        "DA092",
        "error",
        "The target filter names no target",
        (
            "Its index counts the processes listed under target.pids, from 0. Processes found by "
            "name, cgroup, unit or container come in no order, and physical memory has none."
        ),
        "Use the place of a process in target.pids, or give it a policy of its own.",
    ),
    (
        "DA093",
        "error",
        "The address range is empty or overlaps another",
        "The kernel refuses ranges that are empty, out of order or overlapping.",
        "Give start < end, ascending, without overlap.",
    ),
    (
        "DA094",
        "error",
        "An allow filter by address or target together with page filters",
        (
            "Memory that an addr or target filter allows is not shown to the page filters, so a "
            "reject among them does not protect it; all other memory falls through to them."
        ),
        "Express the address condition as reject: {not: ...}.",
    ),
    (
        "DA095",
        "warning",
        "The filter can have no effect",
        "An equal filter stands before it and decides first.",
        "Remove it, or correct it.",
    ),
    (
        "DA096",
        "warning",
        "A process is listed twice",
        "It would be monitored and charged twice.",
        "List each pid once.",
    ),
)

FILE_CODES: Final[tuple[Row, ...]] = (
    (
        "DA100",
        "error",
        "Two files define the same policy",
        (
            "Overriding works by file name, never by policy name. The file whose policy is in "
            "force keeps the name, else the first one; the other file is rejected."
        ),
        "Rename one policy, or give both files the same name in different directories.",
    ),
    (
        "DA101",
        "warning",
        "Two enforcing policies work on the same memory",
        "Each would act on pages the other has just moved, and their quotas add up.",
        "Put the schemes into one policy, or narrow one target.",
    ),
    (
        "DA110",
        "error",
        "Others may write the file or a directory above it",
        "Whoever can write a policy can make root page out anything.",
        "chmod go-w it.",
    ),
    (
        "DA111",
        "error",
        "The file or a directory above it is not owned by root",
        "Its owner could replace the policy at any time.",
        "chown root:root it.",
    ),
    (
        "DA112",
        "error",
        "The policy directory cannot be listed",
        "Its policies are unknown, so the running ones are kept.",
        "Make it a directory that root can read.",
    ),
    (
        "DA113",
        "warning",
        "The file is ignored because of its name",
        "Only names that end in .yaml are read.",
        "Rename it to end in .yaml, or move it elsewhere.",
    ),
    (
        "DA114",
        "note",
        "The policy file is masked",
        "A link to /dev/null or an empty file of the same name stands in a higher directory.",
        "Remove the mask to use the policy.",
    ),
    (
        "DA120",
        "error",
        "The metrics address is not acceptable",
        "Metrics are served on a Unix socket or on loopback only; they have no authentication.",
        "Write unix:/run/damos-agent/metrics.sock or 127.0.0.1:9945.",
    ),
    (
        "DA121",
        "warning",
        "The metrics file will not be read",
        "node_exporter's textfile collector passes over names that do not end in .prom.",
        "Name it damos.prom, in the directory of --collector.textfile.directory.",
    ),
)
