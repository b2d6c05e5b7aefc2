"""Enters: a statement with an injection in it. Leaves: rows, or the error in the words of the database that is played. SQLite
answers for all of them, with the functions that tools ask each database for; it must never read a file.
"""

import re
import sqlite3
import time

DIALECTS = ("sqlite", "mysql", "pg", "mssql", "oracle")
ERRORS = {
    "sqlite": "SQLite error: {0}",
    "mysql": "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version for the right syntax to use near '{1}' at line 1",
    "pg": 'ERROR: syntax error at or near "{1}"\nLINE 1: pg_query(): Query failed: ERROR: {0}',
    "mssql": "Microsoft OLE DB Provider for SQL Server error '80040e14' Unclosed quotation mark after the character string '{1}'.",
    "oracle": "ORA-01756: quoted string not properly terminated; ORA-00933: SQL command not properly ended near {1}",
}
# What another database says otherwise than SQLite.
SAID = [(re.compile(r"\bfrom\s+dual\b", re.I), " "), (re.compile(r"/\*!\d*(.*?)\*/", re.S), r"\1"), (re.compile(r"\bRLIKE\b", re.I), "LIKE"), (re.compile(r"#[^\n]*$"), ""), (re.compile(r"::(text|int|numeric)\b", re.I), "")]


def slowly(seconds):
    time.sleep(min(float(seconds), 6))
    return 0


def functions(db):
    text = lambda value: "" if value is None else str(value)
    db.create_function("sleep", 1, slowly)
    db.create_function("pg_sleep", 1, slowly)
    db.create_function("dbms_pipe.receive_message", 2, lambda _, seconds: slowly(seconds))
    db.create_function("concat", -1, lambda *parts: "".join(map(text, parts)))
    db.create_function("mid", 3, lambda value, at, count: text(value)[int(at) - 1 : int(at) - 1 + int(count)])
    db.create_function("ascii", 1, lambda value: ord(text(value)[:1] or "\0"))
    db.create_function("ord", 1, lambda value: ord(text(value)[:1] or "\0"))
    db.create_function("chr", 1, lambda value: chr(int(value)))
    db.create_function("if", 3, lambda test, yes, no: yes if test else no)
    db.create_function("len", 1, lambda value: len(text(value)))
    db.create_function("version", 0, lambda: "8.0.28")
    db.create_function("database", 0, lambda: "shop")
    db.create_function("current_database", 0, lambda: "shop")
    db.create_function("user", 0, lambda: "shop@localhost")
    db.create_function("quarter", 1, lambda _: 1)
    db.create_function("bitcount", 1, lambda value: bin(int(value)).count("1"))


def open_base():
    db = sqlite3.connect(":memory:")
    db.execute("create table item (id integer, name text, price real)")
    db.execute("create table account (id integer, name text, password text, mail text)")
    db.executemany("insert into item values (?, ?, ?)", [(n, f"lamp {n}", n * 2.5) for n in range(40)])
    db.executemany("insert into account values (?, ?, ?, ?)", [(n, name, "5f4dcc3b5aa765d61d8327deb882cf99", f"{name}@example.org") for n, name in enumerate(("alice", "bob", "carol"))])
    functions(db)
    return db


def delay(dialect, statement):
    """Waits that SQLite cannot run itself."""
    found = re.search(r"waitfor\s+delay\s+'0:0:(\d+)'", statement, re.I) if dialect == "mssql" else None
    if found:
        slowly(found[1])
        return re.sub(r";?\s*waitfor\s+delay\s+'[^']*'(--)?", " ", statement, flags=re.I)
    return statement


def query(dialect, statement):
    statement = delay(dialect, statement)
    if dialect != "sqlite":
        for pattern, other in SAID:
            statement = pattern.sub(other, statement)
    db = open_base()
    # A payload may ask for gigabytes, or for ever.
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 20)
    deadline = time.monotonic() + 6
    db.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        # One after the other, as drivers do that allow it.
        rows = []
        for one in statement.split(";")[:4] if dialect in ("mssql", "pg") else [statement]:
            if one.strip(" -"):
                rows = db.execute(one).fetchmany(100)
        return rows, ""
    except (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError, UnicodeError) as error:
        near = re.search(r'near "(.*)": syntax', str(error))
        return [], ERRORS[dialect].format(error, near[1] if near else statement[-40:])
    finally:
        db.close()
