"""Whose hand made a request: what is left out together when a model is measured on what it has not seen.

Enters: labelled rows in the order of the corpus. Leaves: each one's origin. A payload list, a tool's tests, a server's log is
one origin. Captures are one; so are the lab's applications, whose people type the same kinds of text, and its tools, which attack
the same target. Browser recordings are of many sites that nobody made together: they are told apart by the site that was
visited, and left out in a few groups of sites, never at random by request.
"""

import re
from collections import Counter

import numpy as np

BROWSERS = ("hars",)
SITE_GROUPS = 6
# Requests of a recording follow each other. What stands between two requests of a site, no further apart than this, are its
# frames' and trackers'.
NEAR = 100
# Registries below a country: `bbc.co.uk` is a site, `co.uk` is none.
SECOND_LEVEL = {"ac", "co", "com", "edu", "gov", "net", "org"}


def origins_of(rows, text):
    """Each row's origin."""
    origins = np.array([origin_of(row) for row in rows], dtype=object)
    for source in BROWSERS:
        own = np.flatnonzero(origins == source)
        if len(own):
            origins[own] = [f"{source}-{group + 1}" for group in site_groups(visited([referer(rows[i], text) for i in own]))]
    return origins.astype(str)


def family(origin):
    """The origin that a group of sites belongs to, or the origin itself."""
    return next((source for source in BROWSERS if origin.startswith(f"{source}-")), origin)


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


def site_groups(sites):
    """Spreads sites over the groups, the one with most requests first, each into the group that has fewest: a site's
    requests are all in one."""
    filled, group = [0] * SITE_GROUPS, {}
    for site, count in sorted(Counter(sites).items(), key=lambda item: (-item[1], item[0])):
        group[site] = int(np.argmin(filled))
        filled[group[site]] += count
    return [group[site] for site in sites]
