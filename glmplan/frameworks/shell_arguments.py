"""The arguments in a launch script, read without running it.

Assignments of plain values are followed (``TP=8``, ``TP=${TP:-8}``, arrays, quoted lists); whatever only a shell could
know (command substitution, arithmetic, positional parameters) stays unresolved and is named.
"""

import re
import shlex

_ASSIGNMENT = re.compile(
    r"^(?:export\s+|readonly\s+|local\s+|declare\s+(?:-\w+\s+)*)*([A-Za-z_]\w*)\+?=(.*)$", re.DOTALL
)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?:\[[@*]\])?(?::?-([^{}]*))?\}|([A-Za-z_]\w*))")
_SEPARATOR = re.compile(r";\s*(?:(?:then|else|do)\s+)?")
_NUMBER = re.compile(r"^-\d|^-\.\d")
_DEPTH = 8
"""How deep one variable may name another."""
_LONGEST = 100_000
"""Characters that one word may grow to: far above any script, far below what fills memory."""


def read_arguments(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Option (underscores, no dashes) -> value (``true`` for a switch), and options whose value only a shell knows."""
    variables: dict[str, str] = {}
    words: list[str] = []
    for statement in _statements(text):
        match = _ASSIGNMENT.match(statement)
        # NAME=value command args is a command with an environment, not an assignment
        if match and (match.group(2)[:1] in "\"'(" or len(match.group(2).split()) <= 1):
            earlier = variables.get(match.group(1), "") if "+=" in statement[: match.start(2)] else ""
            variables[match.group(1)] = f"{earlier} {_unquoted(match.group(2))}".strip()
        else:
            words += _words(statement)
    flat = [part for word in words for part in _expanded(word, variables)]
    named = [part for value in variables.values() for part in _expanded(value, variables)]
    # arguments kept in an array that only unreadable code uses still count
    return _options(named + flat)


def _statements(text: str) -> list[str]:
    """Logical lines: continuations joined, comments dropped, arrays and quoted lists on one line."""
    joined = re.sub(r"\\\s*\n", " ", text)
    statements: list[str] = []
    pending = ""
    lines = [re.sub(r"(^|\s)#.*$", "", raw) for raw in joined.splitlines()]
    for line in (piece for whole in lines for piece in _SEPARATOR.split(whole)):
        pending = f"{pending} {line}".strip() if pending else line.strip()
        if not pending:
            continue
        if pending.count("(") > pending.count(")") or pending.count('"') % 2 or pending.count("'") % 2:
            continue
        statements.append(pending)
        pending = ""
    return [*statements, pending] if pending else statements


def _unquoted(value: str) -> str:
    text = value.strip().rstrip(";").strip()
    if text[:1] == "(" and text[-1:] == ")":
        return text[1:-1].strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text, comments=False)
    except ValueError:  # an unbalanced quote: the words as they stand
        return text.split()
    # an array's "--option value" in one pair of quotes falls apart where the array is used unquoted
    return [part for word in words for part in (word.split(maxsplit=1) if word.startswith("--") else [word])]


def _expanded(word: str, variables: dict[str, str], depth: int = 0) -> list[str]:
    """``word`` with the variables put in, split into words."""
    if depth > _DEPTH:
        return [word]

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(3)
        if name in variables:
            inner = variables[name]
            return inner if f"${name}" not in inner and f"${{{name}" not in inner else (_default(inner) or "$?")
        return match.group(2) if match.group(2) is not None else "$?"

    replaced = _VARIABLE.sub(value, word)
    if len(replaced) > _LONGEST:
        return ["$?"]
    if replaced != word and _VARIABLE.search(replaced) and "$?" not in replaced:
        return _expanded(replaced, variables, depth + 1)
    return _words(replaced)


def _default(text: str) -> str | None:
    """The default of ``${NAME:-default}``."""
    match = _VARIABLE.search(text)
    return match.group(2) if match else None


def _options(words: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    options: dict[str, str] = {}
    unresolved: set[str] = set()
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.startswith("--") or len(word) == 2:
            continue
        name, equals, value = word[2:].partition("=")
        key = name.replace("-", "_")
        if not equals:
            following = words[index] if index < len(words) else "--"
            value = "true"
            if not following.startswith("-") or _NUMBER.match(following):
                value = following
                index += 1
        if "$" in value or "`" in value:
            unresolved.add(key)
        else:
            options[key] = value
            unresolved.discard(key)
    return options, tuple(sorted(unresolved))
