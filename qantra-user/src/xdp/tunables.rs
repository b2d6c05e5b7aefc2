//! Enters: `[kernel]`. Leaves: what the kernel half is told of them. Pure.

use qantra_common::{
    ABI_VERSION,
    limit::{Budget, Limits},
    map::Tunables,
};

use crate::config::{KernelConfig, LimitsConfig};

/// Port bits at which a source is reported before its window ends: well below what any detector calls a scan.
const REPORT_PORT_BITS: u32 = 16;
/// Of the table of sources, the part that one CPU may fill with new ones in an epoch.
const INSERTS_PART: u32 = 16;

pub(super) fn of(config: &KernelConfig) -> Tunables {
    let mut tunables = Tunables {
        abi_version: ABI_VERSION,
        report_packets: config.report_packets,
        report_port_bits: REPORT_PORT_BITS,
        inserts_max: config.sources_max / INSERTS_PART,
        hash_seed: rand::random(),
        limits: limits(&config.limits),
        ..Tunables::default()
    };
    set_drop_sample(&mut tunables, config.drop_sample);
    tunables
}

/// One in so many drops is reported, rounded up to a power of two: the kernel then needs no division.
pub(super) fn set_drop_sample(tunables: &mut Tunables, one_in: u32) {
    tunables.drop_sample_is_on = u32::from(one_in != 0);
    tunables.drop_sample_mask = one_in.max(1).checked_next_power_of_two().unwrap_or(1 << 31) - 1;
}

pub(super) const fn drop_sample(tunables: &Tunables) -> u32 {
    if tunables.drop_sample_is_on == 0 { 0 } else { tunables.drop_sample_mask + 1 }
}

pub(super) fn limits(config: &LimitsConfig) -> Limits {
    let burst = |rate_pps: u32| u64::from(rate_pps) * u64::from(config.burst_ms) / 1_000;
    let budget = |rate_pps: u32| Budget::new(rate_pps, u32::try_from(burst(rate_pps)).unwrap_or(u32::MAX));
    let rates = [config.packets_pps, config.syn_pps, config.udp_pps, config.icmp_pps, config.flows_pps];
    Limits {
        source: rates.map(budget),
        reflection: budget(config.reflection_pps),
        is_on: u32::from(rates.iter().any(|rate| *rate != 0)),
        neighbours: config.neighbours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_a_power_of_two() {
        let mut tunables = Tunables::default();
        for (one_in, kept) in [(0, 0), (1, 1), (3, 4), (1_024, 1_024), (u32::MAX, 1 << 31)] {
            set_drop_sample(&mut tunables, one_in);
            assert_eq!(drop_sample(&tunables), kept, "{one_in}");
        }
    }

    #[test]
    fn no_rate_at_all_turns_budgets_off() {
        let off =
            LimitsConfig { packets_pps: 0, syn_pps: 0, udp_pps: 0, icmp_pps: 0, flows_pps: 0, ..Default::default() };
        assert_eq!((limits(&off).is_on, limits(&LimitsConfig { syn_pps: 5, ..off }).is_on), (0, 1));
    }
}
