//! The scenarios, in the order of their numbers.

use crate::Outcome;
use crate::world::World;

/// One thing that has to work, end to end.
pub struct Scenario {
    pub name: &'static str,
    pub run: fn(&mut World) -> Outcome,
}

/// Declares the modules and the list, so that neither can lack what the other has.
macro_rules! scenarios {
    ($($module:ident $name:literal)*) => {
        $(mod $module;)*
        pub const SCENARIOS: &[Scenario] = &[$(Scenario { name: $name, run: $module::run }),*];
    };
}

scenarios! {
    n01_nat_http "01-nat-http"
    n02_dr_http "02-dr-http"
    n03_tun_http "03-tun-http"
    n04_bulk "04-bulk"
    n05_udp "05-udp"
    n06_weights "06-weights"
    n07_drain "07-drain"
    n08_howto "08-howto"
    n09_net_raw_only "09-net-raw-only"
    n10_two_workers "10-two-workers"
    n11_killed "11-killed"
    n12_ended "12-ended"
    n13_refusals "13-refusals"
    n14_unprivileged "14-unprivileged"
    n15_silent_server "15-silent-server"
    n16_link_gone "16-link-gone"
    n17_thresholds "17-thresholds"
    n18_restore "18-restore"
    n19_realserver_undo "19-realserver-undo"
    n20_tun_way_in "20-tun-way-in"
    n21_lab "21-lab"
    n22_kernel_selftest "22-kernel-selftest"
    n23_ftp "23-ftp"
    n30_address_taken "30-address-taken"
    n40_settings "40-settings"
    n41_xdp "41-xdp"
    n24_failover "24-failover"
    n25_failover_from_kernel "25-failover-from-kernel"
    n26_failover_to_kernel "26-failover-to-kernel"
    n27_local_server "27-local-server"
    n42_shortcut "42-shortcut"
    n43_tunnels_whole "43-tunnels-whole"
    n44_strays "44-strays"
    n45_outlived "45-outlived"
    n46_address_changed "46-address-changed"
    n47_barrier "47-barrier"
    n48_forwarding "48-forwarding"
}
