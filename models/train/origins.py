"""Whose hand made a request: what is left out together when a model is measured on what it has not seen.

Enters: labelled rows in the order of the corpus. Leaves: each one's origin. A payload list, a tool's tests, a server's log is
one origin, and so are the captures. Three kinds are of many hands, and are left out in a few groups: browser recordings by the site
that was visited, the lab's honest requests by application, its attacks by tool; never at random by request.
"""

import re
from collections import Counter

import numpy as np

# Origins that are left out in groups, and how many.
GROUPS = {"hars": 6, "lab-apps": 4, "lab-tools": 4}
# Tools that send another's lists.
SAME_LISTS = {"lab-ffuf": "lab-wfuzz"}
# Requests of a recording follow each other. What stands between two requests of a site, no further apart than this, are its
# frames' and trackers'.
NEAR = 100
# Registries below a country: `bbc.co.uk` is a site, `co.uk` is none.
SECOND_LEVEL = {"ac", "co", "com", "edu", "gov", "net", "org"}


def origins_of(rows, text, whole=()):
    """Each row's origin; those named in `whole` are not divided into groups."""
    origins = np.array([origin_of(row) for row in rows], dtype=object)
    for origin, most in GROUPS.items():
        if origin in whole:
            continue
        own = np.flatnonzero(origins == origin)
        if origin == "hars":
            hands = visited([referer(rows[i], text) for i in own])
        else:
            hands = [SAME_LISTS.get(rows[i]["source"], rows[i]["source"]) for i in own]
        origins[own] = [f"{origin}-{group + 1}" for group in grouped(hands, most)]
    return origins.astype(str)


def family(origin):
    """The origin that a group belongs to, or the origin itself."""
    return next((whole for whole in GROUPS if origin.startswith(f"{whole}-")), origin)


def families(of):
    """The same of many."""
    known = {origin: family(origin) for origin in set(of)}
    return np.array([known[origin] for origin in of])


def origin_of(row):
    if row["source"].startswith("lab-"):
        return "lab-apps" if row["label"] == "benign" else "lab-tools"
    return "pcap" if row["source"].startswith("pcap-") else row["source"]


def referer(row, text):
    """The site that a request says it comes from; an empty string where it says none."""
    said = next((text[field][2] for field in row["fields"] if text[field][0] == "referer"), "")
    host = re.sub(r"^[a-z]+://", "", said).split("/")[0].split(":")[0]
    parts = host.split(".")
    is_below = len(parts) > 2 and len(parts[-1]) == 2 and parts[-2] in SECOND_LEVEL
    return ".".join(parts[-3 if is_below else -2 :])


def visited(referers):
    """The site that was visited for each request: the most frequent one of its recording. Recordings follow each other; a
    page's own first request says nothing and stands before the rest."""
    begins, last = np.ones(len(referers), bool), {}
    for i, site in enumerate(referers):
        if site and i - last.get(site, -NEAR - 1) <= NEAR:
            begins[last[site] + 1 : i + 1] = False
        if site:
            last[site] = i
    recording = np.cumsum(begins)
    main = {}
    for number in recording:
        main.setdefault(number, Counter())
    for number, site in zip(recording, referers):
        main[number].update([site] if site else [])
    sites, following = [""] * len(referers), ""
    for i in range(len(referers) - 1, -1, -1):
        named = main[recording[i]].most_common(1)
        following = named[0][0] if named else following
        sites[i] = following
    return sites


def grouped(hands, most):
    """Spreads sites, applications or tools over so many groups, the one with most requests first, each into the group that has
    fewest: all requests of one are in one group."""
    filled, group = [0] * most, {}
    for hand, count in sorted(Counter(hands).items(), key=lambda item: (-item[1], item[0])):
        group[hand] = int(np.argmin(filled))
        filled[group[hand]] += count
    return [group[hand] for hand in hands]
