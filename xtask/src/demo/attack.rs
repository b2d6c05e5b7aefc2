//! The attacks of the demo. Enters: the lab. Leaves: real tools' command lines, each bounded in count and in time, each for a
//! host of its own. They must never be aimed at anything but the lab's addresses.

use std::{fmt::Write as _, fs, process::Command};

use anyhow::{Context as _, Result};

use crate::lab::{FILES_HOST, FILES_PORT, Family, Lab, SHOP_HOST, host};

/// One attack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attack {
    /// The name in the table.
    pub(crate) name: &'static str,
    /// Who attacks; its address is in no other attack.
    pub(crate) host: &'static str,
    /// Classes that name this attack rightly; the first is the usual one.
    pub(crate) classes: &'static [&'static str],
    /// When it begins: seconds after the first honest request.
    pub(crate) start_s: u64,
    /// When the tool is ended if it has not ended by itself: seconds after its start.
    pub(crate) limit_s: u64,
    /// The tool and its arguments; words in `@…@` are places and addresses.
    command: &'static str,
}

/// Paths that are tried, passwords that are tried: more than any tool gets through in its time.
const WORDS: usize = 3_000;
const PASSWORDS: usize = 600;
/// The name that web tools give themselves: their own would give them away, and no attacker who means it uses that.
const BROWSER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";

/// All attacks, in order of their start. Several run at a time. Rates are moderate: the machine has the attackers, the gateway
/// and the origin on the same few cores, and detection must not depend on a tool's running flat out.
pub(crate) const ATTACKS: [Attack; 12] = [
    Attack {
        name: "nmap SYN scan",
        host: "nmap",
        classes: &["port_scan"],
        start_s: 8,
        limit_s: 20,
        command: "nmap -sS -Pn -n -p 1-2000 --max-rate 400 --max-retries 1 --host-timeout 18s @GATEWAY@",
    },
    Attack {
        name: "gobuster",
        host: "gobuster",
        classes: &["content_scan"],
        start_s: 14,
        limit_s: 25,
        command: "gobuster dir -a @BROWSER@ -u http://@SHOP@/ -w @DIR@/words.txt -t 4 --timeout 2s -q -z --no-error",
    },
    Attack {
        name: "hydra form login",
        host: "hydra",
        classes: &["brute_force", "credential_stuffing"],
        start_s: 20,
        limit_s: 20,
        command: "hydra -I -l ada -P @DIR@/passwords.txt -t 4 -w 3 @SHOP@ http-post-form \
                  /login:username=^USER^&password=^PASS^:H=User-Agent\\:@BROWSER@:F=Wrong",
    },
    Attack {
        name: "slowhttptest headers",
        host: "slowhead",
        classes: &["slow_http"],
        start_s: 28,
        limit_s: 20,
        command: "slowhttptest -H -c 150 -i 4 -r 40 -l 16 -x 24 -p 3 -u http://@SHOP@/",
    },
    Attack {
        name: "hping3 SYN flood",
        host: "syn",
        classes: &["syn_flood"],
        start_s: 36,
        limit_s: 15,
        command: "hping3 -S -p 80 -i u400 -c 25000 -q @GATEWAY@",
    },
    Attack {
        name: "sqlmap",
        host: "sqlmap",
        classes: &["sqli"],
        start_s: 44,
        limit_s: 30,
        command: "sqlmap -u http://@SHOP@/search?q=lamp&category=1 -p category --batch --level 1 --timeout 2 --retries 0 \
                  --user-agent=@BROWSER@ --output-dir=@DIR@/sqlmap",
    },
    Attack {
        name: "hping3 ICMP flood",
        host: "icmp",
        classes: &["icmp_flood"],
        start_s: 52,
        limit_s: 12,
        command: "hping3 --icmp -i u1000 -c 8000 -q @GATEWAY@",
    },
    Attack {
        name: "ffuf over IPv6",
        host: "ffuf",
        classes: &["content_scan"],
        start_s: 60,
        limit_s: 25,
        command: "ffuf -H User-Agent:@BROWSER@ -u http://@SHOP@/FUZZ -w @DIR@/words.txt -t 4 -timeout 2 -maxtime 20 -s",
    },
    Attack {
        name: "nping UDP flood",
        host: "udp",
        classes: &["udp_flood"],
        start_s: 70,
        limit_s: 12,
        // hping3 sends 2,000 to 6,000 datagrams a second on a busy machine unless it is let loose; nping keeps its rate.
        command: "nping --udp -p 53 --rate 12000 -c 100000 -q --no-capture @GATEWAY@",
    },
    Attack {
        name: "slowhttptest body",
        host: "slowbody",
        classes: &["slow_http"],
        start_s: 80,
        limit_s: 20,
        command: "slowhttptest -B -c 150 -i 4 -r 40 -l 16 -s 8192 -x 10 -p 3 -u http://@SHOP@/upload",
    },
    Attack {
        name: "inside-out: nmap",
        host: "camera",
        classes: &["port_scan"],
        start_s: 90,
        limit_s: 15,
        command: "nmap -sS -Pn -n -p 1-2000 --max-rate 400 --max-retries 1 --host-timeout 13s @FILES@",
    },
    Attack {
        name: "inside-out: SYN flood",
        host: "printer",
        classes: &["syn_flood"],
        start_s: 98,
        limit_s: 12,
        command: "hping3 -S -p @FILES_PORT@ -i u400 -c 20000 -q @FILES@",
    },
];

impl Attack {
    /// The tool's command line, in its host's namespace, with an end to its time.
    ///
    /// # Errors
    /// The lab has no such host.
    pub(crate) fn command(&self, lab: &Lab) -> Result<Command> {
        let mut command = lab.command(self.host, "timeout");
        command.args(["--kill-after=1", &self.limit_s.to_string()]);
        let places = [
            ("@GATEWAY@", host("gateway")?.address(Family::V4).to_string()),
            ("@FILES@", host("files")?.address(Family::V4).to_string()),
            ("@FILES_PORT@", FILES_PORT.to_string()),
            ("@SHOP@", SHOP_HOST.to_owned()),
            ("@DIR@", lab.dir().display().to_string()),
            ("@BROWSER@", BROWSER.to_owned()),
        ];
        for word in self.command.split_whitespace() {
            command.arg(places.iter().fold(word.to_owned(), |word, (name, place)| word.replace(name, place)));
        }
        // Tools write session files where they stand, and some read settings from there.
        let folder = lab.dir().join(format!("tool-{}", self.host));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        command.current_dir(&folder).env("HOME", &folder);
        Ok(command)
    }

    /// What the attacker would reach if it were not stopped.
    pub(crate) fn target_url(&self) -> String {
        if self.is_outward() {
            format!("http://{FILES_HOST}:{FILES_PORT}/update.bin")
        } else {
            format!("http://{SHOP_HOST}/")
        }
    }

    /// Whether it goes from the LAN to the Internet.
    pub(crate) fn is_outward(&self) -> bool {
        host(self.host).is_ok_and(|host| host.side == crate::lab::Side::Lan)
    }
}

/// Writes the lists that tools read.
///
/// # Errors
/// The lab's folder cannot be written.
pub(crate) fn write_lists(lab: &Lab) -> Result<()> {
    const PARTS: [&str; 24] = [
        "admin", "log", "back", "up", "conf", "test", "old", "new", "user", "data", "base", "web", "api", "shop",
        "panel", "dev", "tmp", "file", "wp", "php", "my", "sql", "git", "env",
    ];
    const ENDINGS: [&str; 6] = ["", ".php", ".bak", ".txt", "/", ".zip"];
    let mut words = String::new();
    for number in 0..WORDS {
        let (first, rest) = (PARTS[number % PARTS.len()], number / PARTS.len());
        let (second, third) = (PARTS[rest % PARTS.len()], rest / PARTS.len());
        writeln!(
            words,
            "{first}{second}{}{}",
            if third == 0 { "" } else { "-" },
            ENDINGS[(third + number) % ENDINGS.len()]
        )?;
    }
    fs::write(lab.dir().join("words.txt"), words)?;
    let mut passwords = String::new();
    for number in 0..PASSWORDS {
        writeln!(passwords, "{}{}", PARTS[number % PARTS.len()], 1_950 + number / PARTS.len())?;
    }
    fs::write(lab.dir().join("passwords.txt"), passwords)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attack_has_a_host_of_its_own_and_ends() {
        let mut hosts: Vec<_> = ATTACKS.iter().map(|attack| attack.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        assert_eq!(hosts.len(), ATTACKS.len());
        for attack in ATTACKS {
            assert!(host(attack.host).is_ok(), "{}", attack.host);
            assert!(attack.limit_s <= 30 && !attack.classes.is_empty(), "{}", attack.name);
            assert!(!attack.command.contains("--flood"), "{} has no bound on its rate", attack.name);
        }
        assert!(ATTACKS.is_sorted_by_key(|attack| attack.start_s));
    }
}
