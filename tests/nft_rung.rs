//! The last rung of the hook ladder on real interfaces: nftables sets in place of a program. Bans begin at once and end by
//! themselves, the protected set wins, feeds change in one step, and everything outlives its daemon.

use std::{net::IpAddr, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use qantra_tests::{
    flood::Flood,
    kernel::ban,
    netns::{NetNs, join},
};
use qantra_user::{
    clock::boot_ns,
    config::{KernelConfig, Role},
    decide::{DecisionId, Direction},
    enforce::{AddressRanges, FeedPlane, KernelBan, KernelPlane, PlaneError},
    nft::{self, Family, NftPlane},
};

const CLIENT: &str = "192.0.2.10";
const BOX: &str = "192.0.2.1";
const BOX_V6: &str = "2001:db8::1";
const FAMILIES: [Family; 2] = [Family::Netdev, Family::Inet];

/// A client and the box, joined by one cable.
struct Cable {
    client: NetNs,
    gateway: NetNs,
}

impl Cable {
    fn new() -> Result<Self> {
        let (client, gateway) = (NetNs::new("qn-client")?, NetNs::new("qn-box")?);
        join(
            (&client, "eth0", &["192.0.2.10/24", "2001:db8::10/64"]),
            (&gateway, "port0", &["192.0.2.1/24", "2001:db8::1/64"]),
        )?;
        let cable = Self { client, gateway };
        let ready = (0..20).any(|_| cable.pings().is_ok_and(|answers| answers == [true, true]));
        ensure!(ready, "no answer over a cable without any program");
        Ok(cable)
    }

    fn open(&self, family: Family) -> Result<NftPlane> {
        let _inside = self.gateway.enter()?;
        Ok(NftPlane::open_as(family, &KernelConfig { bans_max: 64, prefix_bans_max: 32, ..KernelConfig::default() })?)
    }

    fn pings(&self) -> Result<[bool; 2]> {
        Ok([self.client.pings(BOX)?, self.client.pings(BOX_V6)?])
    }

    /// As nft(8) shows it.
    fn ruleset(&self) -> Result<String> {
        let listed = self.gateway.run("nft", &["list", "ruleset"])?;
        // nft(8) of Debian 12 crashes on tables that have what it does not know.
        ensure!(
            listed.status.success(),
            "nft list ruleset: {}: {}",
            listed.status,
            String::from_utf8_lossy(&listed.stderr)
        );
        Ok(String::from_utf8(listed.stdout)?)
    }
}

#[test]
fn bans_begin_at_once_and_end_by_themselves() -> Result<()> {
    for family in FAMILIES {
        let cable = Cable::new()?;
        let plane = cable.open(family)?;
        plane.ban(&ban(CLIENT, Direction::Source, Some(2_500)))?;
        plane.ban(&ban("2001:db8::/64", Direction::Source, None))?;
        assert_eq!(cable.pings()?, [true, true], "{family:?}: no interface is covered yet");
        plane.cover(&[("port0", Role::Wan)])?;
        assert_eq!(cable.pings()?, [false, false], "{family:?}: both are banned\n{}", cable.ruleset()?);
        let hits = plane.hits(CLIENT.parse::<IpAddr>()?.into())?.context("the ban")?;
        assert!(hits.packets >= 1 && hits.bytes >= 60, "{family:?}: {hits:?}");
        assert!(hits.last_boot_ns > 0 && hits.last_boot_ns <= boot_ns(), "{family:?}: {hits:?}");
        sleep(Duration::from_millis(2_500));
        assert_eq!(cable.pings()?, [true, false], "{family:?}: the first has ended, though nobody removed it");
        assert_eq!(plane.hits(CLIENT.parse::<IpAddr>()?.into())?, None, "{family:?}: and is gone");

        plane.protect(&["2001:db8::10/128".parse()?, "2001:db8::/127".parse()?])?;
        assert_eq!(cable.pings()?, [true, true], "{family:?}: the protected set wins");
        plane.protect(&[])?;
        assert_eq!(cable.pings()?, [true, false], "{family:?}: and no longer");
        let hits = plane.unban("2001:db8::/64".parse()?)?.context("it was banned")?;
        assert!(hits.packets >= 1, "{family:?}: {hits:?}");
        assert_eq!(plane.unban("2001:db8::/64".parse()?)?, None, "{family:?}");
        assert_eq!(cable.pings()?, [true, true], "{family:?}: nobody is banned any more");
    }
    Ok(())
}

#[test]
fn a_ban_inside_another_has_its_own_end_and_its_own_hits() -> Result<()> {
    let cable = Cable::new()?;
    let plane = cable.open(Family::Netdev)?;
    plane.cover(&[("port0", Role::Wan)])?;
    for net in ["192.0.2.0/24", "192.0.2.8/29", CLIENT, "192.0.0.0/16", "0.0.0.0/1", "128.0.0.0/1"] {
        plane.ban(&ban(net, Direction::Source, (net == CLIENT).then_some(60_000)))?;
    }
    assert!(!cable.client.pings(BOX)?);
    assert_eq!(plane.bans()?.len(), 6);
    for net in ["192.0.0.0/16", "192.0.2.8/29", "192.0.2.10/32", "128.0.0.0/1"] {
        plane.unban(net.parse()?)?.context("it was banned")?;
        assert!(!cable.client.pings(BOX)?, "without {net} there is another yet");
    }
    plane.unban("192.0.2.0/24".parse()?)?.context("it was banned")?;
    assert!(cable.client.pings(BOX)?, "0.0.0.0/1 does not cover it");
    Ok(())
}

#[test]
fn a_ban_that_is_replaced_keeps_its_hits_and_gets_its_new_end() -> Result<()> {
    let cable = Cable::new()?;
    let plane = cable.open(Family::Netdev)?;
    plane.cover(&[("port0", Role::Wan)])?;
    plane.ban(&ban(CLIENT, Direction::Source, Some(60_000)))?;
    assert!(!cable.client.pings(BOX)?);
    let net = CLIENT.parse::<IpAddr>()?.into();
    let before = plane.hits(net)?.context("the ban")?;
    assert!(before.packets > 0);
    let shorter = KernelBan { decision: DecisionId(7), ..ban(CLIENT, Direction::Both, Some(1_500)) };
    plane.ban(&shorter)?;
    assert_eq!(plane.hits(net)?.context("the ban")?.packets, before.packets);
    let bans = plane.bans()?;
    assert_eq!(bans.len(), 1, "{bans:?}");
    assert_eq!((bans[0].decision, bans[0].direction), (DecisionId(7), Direction::Both));
    assert_eq!(bans[0].expires_boot_ns, shorter.expires_boot_ns);
    sleep(Duration::from_millis(1_600));
    assert!(cable.client.pings(BOX)?, "{}", cable.ruleset()?);
    Ok(())
}

#[test]
fn banned_destinations_are_dropped_from_the_lan_alone() -> Result<()> {
    for family in FAMILIES {
        let cable = Cable::new()?;
        let plane = cable.open(family)?;
        plane.ban(&ban(BOX, Direction::Destination, None))?;
        plane.ban(&ban(BOX_V6, Direction::Destination, None))?;
        // A change of role leaves the interface covered.
        for (role, passes) in [(Role::Wan, true), (Role::Lan, false), (Role::Wan, true)] {
            plane.cover(&[("port0", role)])?;
            assert_eq!(cable.pings()?, [passes, passes], "{family:?} {role:?}");
        }
        plane.cover(&[])?;
        let ruleset = cable.ruleset()?;
        assert!(ruleset.contains("destination4_32") && !ruleset.contains("port0"), "{ruleset}");
    }
    Ok(())
}

#[test]
fn what_is_in_force_outlives_the_daemon_and_is_adopted() -> Result<()> {
    for family in FAMILIES {
        let cable = Cable::new()?;
        let flood = Flood::start(&cable.client, &cable.gateway, BOX)?;
        let plane = cable.open(family)?;
        plane.cover(&[("port0", Role::Wan)])?;
        let written = ban(CLIENT, Direction::Source, Some(60_000));
        plane.ban(&written)?;
        plane.ban(&ban("2001:db8::/48", Direction::Both, None))?;
        let _settled = flood.during(Duration::from_millis(50));
        let passed = flood.received();
        drop(plane);
        let (sent, came) = flood.during(Duration::from_millis(300));
        assert!(sent > 100 && came == 0, "{family:?}: {came} of {sent} came through while no daemon ran");

        let plane = cable.open(family)?;
        plane.cover(&[("port0", Role::Wan)])?;
        let mut bans = plane.bans()?;
        bans.sort_by_key(|ban| ban.net);
        assert_eq!(bans.len(), 2, "{family:?}: {bans:?}");
        assert!(bans[0].hits.packets > 100, "{family:?}: {bans:?}");
        assert_eq!(KernelBan { hits: written.hits, ..bans[0] }, written, "{family:?}");
        assert_eq!((bans[1].direction, bans[1].expires_boot_ns), (Direction::Both, None), "{family:?}");
        assert_eq!(flood.received(), passed, "{family:?}: a packet slipped through while it was adopted");
        let _inside = cable.gateway.enter()?;
        assert!(nft::is_there());
        assert!(nft::detach()?);
        assert!(!nft::detach()? && !nft::is_there(), "{family:?}: there is nothing left");
        let (_, came) = flood.during(Duration::from_millis(300));
        assert!(came > 100, "{family:?}: only {came} came through after all was removed");
    }
    Ok(())
}

#[test]
fn a_full_table_says_so_and_takes_others() -> Result<()> {
    let cable = Cable::new()?;
    let plane = cable.open(Family::Netdev)?;
    let mut full = None;
    for last in 0..200_u8 {
        match plane.ban(&ban(&format!("198.51.100.{last}"), Direction::Source, None)) {
            Ok(()) => {}
            Err(error) => {
                full = Some((last, error));
                break;
            }
        }
    }
    let (count, error) = full.context("it takes 64")?;
    assert!(matches!(error, PlaneError::Full { limit: 64, key: "bans_max", .. }) && count >= 64, "{count}: {error}");
    plane.ban(&ban("203.0.113.0/24", Direction::Source, None))?;
    plane.unban("198.51.100.0/32".parse()?)?.context("it was banned")?;
    plane.ban(&ban("198.51.100.250", Direction::Source, None))?;
    Ok(())
}

fn ranges(v4: &[(&str, &str)]) -> Result<AddressRanges> {
    let number = |text: &str| text.parse::<std::net::Ipv4Addr>().map(u32::from);
    let v4 = v4.iter().map(|(first, last)| Ok((number(first)?, number(last)?))).collect::<Result<_>>()?;
    Ok(AddressRanges { v4, v6: Vec::new() })
}

#[test]
fn feeds_change_in_one_step() -> Result<()> {
    for family in FAMILIES {
        let cable = Cable::new()?;
        let flood = Flood::start(&cable.client, &cable.gateway, BOX)?;
        let plane = cable.open(family)?;
        plane.cover(&[("port0", Role::Wan)])?;
        // The client is in every list, in another neighbourhood each: alone, at the edges of ranges, and inside.
        let lists = [
            ranges(&[(CLIENT, CLIENT)])?,
            ranges(&[("10.0.0.0", "10.255.255.255"), ("192.0.2.3", CLIENT)])?,
            ranges(&[("1.2.3.4", "1.2.3.4"), (CLIENT, "255.255.255.255")])?,
            ranges(&[("0.0.0.0", "192.0.2.200"), ("198.51.100.0", "198.51.100.255")])?,
        ];
        let none = AddressRanges::default();
        plane.replace_feeds(&lists[0], &none)?;
        let _settled = flood.during(Duration::from_millis(50));
        let passed = flood.received();
        for round in 0..200 {
            plane.replace_feeds(&lists[round % lists.len()], &none)?;
            assert_eq!(flood.received(), passed, "{family:?}, round {round}: a packet slipped through");
        }
        let hits = plane.take_feed_hits()?.by_address;
        assert_eq!(hits.len(), 1, "{family:?}: {hits:?}");
        assert!(hits[0].address.to_string() == CLIENT && hits[0].packets > 50, "{family:?}: {hits:?}");

        drop(plane);
        let plane = cable.open(family)?;
        let (sent, came) = flood.during(Duration::from_millis(100));
        assert!(sent > 50 && came == 0, "{family:?}: {came} of {sent} came through when the feeds were adopted");
        plane.replace_feeds(&none, &lists[3])?;
        let (_, came) = flood.during(Duration::from_millis(300));
        assert!(came > 100, "{family:?}: only {came} came through; destinations count from the LAN alone");
        plane.cover(&[("port0", Role::Lan)])?;
        let (sent, came) = flood.during(Duration::from_millis(300));
        assert!(sent > 100 && came == 0, "{family:?}: {came} of {sent} came through");
        plane.protect(&[BOX.parse::<IpAddr>()?.into()])?;
        let (_, came) = flood.during(Duration::from_millis(300));
        assert!(came > 100, "{family:?}: only {came} came through; the protected set wins");
        plane.replace_feeds(&none, &none)?;
        let ruleset = cable.ruleset()?;
        assert!(ruleset.contains("feed_hits4") && !ruleset.contains("feed_source4_ranges"), "{ruleset}");
    }
    Ok(())
}

#[test]
fn nft_lists_the_table_as_people_write_it() -> Result<()> {
    let cable = Cable::new()?;
    let plane = cable.open(Family::Netdev)?;
    plane.cover(&[("port0", Role::Lan)])?;
    plane.protect(&["10.0.0.0/8".parse()?])?;
    plane.ban(&ban(CLIENT, Direction::Source, Some(60_000)))?;
    plane.ban(&ban("198.51.100.0/24", Direction::Source, None))?;
    plane.replace_feeds(&ranges(&[(CLIENT, CLIENT)])?, &ranges(&[("1.0.0.0", "2.0.0.0")])?)?;
    let ruleset = cable.ruleset()?;
    for line in [
        "type filter hook ingress device \"port0\" priority -500; policy accept;",
        "elements = { 10.0.0.0/8 }",
        "ip saddr @protected4 return",
        "ip saddr @source4_32 drop",
        "@source4_24 drop",
        "elements = { 192.0.2.10 counter packets 0 bytes 0 timeout",
        "elements = { 198.51.100.0 counter packets 0 bytes 0 comment",
        "elements = { 1.0.0.0-2.0.0.0 }",
        "ip daddr @feed_destination4_ranges_a goto feed_destination4_hit",
    ] {
        assert!(ruleset.contains(line), "{line} is not in {ruleset}");
    }
    Ok(())
}
